"""A small line plot of accuracies with their intervals, as one SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.inspection.diagram._canvas import LARGE, NORMAL, SMALL, SOFT_INK, Canvas, shaded

COLOURS = ("#5b8fc7", "#f0a65a", "#3b6e3b", "#b03a3a")
LEFT, TOP, HEIGHT, COLUMN = 70.0, 84.0, 320.0, 92.0


@dataclass(frozen=True)
class Point:
    """One accuracy in [0, 1] with its interval, over a place on the axis."""

    place: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points that belong together, in order."""

    name: str
    points: tuple[Point, ...]


def line_plot(title: str, axis: str, places: Sequence[str], lines: Sequence[Line]) -> str:
    """The plot as the text of an SVG file: accuracy upwards, `places` to the right, a whisker for each interval.

    >>> line_plot("t", "x", ["5"], [Line("a", (Point("5", 0.5, (0.4, 0.6)),))]).startswith("<svg")
    True
    """
    canvas, width = Canvas(), LEFT + COLUMN * max(len(places), 4) + 30
    canvas.text(LEFT - 40, 34, title, size=LARGE, anchor="start", bold=True)
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        canvas.line([(LEFT - 6, y), (width - 24, y)], "#e3e7eb" if tenth else "#8a949e", line=1)
        canvas.text(LEFT - 12, y + 4, f"{tenth / 10:g}", size=SMALL, anchor="end", fill=SOFT_INK)
    x_of = {place: LEFT + COLUMN * (k + 0.5) for k, place in enumerate(places)}
    for place, x in x_of.items():
        canvas.text(x, _y(0) + 18, place, size=SMALL, fill=SOFT_INK)
    canvas.text(LEFT + COLUMN * len(places) / 2, _y(0) + 40, axis, size=NORMAL, fill=SOFT_INK)
    for k, line in enumerate(lines):
        _draw(canvas, line, COLOURS[k % len(COLOURS)], x_of, 5.0 * (k - (len(lines) - 1) / 2))
        _name(canvas, line.name, COLOURS[k % len(COLOURS)], LEFT - 40 + 130 * k)
    return canvas.document(width, _y(0) + 58, title)


def _y(value: float) -> float:
    return TOP + HEIGHT * (1 - value)


def _draw(canvas: Canvas, line: Line, colour: str, x_of: dict[str, float], aside: float) -> None:
    """One line; a few pixels to the side, so that whiskers do not cover each other."""
    places = [(x_of[point.place] + aside, point) for point in line.points]
    if len(places) > 1:
        canvas.line([(x, _y(point.value)) for x, point in places], colour, line=2)
    for x, point in places:
        low, high = point.interval
        words = f"{line.name}, {point.place}: {point.value:.3f}, {low:.3f} to {high:.3f}"
        with canvas.layer([line.name], "accuracy", words):
            canvas.line([(x, _y(low)), (x, _y(high))], shaded(colour, -0.2), line=1.4)
            canvas.circle(x, _y(point.value), 4, colour, shaded(colour, -0.3))


def _name(canvas: Canvas, name: str, colour: str, x: float) -> None:
    canvas.circle(x + 5, 58, 5, colour, shaded(colour, -0.3))
    canvas.text(x + 16, 62, name, size=NORMAL, anchor="start", fill=SOFT_INK)
