"""What a network does to a shape: names, shapes, parameters, multiply-adds and receptive fields, without torch.

Two steps. `expand` writes every repeat out and gives each layer its name: a tree of `Node`. `infer` carries the shape
of one picture through the tree and notes a `Step` for every layer that does something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from convscope.errors import NetTextError, ShapeError
from convscope.layers._base import Layer, Problem, Shape, written_shape
from convscope.layers._composite import Composite
from convscope.layers._receptive_field import ReceptiveField

MAX_NUMBERS_IN_MAP = 10**11
MAX_PARAMETERS = 10**11
Layers = tuple[Layer, ...]
Origin = tuple[
    tuple[int, int], ...
]  # where a layer stands in the description: (path, position) level by level


@dataclass(frozen=True)
class Node:
    """One layer at its place, with its full name; a composite has the nodes of its paths."""

    name: str
    layer: Layer
    origin: Origin
    paths: tuple[tuple[Node, ...], ...] = ()

    @property
    def local_name(self) -> str:
        """The name within its block: conv3 of stage2.conv3."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Step:
    """One line of the table: a layer, what came, what it made, what that cost. Shapes are (C, H, W) or (D,).

    `receptive_field` and `jump` are in pixels of the picture, one number or [rows, columns]; `jump` is None for a
    vector, which has no neighbours.
    """

    name: str
    kind: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: int | list[int]
    jump: float | list[float] | None
    training_only: bool


@dataclass(frozen=True)
class Inference:
    """Everything that follows from a network and the shape of its input. `parameters` and `macs` leave out what only
    training uses; `depth` counts convolutions, dense layers and an rbf output on the longest path."""

    nodes: tuple[Node, ...]
    input_shape: Shape
    output_shape: Shape
    steps: tuple[Step, ...]
    shapes: dict[str, tuple[Shape, Shape]] = field(repr=False)  # of every node: what came, what left
    fields: dict[str, tuple[ReceptiveField, ReceptiveField]] = field(repr=False)  # likewise
    depth: int

    @property
    def parameters(self) -> int:
        """Trainable numbers of the network itself."""
        return sum(step.parameters for step in self.steps if not step.training_only)

    @property
    def parameters_training_only(self) -> int:
        """Trainable numbers of training-only outputs."""
        return sum(step.parameters for step in self.steps if step.training_only)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and dense layers for one picture."""
        return sum(step.macs for step in self.steps if not step.training_only)


# Names --------------------------------------------------------------------------------------------


@dataclass
class _Scope:
    """The names given so far within one block."""

    prefix: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def name_for(self, layer: Layer) -> str:
        """The layer's own name, or its kind and ordinal within the block."""
        self.counts[layer.word] = self.counts.get(layer.word, 0) + 1
        name = layer.name or f"{layer.word}{self.counts[layer.word]}"
        if name in self.taken:
            raise NetTextError(
                f"two layers are named {self.prefix + name!r}",
                "each name once within its block",
                "Leave name= out and each copy gets a number of its own",
            )
        self.taken.add(name)
        return name


def expand(layers: Layers) -> tuple[Node, ...]:
    """The tree of named nodes, repeats written out. Raises NetTextError when a name comes twice."""
    return tuple(_nodes(layers, _Scope(), (), 0))


def _nodes(layers: Layers, scope: _Scope, above: Origin, path: int) -> Iterator[Node]:
    for position, layer in enumerate(layers):
        origin = (*above, (path, position))
        if isinstance(layer, Composite) and layer.word == "repeat" and layer.name is None:
            for _ in range(layer.copies):
                yield from _nodes(layer.paths[0], scope, origin, 0)
        else:
            yield _node(layer, scope, origin)


def _node(layer: Layer, scope: _Scope, origin: Origin) -> Node:
    name = scope.prefix + scope.name_for(layer)
    if not isinstance(layer, Composite):
        return Node(name, layer, origin)
    inner = _Scope(name + ".")
    paths = tuple(
        tuple(node for _ in range(layer.copies) for node in _nodes(path, inner, origin, number))
        for number, path in enumerate(layer.paths)
    )
    return Node(name, layer, origin, paths)


