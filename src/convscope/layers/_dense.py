"""`dense`: a fully connected layer, a_k = Σ w_ki·x_i + b_k."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Classes, Layer, Problem, Shape, flag, whole_or_classes, written_shape
from convscope.layers._receptive_field import EVERYTHING, Window
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class dense(Layer):
    """Every output sees every input: D → units, with units·(D + 1) parameters.

    Args:
        units: how many outputs, or `classes`.
        bias: whether each output has a bias.

    >>> dense(10).parameters((3072,))
    30730
    """

    units: int | Classes
    _: KW_ONLY
    bias: bool = True

    def _normalise(self) -> None:
        self._set("units", whole_or_classes("dense", "units", self.units))
        flag("dense", "bias", self.bias)

    def _count(self) -> int:
        if isinstance(self.units, Classes):
            raise Problem("its number of units is the placeholder `classes`, which no data has bound yet")
        return self.units

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise Problem(
                f"it needs a vector, and maps {written_shape(input_shape)} reach it: a_k = Σ w_ki·x_i + b_k adds over "
                "one row of numbers",
                "a vector (D,)",
            )
        return (self._count(),)

    def parameters(self, input_shape: Shape) -> int:
        return self._count() * (input_shape[0] + (1 if self.bias else 0))

    def macs(self, input_shape: Shape) -> int:
        return self._count() * input_shape[0]

    def reach(self, input_shape: Shape) -> Window:
        return EVERYTHING

    def bias_additions(self, input_shape: Shape) -> int:
        return self._count() if self.bias else 0

    def connections(self, input_shape: Shape) -> int:
        return self.parameters(input_shape)

    def working(self, input_shape: Shape) -> Working:
        inputs, units, total = input_shape[0], self._count(), self.parameters(input_shape)
        rule = (
            f"a_k = Σ w_ki·x_i{' + b_k' if self.bias else ''}, i = 1 … n = {inputs:,}, k = 1 … K = {units:,}"
        )
        written = (
            f"K·(n + 1) = {units:,}·({inputs:,} + 1) = {total:,}"
            if self.bias
            else f"K·n = {product(units, inputs)} = {total:,} (no biases)"
        )
        return Working(
            f"every node sees every input: {rule}",
            (f"K = {units:,} nodes, a vector",),
            (written,),
            (f"K·n = {product(units, inputs)} = {self.macs(input_shape):,}",),
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return (f"nn.Linear({input_shape[0]}, {self._count()}{'' if self.bias else ', bias=False'})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Linear(input_shape[0], self._count(), bias=self.bias)

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        from convscope.layers import flatten, globalpool

        yield f"put flatten before {self}", (flatten(), self)
        yield f"put globalpool before {self}", (globalpool(), self)
