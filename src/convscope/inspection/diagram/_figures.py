"""Pieces of a diagram that know their size and how to draw themselves, and the ways to put them together.

A figure lies around a flow line, on which data go from left to right: `above` and `below` are its extents from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convscope.inspection.diagram._canvas import LINE, SMALL, SOFT_INK, Canvas, text_width

Draw = Callable[[Canvas, float, float], None]  # canvas, left end, flow line
Connect = Callable[[Canvas, "Figure", float, "Figure", float, float], None]

GAP, LANE_GAP, LINE_GAP = 20.0, 16.0, 34.0
PADDING, LABEL_HEIGHT = 10.0, 17.0
SHORT_SHARE = 0.12


@dataclass(frozen=True)
class Figure:
    """Something to draw: its size, and where on the flow line lines arrive (`inlet`) and leave (`outlet`).

    `hanging` is a figure that leaves the flow before this one and is drawn below the row; `can_split` are the pieces
    it may be taken apart into where a line is too short for it.
    """

    width: float
    above: float
    below: float
    draw: Draw
    inlet: float = 0.0
    outlet: float = 0.0
    hanging: Figure | None = None
    window: tuple[float, float] | None = (
        None  # of the next layer's window, as shares of this map's height and width
    )
    pieces: tuple[Figure, ...] = ()


def arrow(canvas: Canvas, left: Figure, x_left: float, right: Figure, x_right: float, y: float) -> None:
    """The plain connection of two figures."""
    canvas.arrow([(x_left + left.width - left.outlet, y), (x_right + right.inlet, y)])


def row(figures: Sequence[Figure], gap: float = GAP, connect: Connect = arrow) -> Figure:
    """Figures from left to right along one flow line; what hangs is put below, side by side where it fits."""
    lefts, x = [], 0.0
    for figure in figures:
        lefts.append(x)
        x += figure.width + gap
    width = max(x - gap, 0.0)
    above = max((figure.above for figure in figures), default=0.0)
    below = max((figure.below for figure in figures), default=0.0)
    width = max([width, *(figure.hanging.width for figure in figures if figure.hanging)])
    hung, depth = _hung(figures, lefts, width, below)

    def draw(canvas: Canvas, left: float, y: float) -> None:
        for figure, figure_left in zip(figures, lefts, strict=True):
            figure.draw(canvas, left + figure_left, y)
        for k in range(len(figures) - 1):
            connect(canvas, figures[k], left + lefts[k], figures[k + 1], left + lefts[k + 1], y)
        for figure, figure_left, tap, top in hung:
            canvas.arrow([(left + tap, y + 3), (left + tap, y + top + LABEL_HEIGHT)], dash="4 3")
            figure.draw(canvas, left + figure_left, y + top + figure.above)

    inlet = figures[0].inlet if figures else 0.0
    outlet = figures[-1].outlet + width - (x - gap) if figures else 0.0
    return Figure(width, above, depth, draw, inlet, outlet)


def _hung(
    figures: Sequence[Figure], lefts: Sequence[float], width: float, below: float
) -> tuple[list[tuple[Figure, float, float, float]], float]:
    """Where each hanging figure goes: (figure, left, tap, top), and how deep it all gets."""
    placed: list[tuple[Figure, float, float, float]] = []
    depth, end = below, 0.0
    for figure, left in zip(figures, lefts, strict=True):
        if figure.hanging is None:
            continue
        tap = left + figure.width / 2
        x = min(max(tap - 24, 0.0), width - figure.hanging.width)
        top = below + 2 if x >= end else depth + LANE_GAP
        placed.append((figure.hanging, x, tap, top))
        depth = max(depth, top + figure.hanging.above + figure.hanging.below)
        end = x + figure.hanging.width + LANE_GAP
    return placed, depth


def framed(
    figure: Figure, label: str, *, dash: str = "", fill: str = "none", side: str = "start", open_ends: bool = True,
) -> Figure:  # fmt: skip
    """A figure in a frame with a label over its upper edge, at its start, middle or end.

    Data pass through it; without open ends it stands apart.
    """
    width = max(figure.width + 2 * PADDING, text_width(label, SMALL) + 8)
    above, below = figure.above + PADDING, figure.below + PADDING
    shift = (width - figure.width) / 2

    def draw(canvas: Canvas, left: float, y: float) -> None:
        canvas.rect(left, y - above, width, above + below, fill, "#a9b2bd", radius=6, dash=dash)
        at = left + {"start": 4, "middle": width / 2, "end": width - 4}[side]
        canvas.text(
            at, y - above - 4.5, label, size=SMALL, anchor=side, fill=SOFT_INK, bold=label.startswith("×")
        )
        if open_ends:
            _stub(canvas, left, left + shift + figure.inlet, y)
            _stub(canvas, left + shift + figure.width - figure.outlet, left + width, y)
        figure.draw(canvas, left + shift, y)

    return Figure(width, above + LABEL_HEIGHT, below, draw)


def _stub(canvas: Canvas, x0: float, x1: float, y: float) -> None:
    """The piece of flow line between a frame and what stands in it."""
    if x1 - x0 > 0.5:
        canvas.line([(x0, y), (x1, y)])


def times(figure: Figure, count: int) -> Figure:
    """A figure that stands for `count` of itself in a row."""
    return framed(figure, f"× {count:,}", dash="5 4", fill="#f6f8fa", side="end")


def residual(body: Figure, shortcut: Figure | None, words: str, dash: str = "") -> Figure:
    """A body, and over it the shortcut: an arc that ends in the sum. `shortcut` is a box that stands on the arc."""
    ends, radius = 16.0, 8.0
    width = (
        max(body.width, (shortcut.width if shortcut else text_width(words, SMALL)) + 16)
        + 2 * ends
        + 2 * radius
    )
    lift = body.above + 12 + (shortcut.below if shortcut else 0)
    above = lift + (shortcut.above if shortcut else 15) + 2

    def draw(canvas: Canvas, left: float, y: float) -> None:
        right, top = left + width - radius, y - lift
        inner = left + (width - 2 * radius - body.width) / 2
        canvas.line([(left, y), (inner + body.inlet, y)])
        canvas.arrow([(inner + body.width - body.outlet, y), (right - radius, y)])
        body.draw(canvas, inner, y)
        canvas.arrow([(left + 5, y), (left + 5, top), (right, top), (right, y - radius)], dash=dash)
        canvas.circle(left + 5, y, 2.4, LINE)
        plus(canvas, right, y, radius)
        middle = (left + 5 + right) / 2
        if shortcut:
            shortcut.draw(canvas, middle - shortcut.width / 2, top)
        else:
            canvas.text(middle, top - 4, words, size=SMALL, fill=SOFT_INK)

    return Figure(width, above, max(body.below, radius), draw)


def plus(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """The sum sign in its circle."""
    canvas.circle(x, y, radius, "#ffffff")
    canvas.line([(x - radius + 3, y), (x + radius - 3, y)])
    canvas.line([(x, y - radius + 3), (x, y + radius - 3)])


def branches(rows: Sequence[Figure], label: Sequence[str]) -> Figure:
    """Rows under each other from one point to one bar, where their maps are stacked."""
    gap, ends, bar = 9.0, 22.0, 12.0
    inner = max(figure.width for figure in rows)
    height = sum(figure.above + figure.below for figure in rows) + gap * (len(rows) - 1)
    width = ends + inner + ends + bar
    words = max(text_width(line, SMALL) for line in label)
    extra = max(0.0, words / 2 - bar / 2)
    flows, top = [], -height / 2
    for figure in rows:
        flows.append(top + figure.above)
        top += figure.above + figure.below + gap

    def draw(canvas: Canvas, left: float, y: float) -> None:
        start, bar_left = left + 4, left + width - bar
        canvas.line([(left, y), (start, y)])
        canvas.circle(start, y, 2.4, LINE)
        for figure, flow in zip(rows, flows, strict=True):
            x = left + ends + (inner - figure.width) / 2
            if figure.width:
                canvas.arrow([(start, y), (start, y + flow), (x + figure.inlet, y + flow)])
                canvas.arrow([(x + figure.width - figure.outlet, y + flow), (bar_left, y + flow)])
            else:
                canvas.arrow([(start, y), (start, y + flow), (bar_left, y + flow)])
            figure.draw(canvas, x, y + flow)
        canvas.rect(bar_left, y - height / 2, bar, height, "#e8ebef", radius=3)
        for k, line in enumerate(label):
            canvas.text(bar_left + bar / 2, y + height / 2 + 12 + 12 * k, line, size=SMALL, fill=SOFT_INK)

    return Figure(width + extra, height / 2, height / 2 + 14 + 12 * len(label), draw, 0.0, extra)


def lines(figures: Sequence[Figure], width: float, connect: Connect = arrow, gap: float = GAP) -> Figure:
    """Figures in as many rows as it takes to stay within `width`; figures that are too wide are taken apart."""
    rows = [row(part, gap, connect) for part in _wrapped(_split(figures, width), width, gap)]
    tops, height = [], 0.0
    for figure in rows:
        tops.append(height)
        height += figure.above + figure.below + LINE_GAP
    widest = max(figure.width for figure in rows)

    def draw(canvas: Canvas, left: float, y: float) -> None:
        for k, figure in enumerate(rows):
            flow = y + tops[k] + figure.above
            figure.draw(canvas, left, flow)
            if k + 1 < len(rows):
                turn = y + tops[k + 1] - LINE_GAP / 2
                end = left + figure.width - figure.outlet
                far, near = left + figure.width + 12, left - 14
                next_flow = y + tops[k + 1] + rows[k + 1].above
                points = [(end, flow), (far, flow), (far, turn), (near, turn), (near, next_flow)]
                canvas.arrow([*points, (left + rows[k + 1].inlet, next_flow)])

    return Figure(widest, 0.0, height - LINE_GAP, draw)


def _split(figures: Sequence[Figure], width: float) -> list[Figure]:
    found: list[Figure] = []
    for figure in figures:
        found += _split(figure.pieces, width) if figure.width > width and figure.pieces else [figure]
    return found


def _wrapped(figures: Sequence[Figure], width: float, gap: float) -> list[list[Figure]]:
    rows: list[list[Figure]] = [[]]
    used = 0.0
    for figure in figures:
        if rows[-1] and used + figure.width > width:
            rows.append([])
            used = 0.0
        rows[-1].append(figure)
        used += figure.width + gap
    if (
        len(rows) > 1
        and used < SHORT_SHARE * width
        and _length(rows[-2], gap) + used < (1 + SHORT_SHARE) * width
    ):
        rows[-2:] = [rows[-2] + rows[-1]]  # no line for a last small box
    return rows


def _length(figures: Sequence[Figure], gap: float) -> float:
    return sum(figure.width + gap for figure in figures)


def with_window(figure: Figure, window: tuple[float, float]) -> Figure:
    """The same figure, told which share of its map the next layer's window covers."""
    return replace(figure, window=window)