# Shapes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Signal:
    """What flows from layer to layer: the shape, what one number of it sees, and the depth so far."""

    shape: Shape
    field: ReceptiveField
    depth: int = 0


class _Refused(Exception):
    """A layer refused its input, with everything the message needs."""

    def __init__(
        self, node: Node, shape: Shape, problem: Problem, join_of: tuple[Shape, ...] | None = None
    ) -> None:
        self.node, self.shape, self.problem, self.join_of = node, shape, problem, join_of
        super().__init__(str(problem))


class _Ledger:
    """Carries a signal through nodes and keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.shapes: dict[str, tuple[Shape, Shape]] = {}
        self.fields: dict[str, tuple[ReceptiveField, ReceptiveField]] = {}

    def row(self, nodes: tuple[Node, ...], signal: _Signal, training_only: bool) -> _Signal:
        for node in nodes:
            before, signal = signal, self.node(node, signal, training_only)
            self.shapes[node.name] = (before.shape, signal.shape)
            self.fields[node.name] = (before.field, signal.field)
        return signal

    def node(self, node: Node, signal: _Signal, training_only: bool) -> _Signal:
        if isinstance(node.layer, Composite):
            return self.join(node, node.layer, signal, training_only)
        layer, shape = node.layer, signal.shape
        try:
            output_shape = layer.output_shape(shape)
        except Problem as problem:
            raise _Refused(node, shape, problem) from None
        if math.prod(output_shape) > MAX_NUMBERS_IN_MAP or layer.parameters(shape) > MAX_PARAMETERS:
            raise _Refused(
                node, shape, Problem("its output or its weights would be over 100 billion numbers")
            )
        after = _Signal(
            output_shape,
            signal.field.through(layer.reach(shape), output_shape),
            signal.depth + (layer.macs(shape) > 0 or layer.word == "rbf"),
        )
        self._note(node, shape, after, layer.parameters(shape), layer.macs(shape), training_only)
        return after

    def join(self, node: Node, layer: Composite, signal: _Signal, training_only: bool) -> _Signal:
        inside_training_only = training_only or layer.word == "aux"
        ends = tuple(self.row(path, signal, inside_training_only) for path in node.paths)
        shapes = tuple(end.shape for end in ends)
        try:
            output_shape = layer.joined_shape(signal.shape, shapes)
        except Problem as problem:
            raise _Refused(node, signal.shape, problem, shapes) from None
        depth = signal.depth if layer.word == "aux" else max(end.depth for end in ends)
        joined = layer.joined_field(signal.field, tuple(end.field for end in ends))
        after = _Signal(output_shape, joined, depth)
        if layer.has_row:
            parameters = layer.own_parameters(signal.shape, output_shape)
            self._note(
                node,
                signal.shape,
                after,
                parameters,
                layer.own_macs(signal.shape, output_shape),
                training_only,
            )
        return after

    def _note(
        self, node: Node, input_shape: Shape, after: _Signal, parameters: int, macs: int, training_only: bool
    ) -> None:
        jump = after.field.jump if len(after.shape) == 3 else None
        self.steps.append(
            Step(
                node.name,
                node.layer.word,
                node.layer,
                input_shape,
                after.shape,
                parameters,
                macs,
                after.field.size,
                jump,
                training_only,
            )
        )


def infer(layers: Layers, input_shape: Shape) -> Inference:
    """Carry `input_shape` (C, H, W) through the layers, `classes` bound. Raises ShapeError with edits that work."""
    try:
        return _infer(layers, input_shape)
    except _Refused as refused:
        raise _error(refused, layers, input_shape) from None


def _infer(layers: Layers, input_shape: Shape) -> Inference:
    ledger, nodes = _Ledger(), expand(layers)
    picture = _Signal(input_shape, ReceptiveField.of_picture(input_shape[1], input_shape[2]))
    end = ledger.row(nodes, picture, training_only=False)
    steps = tuple(ledger.steps)
    return Inference(nodes, input_shape, end.shape, steps, ledger.shapes, ledger.fields, end.depth)


# Errors -------------------------------------------------------------------------------------------


def _error(refused: _Refused, layers: Layers, input_shape: Shape) -> ShapeError:
    node, problem = refused.node, refused.problem
    came = (
        f"{node.name}, {shortened(str(node.layer))}, cannot take what reaches it "
        f"from an input of {written_shape(input_shape)}: "
    )
    shrinkers = _who_shrank(layers, node, input_shape) if problem.expected.startswith("an output") else ""
    working = _working_edits(refused, layers, input_shape)
    fix = "What would work: " + "; or ".join(working) if working else ""
    return ShapeError(came + problem.reason + shrinkers, problem.expected, fix)


def shortened(text: str, most: int = 90) -> str:
    """A text that fits in a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _who_shrank(layers: Layers, refused: Node, input_shape: Shape) -> str:
    """The layers before that made the map smaller, the last four."""
    ledger = _Ledger()
    with suppress(_Refused):
        ledger.row(expand(layers), _Signal(input_shape, ReceptiveField.of_picture(*input_shape[1:])), False)
    smaller = [
        f"{s.name} {s.input_shape[1]}→{s.output_shape[1]}"
        for s in ledger.steps
        if len(s.output_shape) == 3 and s.output_shape[1] < s.input_shape[1]
    ]
    return f" (rows before it: {', '.join(smaller[-4:])})" if smaller else ""


