"""`inspect --why`: how every number of one layer comes about, in the lecture's notation with the numbers put in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from convscope.errors import ConvscopeError, did_you_mean
from convscope.inference import Inference, Node, Step, shortened
from convscope.inspection.table import percent, pixels, times
from convscope.inspection.totals import Costs, Dense, costs, one_node_a_map, same_output, total
from convscope.layers._base import Shape, written_shape
from convscope.layers._composite import Composite
from convscope.layers._receptive_field import POINT, ReceptiveField, Span, Window
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from convscope.inspection.view import Inspection

MOST_NAMES = 60  # listed when a name does not exist
Topic = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Why:
    """One layer's derivation: topic after topic, each a few lines. `costs` are those of all layers in it."""

    name: str
    kind: str
    text: str
    input_shape: Shape
    output_shape: Shape
    costs: Costs
    topics: tuple[Topic, ...]

    def to_json(self) -> dict[str, Any]:
        """The document `inspect --why NAME --json` prints."""
        return {
            "name": self.name,
            "kind": self.kind,
            "text": self.text,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            **asdict(self.costs),
            "why": {topic: list(lines) for topic, lines in self.topics},
        }

    def render(self, width: int = 100) -> str:
        """Topics to the left, their lines to the right, at most `width` letters a line."""
        margin = max(len(topic) for topic, _ in self.topics) + 2
        blocks = [f"{self.name} = {shortened(self.text, 4 * width)}"]
        blocks += wrap(blocks.pop(), width, subsequent_indent="    ")
        blocks.append("")
        for topic, lines in self.topics:
            for number, line in enumerate(lines):
                blocks += _hung(topic if number == 0 else "", line, margin, width)
        return "\n".join(blocks)

    def __str__(self) -> str:
        return self.render()


def _hung(topic: str, line: str, margin: int, width: int) -> list[str]:
    parts = wrap(line, max(width - margin, 40), subsequent_indent="  ", break_long_words=False)
    return [f"{topic if k == 0 else '':<{margin}}{part}" for k, part in enumerate(parts)]


def why(inspection: Inspection, name: str) -> Why:
    """The derivation of one layer, composites too.

    Raises ConvscopeError with a suggestion and the names there are when there is no layer of this name.

    >>> from convscope.inspection import inspect
    >>> dict(inspect("conv(6, 5)", (3, 32, 32)).why("conv1").topics)["parameters"]
    ('(F·F·D + 1)·D′ = (5·5·3 + 1)·6 = 76·6 = 456',)
    """
    inference = inspection.inference
    nodes = {node.name: node for node in _every(inference.nodes)}
    if name not in nodes:
        raise ConvscopeError(
            f"no layer is named {name[:80]!r}", f"one of {_names(list(nodes))}", did_you_mean(name, nodes)
        )
    node = nodes[name]
    inside = _steps_in(node, {step.name: step for step in inference.steps})
    own = total(step for step in inside if _counts(step, node, inside))
    came, left = inference.shapes[name]
    topics = tuple((topic, lines) for topic, lines in _topics(node, inside, own, inference) if lines)
    return Why(name, node.layer.word, str(node.layer), came, left, own, topics)


def _counts(step: Step, node: Node, inside: list[Step]) -> bool:
    """Training-only layers count where nothing else is asked for."""
    return not step.training_only or node.layer.word == "aux" or all(s.training_only for s in inside)


