"""Receptive fields: which pixels of the picture one number of a map can see, exactly, axis by axis.

A `Span` follows position 0 of an axis: it sees the `size` pixels from `start` on, its neighbour sees as many `jump`
pixels further, and there are `count` positions. The rules are those of the lecture's local receptive field carried
through layers: size' = size + (F − 1)·jump, jump' = S·jump, start' = start − P·jump.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Window:
    """What one output looks at, each as (rows, columns): extent F in inputs, stride S, padding P before the first."""

    extent: tuple[int, int] = (1, 1)
    stride: tuple[float, float] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    sees_everything: bool = False


POINT = Window()
EVERYTHING = Window(sees_everything=True)


@dataclass(frozen=True)
class Span:
    """One axis of a receptive field, in pixels of the picture."""

    start: float
    size: int
    jump: float
    count: int

    def through(self, extent: int, stride: float, padding: int, count: int) -> Span:
        """The span after a window of `extent` inputs that moves by `stride`, with `padding` inputs before the first."""
        size = math.ceil(self.size + (extent - 1) * self.jump)
        return Span(self.start - padding * self.jump, size, self.jump * stride, count)

    def whole(self) -> Span:
        """The span of one output that sees every position."""
        return Span(self.start, math.ceil(self.size + (self.count - 1) * self.jump), self.jump, 1)


@dataclass(frozen=True)
class ReceptiveField:
    """Rows and columns together."""

    rows: Span
    columns: Span

    @staticmethod
    def of_picture(rows: int, columns: int) -> ReceptiveField:
        """Every pixel sees itself."""
        return ReceptiveField(Span(0, 1, 1, rows), Span(0, 1, 1, columns))

    def through(self, window: Window, output_shape: tuple[int, ...]) -> ReceptiveField:
        """The field after a layer with this window."""
        if window.sees_everything:
            return ReceptiveField(self.rows.whole(), self.columns.whole())
        if window == POINT:
            return self
        _, row_count, column_count = output_shape
        extent, stride, padding = window.extent, window.stride, window.padding
        return ReceptiveField(
            self.rows.through(extent[0], stride[0], padding[0], row_count),
            self.columns.through(extent[1], stride[1], padding[1], column_count),
        )

    @property
    def size(self) -> int | list[int]:
        """Pixels seen: one number when rows and columns agree, else [rows, columns]."""
        return one_or_two(self.rows.size, self.columns.size)

    @property
    def jump(self) -> float | list[float]:
        """Pixels between neighbours: one number when rows and columns agree, else [rows, columns]."""
        return one_or_two(_tidy(self.rows.jump), _tidy(self.columns.jump))


def union(fields: Iterable[ReceptiveField]) -> ReceptiveField:
    """What is seen by a number that is made from several fields, as at the end of branches."""
    first, *others = fields
    for other in others:
        first = ReceptiveField(_joined(first.rows, other.rows), _joined(first.columns, other.columns))
    return first


def one_or_two(rows: N, columns: N) -> N | list[N]:
    """One number when both agree."""
    return rows if rows == columns else [rows, columns]


def _joined(one: Span, other: Span) -> Span:
    start = min(one.start, other.start)
    end = max(one.start + one.size, other.start + other.size)
    return replace(one, start=start, size=math.ceil(end - start), jump=max(one.jump, other.jump))


def _tidy(value: float) -> float:
    return int(value) if float(value).is_integer() else round(value, 3)
