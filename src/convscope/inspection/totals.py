"""What a layer costs: parameters, multiply-adds, FLOPs, memory, nodes, connections; and as a fully connected layer.

A MAC is one multiplication and the addition to a running sum. FLOPs are counted apart: two a MAC, and one for each
addition of a bias. Both count convolutions and dense layers only: pools, norms and activations have neither here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from convscope.inference import Step
from convscope.layers._composite import Composite

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """What one picture costs in one or several layers.

    parameters: trainable numbers. macs: multiply-adds. flops: 2 · macs + additions of biases. nodes: numbers that
    leave.
    activation_bytes: their float32 bytes, 0 where the numbers that came are only passed on (flatten, identity, aux).
    connections: as the LeNet-5 paper counts them, each use of a weight or bias at each place is one.
    """

    parameters: int = 0
    macs: int = 0
    flops: int = 0
    nodes: int = 0
    activation_bytes: int = 0
    connections: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def costs(step: Step) -> Costs:
    """The costs of one layer."""
    nodes = math.prod(step.output_shape)
    composite = isinstance(step.layer, Composite)  # of its own it has at most a convolution without bias
    return Costs(
        parameters=step.parameters,
        macs=step.macs,
        flops=2 * step.macs + step.layer.bias_additions(step.input_shape),
        nodes=nodes,
        activation_bytes=0 if step.layer.only_passes_on else FLOAT32_BYTES * nodes,
        connections=step.macs if composite else step.layer.connections(step.input_shape),
    )


def total(steps: Iterable[Step]) -> Costs:
    """The costs of several layers together."""
    return sum(map(costs, steps), Costs())


def has_lenet_extras(steps: Iterable[Step]) -> bool:
    """Whether words of LeNet-5 stand in the net, which count in connections and not in multiply-adds."""
    return any(s.kind in ("subsample", "rbf") or getattr(s.layer, "table", None) is not None for s in steps)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer, with a bias a node: what it would cost."""

    parameters: int
    nodes: int
    macs: int

    def __add__(self, other: Dense) -> Dense:
        return Dense(self.parameters + other.parameters, self.nodes + other.nodes, self.macs + other.macs)


def _dense(inputs: int, nodes: int) -> Dense:
    return Dense(nodes * (inputs + 1), nodes, nodes * inputs)


def one_node_a_map(step: Step) -> Dense:
    """One fully connected node in the place of each map: what the lecture compares a filter with (76 against 3,073)."""
    return _dense(math.prod(step.input_shape), step.output_shape[0])


def same_output(step: Step) -> Dense:
    """A fully connected layer that makes as many numbers as the convolution."""
    return _dense(math.prod(step.input_shape), math.prod(step.output_shape))