def _working_edits(refused: _Refused, layers: Layers, input_shape: Shape) -> list[str]:
    """At most four edits, each tried: those after which the whole network takes the input, or, where none does, those
    that bring it past this layer, with the layer that must be mended next."""
    working, partly = [], []
    for words, replacement in _candidates(refused):
        edited = _edited(layers, refused.node.origin, replacement)
        said = f"{words} in {refused.node.name}" if words.startswith("set ") else words
        next_fault = _fault(edited, input_shape) if edited else refused
        if next_fault is None:
            working.append(said)
        elif next_fault.node.origin > refused.node.origin:
            partly.append(f"{said} (then {next_fault.node.name} needs mending)")
    larger = smallest_input(layers, input_shape)
    if larger and larger > max(input_shape[1:]):
        working.insert(3, f"an input of at least {larger}×{larger} pixels")
    return (working or partly)[:4]


def _candidates(refused: _Refused) -> Iterator[tuple[str, Layers]]:
    layer = refused.node.layer
    if isinstance(layer, Composite) and refused.join_of is not None:
        yield from layer.join_edits(refused.shape, refused.join_of)
    else:
        yield from layer.edits(refused.shape)


def _edited(layers: Layers, origin: Origin, replacement: Layers) -> Layers:
    """The description with the layer at `origin` replaced."""
    (_, position), *deeper = origin
    if not deeper:
        return (*layers[:position], *replacement, *layers[position + 1 :])
    outer = layers[position]
    assert isinstance(outer, Composite)
    path = deeper[0][0]
    inner = _edited(outer.paths[path], tuple(deeper), replacement)
    paths = (*outer.paths[:path], inner, *outer.paths[path + 1 :])
    return (*layers[:position], outer.with_paths(paths), *layers[position + 1 :])


def _fault(layers: Layers, input_shape: Shape) -> _Refused | None:
    """The first layer that refuses what reaches it, or None when the layers take this input from end to end."""
    try:
        _infer(layers, input_shape)
    except _Refused as refused:
        return refused
    return None


def smallest_input(layers: Layers, input_shape: Shape, most: int = 4096) -> int | None:
    """The smallest side of a square input, in pixels, that the layers take with as many maps as `input_shape`."""

    def fits(side: int) -> bool:
        return _fault(layers, (input_shape[0], side, side)) is None

    return first_that(fits, most)


def first_that(fits: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 1 to `most` that fits, where all larger ones do as well (doubling, then halving)."""
    high = 1
    while high <= most and not fits(high):
        high *= 2
    if high > most:
        return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
