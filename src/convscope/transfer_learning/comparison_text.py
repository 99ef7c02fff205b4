"""A comparison in words: one table, one plot, and one sentence that says which way to use and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from convscope.transfer_learning.plot import Line, Point, line_plot

COSTS_LEAST_FIRST = ("extract", "finetune", "scratch")


@dataclass(frozen=True)
class Cell:
    """One way at one number of pictures a class.

    `accuracies` has one number a draw; `accuracy` is their mean, `interval` its 95 % interval, `seconds` what the last
    draw took. None where nothing was made.
    """

    way: str
    per_class: int
    accuracies: tuple[float, ...]
    accuracy: float | None
    interval: tuple[float, float] | None
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Accuracies are in [0, 1], over `judged_images` pictures that nothing has learned from."""

    folder: str
    data: str
    backbone: str
    classes: int
    judged_images: int
    cells: tuple[Cell, ...]
    seconds: float
    budget_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the advice."""
        return {**asdict(self), "advice": self.advice, "use": self.best.way if self.best else None}

    @property
    def ways(self) -> list[str]:
        """The ways, the one that costs least first."""
        return sorted({cell.way for cell in self.cells}, key=COSTS_LEAST_FIRST.index)

    @property
    def counts(self) -> list[int]:
        return sorted({cell.per_class for cell in self.cells})

    def at(self, way: str, per_class: int) -> Cell | None:
        """The cell, where something was made."""
        found = (c for c in self.cells if (c.way, c.per_class) == (way, per_class) and c.accuracies)
        return next(found, None)

    @property
    def rivals(self) -> list[Cell]:
        """The ways at the largest number of pictures at which each was made, cheapest first."""
        made = [[self.at(way, count) for count in self.counts] for way in self.ways]
        last = [[each for each in cells if each][-1:] for cells in made]
        return [each for found in last for each in found if each]

    @property
    def best(self) -> Cell | None:
        """The cheapest way that no other clearly beats: whose interval no other's lies above."""
        for each in self.rivals:
            assert each.interval is not None
            if not any(other.interval and other.interval[0] > each.interval[1] for other in self.rivals):
                return each
        return None

    @property
    def advice(self) -> str:
        """Which way to use for this folder, and why."""
        best = self.best
        if best is None:
            return "Nothing was made in the time there was: allow more with --budget."
        others = [cell for cell in self.rivals if cell.way != best.way]
        return f"Use {best.way}: {_said(best)}" + "".join(f", {_beside(best, cell)}" for cell in others) + "."

    def render(self) -> str:
        """The table, the sentence, and where the plot is."""
        head = f"{'a class':>8}  " + "  ".join(f"{way:>24}" for way in self.ways)
        rows = [
            f"{count:>8}  " + "  ".join(f"{_shown(self.at(way, count)):>24}" for way in self.ways)
            for count in self.counts
        ]
        title = (
            f"{self.data} from {self.backbone}: accuracy on {self.judged_images:,} pictures that were not learned from;"
            " mean, 95 % interval, draws"
        )
        return "\n".join([title, head, *rows, "", self.advice, f"The plot is {self.folder}/comparison.svg."])

    def svg(self) -> str:
        """The plot: accuracy over pictures a class, a line a way, with its intervals."""
        lines = []
        for way in self.ways:
            cells = [cell for count in self.counts if (cell := self.at(way, count))]
            points = [Point(str(c.per_class), c.accuracy or 0.0, c.interval or (0.0, 1.0)) for c in cells]
            lines.append(Line(way, tuple(points)))
        title = f"{self.data} from {self.backbone}"
        return line_plot(title, "pictures a class", [str(count) for count in self.counts], lines)


def _said(cell: Cell) -> str:
    return f"{cell.accuracy:.2f} with {cell.per_class} pictures a class, in {_time(cell.seconds)}"


def _beside(best: Cell, other: Cell) -> str:
    assert best.interval
    assert other.interval
    is_close = other.interval[1] >= best.interval[0] and other.interval[0] <= best.interval[1]
    near = " (no clear difference)" if is_close else ""
    count = f" with {other.per_class}" if other.per_class != best.per_class else ""
    return f"against {other.accuracy:.2f}{near} by {other.way}{count} in {_time(other.seconds)}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "no time measured"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _shown(cell: Cell | None) -> str:
    if cell is None or cell.accuracy is None or cell.interval is None:
        return "–"
    low, high = cell.interval
    return f"{cell.accuracy:.3f} ({low:.2f}–{high:.2f}) ×{len(cell.accuracies)}"
