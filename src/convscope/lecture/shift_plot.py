"""Accuracy against shift as one SVG picture: a line for each network, a band for its directions and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convscope.inspection.diagram._canvas import LARGE, NORMAL, SOFT_INK, Canvas, Point
from convscope.lecture.shift_study import NetShifts, ShiftStudy
from convscope.lecture.shift_text import FEW, telling_px

WIDTH, HEIGHT = 800.0, 440.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 190.0, 72.0, 56.0  # room around the plot
COLOURS = ("#d55e00", "#0072b2", "#009e73")  # told apart by colour-blind readers (Okabe and Ito)
DASHES = ("7 4", "", "2 3")
GRID, GROUND = "#e4e4e4", "#f6f6f6"
LABEL_GAP = 36.0


def plot(study: ShiftStudy) -> str:
    """The whole picture as the text of an SVG file; pointing at a mark shows its numbers."""
    canvas, axes = Canvas(), _Axes(study)
    title = f"Accuracy against shift: {study.data}, {study.steps:,} steps"
    canvas.text(LEFT, 26, title, size=LARGE, anchor="start", bold=True)
    canvas.text(LEFT, 46, _subtitle(study), anchor="start", fill=SOFT_INK)
    _frame(canvas, axes)
    for each, colour, dash in zip(study.nets, COLOURS, DASHES, strict=True):
        _series(canvas, axes, each, colour, dash)
    _labels(canvas, axes, study.nets)
    return canvas.document(WIDTH, HEIGHT, title)


def _subtitle(study: ShiftStudy) -> str:
    seeds = "one seed" if len(study.seeds) == 1 else f"{len(study.seeds)} seeds"
    return f"{study.images:,} test images moved in four directions, {seeds}; band: lowest to highest"


class _Axes:
    """Where a shift and an accuracy lie on the picture."""

    def __init__(self, study: ShiftStudy) -> None:
        self.most_px, self.whole_px = study.most_px, telling_px(study)
        lowest = min(each.spread(px)[0] for each in study.nets for px in range(study.most_px + 1))
        self.low = min(0.9, math.floor(lowest * 10) / 10)

    def x(self, px: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * px / self.most_px

    def y(self, accuracy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (accuracy - self.low) / (1 - self.low))


def _frame(canvas: Canvas, axes: _Axes) -> None:
    """The ground where objects lose ink over the edge, grid lines with their numbers, and what the axes are."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    if axes.whole_px < axes.most_px:
        left = axes.x(axes.whole_px)
        canvas.rect(left, TOP, right - left, bottom - TOP, GROUND, "none")
        words = f"over {FEW:.0%} of the images lose ink over the edge"
        canvas.text(right - 6, bottom - 8, words, anchor="end", fill=SOFT_INK, halo=True)
    for tenth in range(round(axes.low * 10), 11):
        y = axes.y(tenth / 10)
        canvas.line([(LEFT, y), (right, y)], GRID, line=1)
        canvas.text(LEFT - 8, y + 4, f"{tenth / 10:.1f}", anchor="end", fill=SOFT_INK)
    for px in range(0, axes.most_px + 1, math.ceil(axes.most_px / 12)):
        canvas.text(axes.x(px), bottom + 18, str(px), fill=SOFT_INK)
    canvas.text((LEFT + right) / 2, bottom + 40, "shift in pixels")
    canvas.text(LEFT - 8, TOP - 14, "accuracy", anchor="end")


def _series(canvas: Canvas, axes: _Axes, each: NetShifts, colour: str, dash: str) -> None:
    shifts = range(axes.most_px + 1)
    above = [(axes.x(px), axes.y(each.spread(px)[1])) for px in shifts]
    below = [(axes.x(px), axes.y(each.spread(px)[0])) for px in shifts]
    line: list[Point] = [(axes.x(px), axes.y(each.accuracy(px))) for px in shifts]
    canvas.polygon([*above, *reversed(below)], colour, "none", opacity=0.1)
    canvas.line(line, colour, dash=dash, line=2.2)
    for px, (x, y) in enumerate(line):
        words = f"{each.contender.name}, {px} px: {each.accuracy(px):.4f}, answers kept {each.kept(px):.4f}"
        with canvas.layer([each.contender.name], "accuracy", words):
            canvas.circle(x, y, 3.4, colour, colour)


def _labels(canvas: Canvas, axes: _Axes, nets: Sequence[NetShifts]) -> None:
    """Each line's name and parameters at its right end, kept apart where lines end close together."""
    ends = sorted((axes.y(each.accuracy(axes.most_px)), position) for position, each in enumerate(nets))
    place = -math.inf
    for end, position in ends:
        place = max(end, place + LABEL_GAP)
        each, x = nets[position].contender, WIDTH - RIGHT + 12
        canvas.text(x, place, each.name, size=NORMAL + 1.5, anchor="start", fill=COLOURS[position], bold=True)
        canvas.text(x, place + 15, f"{each.parameters:,} parameters", anchor="start", fill=SOFT_INK)