def _every(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        for path in node.paths:
            yield from _every(path)


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    listed = ", ".join(names[:MOST_NAMES])
    return f"{listed} … and {more} more (inspect --all lists them)" if more > 0 else listed


def _steps_in(node: Node, steps: dict[str, Step]) -> list[Step]:
    inside = [step for path in node.paths for inner in path for step in _steps_in(inner, steps)]
    return [*inside, steps[node.name]] if node.name in steps else inside


# Topics -----------------------------------------------------------------------------------------------


def _topics(node: Node, inside: list[Step], own: Costs, inference: Inference) -> Iterator[Topic]:
    came, left = inference.shapes[node.name]
    working = _working(node, inference)
    yield "what", (f"{working.does}.",)
    yield "shape", (f"{written_shape(came)} → {written_shape(left)}", *working.shape)
    yield "parameters", working.parameters or ("none",)
    yield "MACs", working.macs or ("none: it is no convolution and no dense layer",)
    if len(inside) > 1:
        yield "in all", (_inside_line(node, inside, own),)
    yield "FLOPs", _flops_lines(node, inside, own)
    yield "sees", _field_lines(node, inference)
    yield "memory", (_memory_line(node, left),)
    yield "share", (_share_line(node, own, inside, inference),)
    yield "connections", _connection_lines(inside, own)
    yield "fully connected", _dense_lines(inside)


def _working(node: Node, inference: Inference) -> Working:
    came, left = inference.shapes[node.name]
    if not isinstance(node.layer, Composite):
        return node.layer.working(came)
    ends = tuple(inference.shapes[path[-1].name][1] if path else came for path in node.paths)
    return node.layer.joined_working(came, ends, left)


def _inside_line(node: Node, inside: list[Step], own: Costs) -> str:
    layers = len(inside) - any(step.name == node.name for step in inside)
    return f"{layers} layers inside, together {own.parameters:,} parameters and {own.macs:,} MACs"


def _flops_lines(node: Node, inside: list[Step], own: Costs) -> tuple[str, ...]:
    if not own.macs:
        return ()
    biases = own.flops - 2 * own.macs
    added = f" + {biases:,} additions of a bias" if biases else ""
    return (f"2·{own.macs:,}{added} = {own.flops:,}",)


def _memory_line(node: Node, left: Shape) -> str:
    if node.layer.only_passes_on:
        return "none of its own: the numbers that came go on, where they are"
    nodes = math.prod(left)
    numbers = f"{product(*left)} = {nodes:,}" if len(left) > 1 else f"{nodes:,}"
    return f"{numbers} nodes, float32: 4·{nodes:,} = {4 * nodes:,} bytes a picture"


def _share_line(node: Node, own: Costs, inside: list[Step], inference: Inference) -> str:
    if node.layer.word == "aux" or (inside and all(step.training_only for step in inside)):
        return "for training only: it is not in the totals"
    parameters = percent(own.parameters, inference.parameters) or "0 %"
    macs = percent(own.macs, inference.macs) or "0 %"
    return f"{parameters} of the net's {inference.parameters:,} parameters, {macs} of its {inference.macs:,} MACs"


def _connection_lines(inside: list[Step], own: Costs) -> tuple[str, ...]:
    """Only where the LeNet-5 paper's count says something that parameters and MACs do not."""
    step = inside[-1] if len(inside) == 1 else None
    if step is None or (step.kind not in ("subsample", "rbf") and getattr(step.layer, "table", None) is None):
        return ()
    places = math.prod(step.output_shape[1:])
    if step.kind == "subsample":
        area, nodes = (own.connections // costs(step).nodes) - 1, costs(step).nodes
        said = f"({area} + 1)·{nodes:,} = {own.connections:,}: the window and the bias, at every place"
    elif step.kind == "rbf":
        said = f"D·K = {product(*step.input_shape, *step.output_shape)} = {own.connections:,}"
    else:
        said = f"{step.parameters:,}·{places} = {own.connections:,}: each weight and bias at every place"
    return (f"{said}, as the LeNet-5 paper counts",)


def _dense_lines(inside: list[Step]) -> tuple[str, ...]:
    """A convolution against dense layers in its place: the lecture's fewer weights and more nodes."""
    if len(inside) != 1 or inside[0].kind != "conv":
        return ()
    step = inside[0]
    own, inputs = costs(step), math.prod(step.input_shape)
    one, same = one_node_a_map(step), same_output(step)

    def line(words: str, dense: Dense) -> str:
        by = f"{times(dense.parameters / own.parameters)} parameters, {times(dense.nodes / own.nodes)} nodes"
        return (
            f"{words}: {dense.nodes:,}·({inputs:,} + 1) = {dense.parameters:,} parameters, "
            f"{dense.nodes:,}·{inputs:,} = {dense.macs:,} MACs; {by}, {times(dense.macs / own.macs)} MACs"
        )

    return line("with one node a map", one), line("with the same output", same)


# Receptive field --------------------------------------------------------------------------------------


def _field_lines(node: Node, inference: Inference) -> tuple[str, ...]:
    """The receptive field r and the jump j, from those of the layer before."""
    before, after = inference.fields[node.name]
    came = inference.shapes[node.name][0]
    if isinstance(node.layer, Composite):
        return (_joined_field_line(node, before, after, inference),)
    reach = node.layer.reach(came)
    if reach == POINT:
        seen = pixels(after.size)
        return (f"one number looks at one place: r = {seen} and j = {pixels(after.jump)} pixels, as before",)
    if reach.sees_everything:
        return _everything_lines(before, after, inference)
    return _axes(before, after, reach)


def _axes(before: ReceptiveField, after: ReceptiveField, reach: Window) -> tuple[str, ...]:
    rows = _window_line(before.rows, after.rows, reach.extent[0], reach.stride[0])
    columns = _window_line(before.columns, after.columns, reach.extent[1], reach.stride[1])
    return (
        rows
        if rows == columns
        else tuple(
            f"{word}: {line}" for word, lines in (("rows", rows), ("columns", columns)) for line in lines
        )
    )


def _window_line(before: Span, after: Span, extent: int, stride: float) -> tuple[str, str]:
    jump = f"{before.jump:g}"
    return (
        f"r′ = r + (F − 1)·j = {before.size} + ({extent} − 1)·{jump} = {after.size} pixels of the picture",
        f"j′ = S·j = {stride:g}·{jump} = {after.jump:g}, pixels from one place to the next",
    )


def _everything_lines(before: ReceptiveField, after: ReceptiveField, inference: Inference) -> tuple[str, ...]:
    rows, columns = (
        f"r′ = r + (n − 1)·j = {b.size} + ({b.count} − 1)·{b.jump:g} = {a.size} pixels"
        for b, a in ((before.rows, after.rows), (before.columns, after.columns))
    )
    sees = (
        (f"every place: {rows}",)
        if rows == columns
        else (f"every place, rows: {rows}", f"columns: {columns}")
    )
    side = max(inference.input_shape[1:])
    if max(after.rows.size, after.columns.size) <= side:
        return sees
    return (*sees, f"more than the picture's {side}: windows at the border reach into the padding")


def _joined_field_line(
    node: Node, before: ReceptiveField, after: ReceptiveField, inference: Inference
) -> str:
    ends = [pixels((inference.fields[path[-1].name][1] if path else before).size) for path in node.paths]
    seen = f"r = {pixels(after.size)} and j = {pixels(after.jump)} pixels"
    if node.layer.word == "aux":
        return f"as before, {seen}"
    if node.layer.word == "residual":
        return (
            f"the sum sees what either sees: the body {ends[0]}, the shortcut {pixels(before.size)}: {seen}"
        )
    if node.layer.word == "branches":
        return f"the stack sees what any path sees, {', '.join(ends)}: {seen}"
    return f"what its last layer sees: {seen}"
