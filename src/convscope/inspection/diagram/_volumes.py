"""Nets in a row as the papers on LeNet and AlexNet draw them: maps as volumes, vectors as bars, windows on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convscope.inference import Inference, Node
from convscope.inspection.diagram._blocks import MOST_IN_A_ROW, gap_figure
from convscope.inspection.diagram._canvas import LINE, SMALL, SOFT_INK, Canvas, Point, shaded, widest
from convscope.inspection.diagram._figures import Figure, arrow, row, times
from convscope.inspection.diagram._items import Folder, Group, Item, Times, Unit
from convscope.inspection.diagram._words import COLOURS, extra_line, kind_of, main_lines, maps_label, title_of
from convscope.layers._base import Shape, both

LINE_HEIGHT = 12.5
MOST_FIGURES = 400


class Volumes:
    """Makes volumes and bars for one net. Sizes are compressed by powers, so that 1000 still stands beside 3."""

    def __init__(self, inference: Inference, folder: Folder) -> None:
        self.inference, self.folder = inference, folder
        shapes = [inference.input_shape, *(after for _, after in inference.shapes.values())]
        self.largest = max(max(shape[1:]) for shape in shapes if len(shape) == 3)
        self.drawn = 0

    # Sizes in pixels of the picture ------------------------------------------------------------

    def side(self, size: int) -> float:
        """How long a side of `size` is drawn."""
        full = 86 + 0.3 * min(self.largest, 224)
        return max(7.0, full * math.pow(size / self.largest, 0.58))

    @staticmethod
    def thickness(maps: int) -> float:
        """How thick so many maps are drawn."""
        return min(96.0, 3.4 * math.pow(maps, 0.46))

    @staticmethod
    def bar(numbers: int) -> float:
        """How long a vector is drawn."""
        return min(190.0, 14 * math.pow(numbers, 0.29))

    # Figures -----------------------------------------------------------------------------------

    def figures(self, items: Sequence[Item]) -> list[Figure]:
        """The picture, then a figure for each item, each told of the window that the next one slides over it."""
        leading: tuple[Node, ...] = ()
        if items and isinstance(items[0], Unit) and items[0].main is None:
            leading, items = items[0].nodes, items[1:]
        picture = self._picture(leading, _window_of_next(items, 0, self.inference))
        return [picture, *self._row(items)]

    def _row(self, items: Sequence[Item]) -> list[Figure]:
        if len(items) > MOST_IN_A_ROW:
            kept = MOST_IN_A_ROW // 2
            return [*self._row(items[:kept]), gap_figure(len(items) - 2 * kept), *self._row(items[-kept:])]
        found = []
        for k, item in enumerate(items):
            window = _window_of_next(items, k + 1, self.inference)
            found += self._figure(item, window)
        return found

    def _figure(self, item: Item, window: tuple[float, float] | None) -> list[Figure]:
        if self.drawn >= MOST_FIGURES:
            return [gap_figure(1)]
        if isinstance(item, Times):
            return [times(row(self._row(item.items), VOLUME_GAP, connect), item.times)]
        if isinstance(item, Group):  # a named block: its layers stand in the row like the others
            return self._row(item.paths[0])
        self.drawn += 1
        return [self._unit(item, window)]

    def _picture(self, leading: tuple[Node, ...], window: tuple[float, float] | None) -> Figure:
        body = _solid(self, self.inference.input_shape, COLOURS["input"])
        top = ["input", maps_label(self.inference.input_shape)]
        return self._captioned(body, top, [], leading, None, window)

    def _unit(self, item: Unit, window: tuple[float, float] | None) -> Figure:
        node = item.nodes[0]
        shape = self.inference.shapes[node.name][1]
        main = item.main
        colour = COLOURS[kind_of(node)]
        body = _solid(self, shape, colour) if len(shape) == 3 else _bar(self.bar(shape[0]), colour)
        words = main_lines(main.layer, shape)[:1] if main else []
        words += (
            [line for line in main_lines(main.layer, shape)[1:] if _says_more(line, shape)] if main else []
        )
        return self._captioned(body, [_short(node.name), maps_label(shape)], words, item.extras, main, window)

    def _captioned(
        self, body: Figure, top: list[str], words: list[str], extras: tuple[Node, ...], main: Node | None,
        window: tuple[float, float] | None,
    ) -> Figure:  # fmt: skip
        """A body with its name and size over it, and what made it under it, each layer marked."""
        strips = [extra_line(node.layer) for node in extras]
        width = (
            max(
                body.width,
                widest(top[:1], SMALL) + 4,
                widest(top[1:], SMALL + 0.5),
                widest([*words, *strips], SMALL),
            )
            + 2
        )
        above = body.above + 6 + LINE_HEIGHT * len(top)
        below = body.below + 4 + LINE_HEIGHT * (len(words) + len(strips))
        left_out = (width - body.width) / 2

        def draw(canvas: Canvas, left: float, y: float) -> None:
            def body_and_words() -> None:
                body.draw(canvas, left + left_out, y)
                _stack(
                    canvas,
                    left + width / 2,
                    y - body.above - 6 - LINE_HEIGHT * (len(top) - 1),
                    top,
                    bold=True,
                )
                _stack(canvas, left + width / 2, y + body.below + 12, words)

            if main:
                with self._layer(canvas, main):
                    body_and_words()
            else:
                body_and_words()
            first = y + body.below + 12 + LINE_HEIGHT * len(words)
            for k, (node, line) in enumerate(zip(extras, strips, strict=True)):
                with self._layer(canvas, node):
                    _stack(canvas, left + width / 2, first + LINE_HEIGHT * k, [line], SOFT_INK)

        return Figure(
            width, above, below, draw, left_out + body.inlet, left_out + body.outlet,
            window=window if body.window else None, pieces=(body,),
        )  # fmt: skip

    def _layer(self, canvas: Canvas, node: Node) -> Any:
        names = self.folder.names_for(node)
        return canvas.layer(names, node.layer.word, title_of(node, self.inference, len(names)))


VOLUME_GAP = 26.0
SLANT = (0.42, 0.30)  # how far right and up one unit of depth is drawn


def _solid(sizes: Volumes, shape: Shape, colour: str) -> Figure:
    """A box: maps to the right, rows down, columns backwards."""
    thick, high, deep = sizes.thickness(shape[0]), sizes.side(shape[1]), sizes.side(shape[2])
    right, up = SLANT[0] * deep, SLANT[1] * deep

    def draw(canvas: Canvas, left: float, y: float) -> None:
        top = y - (high + up) / 2 + up
        edge = shaded(colour, -0.45)
        x = left + thick
        canvas.polygon(
            [(left, top), (left + right, top - up), (x + right, top - up), (x, top)],
            shaded(colour, 0.45),
            edge,
        )
        canvas.polygon(
            [(x, top), (x + right, top - up), (x + right, top - up + high), (x, top + high)],
            shaded(colour, -0.08), edge,
        )  # fmt: skip
        canvas.rect(left, top, thick, high, shaded(colour, 0.2), edge)

    half = (high + up) / 2
    # `window` holds the slanted face's size until a connection draws a window on it.
    return Figure(thick + right, half, half, draw, 0.0, 0.0, window=(high, deep))


def _bar(height: float, colour: str) -> Figure:
    """A vector."""

    def draw(canvas: Canvas, left: float, y: float) -> None:
        canvas.rect(left, y - height / 2, 13, height, shaded(colour, 0.15), shaded(colour, -0.4), radius=2)

    return Figure(13, height / 2, height / 2, draw)


def _stack(
    canvas: Canvas, x: float, y: float, lines: Sequence[str], fill: str = "#222222", bold: bool = False
) -> None:
    for k, line in enumerate(lines):
        size = SMALL + 0.5 if bold and k else SMALL
        canvas.text(x, y + LINE_HEIGHT * k, line, size=size, fill=fill, bold=bold and k == 0, halo=True)


def connect(canvas: Canvas, left: Figure, x_left: float, right: Figure, x_right: float, y: float) -> None:
    """From one body to the next: a window and its rays, a fan between bars, else an arrow."""
    start, end = x_left + left.width - left.outlet, x_right + right.inlet
    if left.window and left.pieces and left.pieces[0].window:
        _rays(canvas, left, start, end, y)
    elif left.pieces and right.pieces and not left.pieces[0].window and not right.pieces[0].window:
        for one, other in ((-1, -1), (1, 1)):
            points = [(start, y + one * left.pieces[0].above), (end, y + other * right.pieces[0].above)]
            canvas.line(points, "#b9c1ca", line=0.9)
        arrow(canvas, left, x_left, right, x_right, y)
    else:
        arrow(canvas, left, x_left, right, x_right, y)


def _rays(canvas: Canvas, left: Figure, start: float, end: float, y: float) -> None:
    """The next layer's window on the slanted face, and the rays from it to the one number it makes."""
    assert left.window
    assert left.pieces[0].window
    high, deep = left.pieces[0].window
    right, up = SLANT[0] * deep, SLANT[1] * deep
    down_share, deep_share = left.window
    top = y - (high + up) / 2 + up  # of the face's near edge, at x = start - right
    near = start - right

    def on_face(deep_at: float, down_at: float) -> Point:
        return near + right * deep_at, top - up * deep_at + high * down_at

    d0, v0 = (1 - deep_share) * 0.5, (1 - down_share) * 0.42
    corners = [on_face(d0, v0), on_face(d0 + deep_share, v0)]
    corners += [on_face(d0 + deep_share, v0 + down_share), on_face(d0, v0 + down_share)]
    canvas.polygon(corners, "#ffffff", "#333333", 1.1, opacity=0.6)
    for corner in corners[1:3]:
        canvas.line([corner, (end, y)], LINE, dash="3 2", line=0.9)


def _window_of_next(items: Sequence[Item], at: int, inference: Inference) -> tuple[float, float] | None:
    """Which share of the map's rows and columns the window of item `at` covers, compressed, or None without one."""
    while at < len(items):
        item = items[at]
        if isinstance(item, Times):
            return None
        if isinstance(item, Group):
            items, at = item.paths[0], 0
            continue
        return _window(item.main, inference) if item.main else None
    return None


def _window(node: Node, inference: Inference) -> tuple[float, float] | None:
    layer: Any = node.layer
    extent = getattr(layer, "kernel", None) or getattr(layer, "window", None)
    shape = inference.shapes[node.name][0]
    if extent is None or len(shape) != 3:
        return None
    rows, columns = (
        min(1.0, max(0.12, (f / s) ** 0.75)) for f, s in zip(both(extent), shape[1:], strict=True)
    )
    return rows, columns


def _short(name: str) -> str:
    return name if len(name) <= 18 else "…" + name[-17:]


def _says_more(line: str, shape: Shape) -> bool:
    """Whether a line says something that the size over the volume does not."""
    return line not in (f"{shape[0]} maps", f"{shape[0]}")
