"""Residual and inception nets: boxes by kind, shortcuts as arcs, branches side by side, repeats folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.inference import Inference, Node
from convscope.inspection.diagram._canvas import LINE, NORMAL, SMALL, SOFT_INK, Canvas, shaded, widest
from convscope.inspection.diagram._figures import Figure, branches, framed, residual, row, times
from convscope.inspection.diagram._items import Folder, Group, Item, Times, Unit
from convscope.inspection.diagram._words import (
    COLOURS,
    colour_of,
    extra_line,
    kind_of,
    main_lines,
    maps_label,
    title_of,
)

MOST_UNITS = 600
MOST_IN_A_ROW = 120
MOST_BRANCHES = 40
LINE_HEIGHT, STRIP_HEIGHT = 13.5, 14.0
PIECE_WIDTH = 1200.0


class Blocks:
    """Makes figures out of items, at most MOST_UNITS boxes in all."""

    def __init__(self, inference: Inference, folder: Folder) -> None:
        self.inference, self.folder = inference, folder
        self.drawn = 0

    def figures(self, items: Sequence[Item]) -> list[Figure]:
        """A figure for each item of a row; a row that is too long loses its middle, and says so."""
        if len(items) > MOST_IN_A_ROW:
            kept = MOST_IN_A_ROW // 2
            left_out = len(items) - 2 * kept
            return [*self.figures(items[:kept]), gap_figure(left_out), *self.figures(items[-kept:])]
        return [self.figure(item) for item in items]

    def row(self, items: Sequence[Item]) -> Figure:
        """Items along one flow line."""
        return row(self.figures(items))

    def figure(self, item: Item) -> Figure:
        """One item."""
        if self.drawn >= MOST_UNITS:
            return gap_figure(1)
        if isinstance(item, Unit):
            self.drawn += 1
            return self.unit(item)
        if isinstance(item, Times):
            return times(self.row(item.items), item.times)
        return self.group(item)

    def group(self, item: Group) -> Figure:
        """A composite, by its word."""
        if item.node.layer.word == "residual":
            return self.residual(item)
        if item.node.layer.word == "branches":
            return self.branches(item)
        if item.node.layer.word == "aux":
            return self.aux(item)
        return self.block(item)

    def block(self, item: Group) -> Figure:
        """A named block: a frame with its name, in several frames where it is long."""
        names = self.folder.names_for(item.node)
        label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1].rpartition('.')[2]}"
        parts = self.figures(item.paths[0])
        return self.marked(item.node, _with_pieces(framed(row(parts), label, fill="#fbfcfd"), parts, label))

    def residual(self, item: Group) -> Figure:
        """Body, shortcut, sum."""
        layer: Any = item.node.layer
        before, after = self.inference.shapes[item.node.name]
        box = None
        if layer.shortcut == "projection":
            stride = max(1, round(before[1] / after[1]))
            box = boxed(
                [f"conv 1×1{f' /{stride}' if stride > 1 else ''}", f"{after[0]} maps"], "conv", ["batch norm"]
            )
        words = "identity" if layer.shortcut == "identity" else "zero-padded maps"
        dash = "4 3" if layer.shortcut == "zeropad" else ""
        return self.marked(item.node, residual(self.row(item.paths[0]), box, words, dash))

    def branches(self, item: Group) -> Figure:
        """The paths side by side and the bar where their maps are stacked."""
        paths = item.paths[:MOST_BRANCHES]
        rows = [self.row(path) for path in paths]
        rows = [figure if figure.width else Figure(0, 8, 8, lambda *_: None) for figure in rows]
        if len(item.paths) > len(paths):
            rows.append(gap_figure(len(item.paths) - len(paths), "branches"))
        label = ["concat", maps_label(self.inference.shapes[item.node.name][1])]
        figure = branches(rows, label)
        marked = self.marked(item.node, figure)
        return framed(marked, item.node.local_name, fill="#fbfcfd") if item.node.layer.name else marked

    def aux(self, item: Group) -> Figure:
        """A point on the flow line, from which the training-only output hangs."""
        layer: Any = item.node.layer
        label = f"{item.node.name}: only in training, weight {layer.weight:g}"
        inner = framed(
            self.row(item.paths[0]), label, dash="4 3", fill="#fffdf5", side="middle", open_ends=False
        )

        hanging = self.marked(item.node, inner)

        def draw(canvas: Canvas, left: float, y: float) -> None:
            canvas.line([(left, y), (left + 6, y)])
            canvas.circle(left + 3, y, 2.4, LINE)

        return Figure(6, 4, 4, draw, hanging=hanging)

    def unit(self, item: Unit) -> Figure:
        """A box for the making layer, strips for those that keep its shape, and its size where that changes."""
        node = item.nodes[-1]
        before, after = self.inference.shapes[item.nodes[0].name][0], self.inference.shapes[node.name][1]
        label = maps_label(after) if len(after) == 3 and before[1:] != after[1:] else ""
        return boxed_unit(item, self.inference, self.folder, label)

    def marked(self, node: Node, figure: Figure) -> Figure:
        """The same figure, known as this composite."""

        def draw(canvas: Canvas, left: float, y: float) -> None:
            names = self.folder.names_for(node)
            with canvas.layer(names, node.layer.word, title_of(node, self.inference, len(names))):
                figure.draw(canvas, left, y)

        return Figure(
            figure.width, figure.above, figure.below, draw, figure.inlet, figure.outlet, figure.hanging,
            pieces=figure.pieces,
        )  # fmt: skip


def boxed_unit(item: Unit, inference: Inference, folder: Folder, label: str) -> Figure:
    """The box of a unit, each of its layers marked."""
    lines = main_lines(item.main.layer, inference.shapes[item.main.name][1]) if item.main else []
    strips = [extra_line(node.layer) for node in item.extras]
    width = max(widest(lines), widest(strips, SMALL), widest([label], SMALL) - 12) + 12
    box_height = len(lines) * LINE_HEIGHT + 7 if lines else 0.0
    height = box_height + STRIP_HEIGHT * len(strips)
    above = box_height / 2 if lines else height / 2
    below = height - above + (14 if label else 0)

    def draw(canvas: Canvas, left: float, y: float) -> None:
        top = y - above
        if item.main:
            with _layer(canvas, item.main, inference, folder):
                _box(canvas, left, top, width, box_height, COLOURS[kind_of(item.main)], lines)
        for k, (node, words) in enumerate(zip(item.extras, strips, strict=True)):
            with _layer(canvas, node, inference, folder):
                _strip(canvas, left, top + box_height + k * STRIP_HEIGHT, width, colour_of(node), words)
        if label:
            canvas.text(left + width / 2, top + height + 11, label, size=SMALL, fill=SOFT_INK)

    return Figure(width, above, below, draw)


def _layer(canvas: Canvas, node: Node, inference: Inference, folder: Folder) -> Any:
    names = folder.names_for(node)
    return canvas.layer(names, node.layer.word, title_of(node, inference, len(names)))


def boxed(lines: list[str], kind: str, strips: list[str]) -> Figure:
    """A box that belongs to a composite, such as a projection."""
    width = max(widest(lines), widest(strips, SMALL)) + 12
    box_height = len(lines) * LINE_HEIGHT + 5
    height = box_height + STRIP_HEIGHT * len(strips)

    def draw(canvas: Canvas, left: float, y: float) -> None:
        _box(canvas, left, y - height / 2, width, box_height, COLOURS["convolution"], lines)
        for k, words in enumerate(strips):
            top = y - height / 2 + box_height + k * STRIP_HEIGHT
            _strip(canvas, left, top, width, COLOURS["normalisation"], words)

    return Figure(width, height / 2, height / 2, draw)


def _box(
    canvas: Canvas, x: float, y: float, width: float, height: float, colour: str, lines: list[str]
) -> None:
    canvas.rect(x, y, width, height, shaded(colour, 0.25), shaded(colour, -0.35), radius=4)
    first = y + height / 2 - LINE_HEIGHT * len(lines) / 2 + 10.2
    for k, line in enumerate(lines):
        canvas.text(x + width / 2, first + LINE_HEIGHT * k, line, size=NORMAL, bold=k == 0)


def _strip(canvas: Canvas, x: float, y: float, width: float, colour: str, words: str) -> None:
    canvas.rect(x, y, width, STRIP_HEIGHT, shaded(colour, 0.3), shaded(colour, -0.3), radius=2)
    canvas.text(x + width / 2, y + 10.4, words, size=SMALL)


def gap_figure(count: int, what: str = "layers") -> Figure:
    """A place where things are left out, and how many."""
    words = f"… {count:,} more {what} …"
    width = widest([words], SMALL) + 8

    def draw(canvas: Canvas, left: float, y: float) -> None:
        canvas.text(left + width / 2, y + 3.5, words, size=SMALL, fill=SOFT_INK)

    return Figure(width, 10, 10, draw)


def _with_pieces(whole: Figure, parts: Sequence[Figure], label: str) -> Figure:
    """A framed row that may be taken apart into frames of at most PIECE_WIDTH."""
    chunks: list[list[Figure]] = [[]]
    for part in parts:
        if chunks[-1] and sum(p.width + 20 for p in chunks[-1]) + part.width > PIECE_WIDTH:
            chunks.append([])
        chunks[-1].append(part)
    if len(chunks) < 2:
        return whole
    labels = [label, *[f"{label}, continued"] * (len(chunks) - 1)]
    pieces = tuple(framed(row(c), words, fill="#fbfcfd") for c, words in zip(chunks, labels, strict=True))
    return Figure(whole.width, whole.above, whole.below, whole.draw, pieces=pieces)
