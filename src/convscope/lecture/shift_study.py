"""What `lecture shift` found, as values; the sentences about it are in `shift_text`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from convscope.net import Net


@dataclass(frozen=True)
class Contender:
    """One of the three networks: its name, what it is, its description, its parameters."""

    name: str
    words: str
    net: Net
    parameters: int


@dataclass(frozen=True)
class ShiftRow:
    """One trained network on test images moved by `shift_px` pixels.

    `accuracy` and `kept` are means over the directions, in [0, 1]; `kept` is the share of images whose answer is that
    at rest, right or wrong.
    """

    seed: int
    shift_px: int
    accuracy: float
    kept: float
    by_direction: dict[str, float]


@dataclass(frozen=True)
class NetShifts:
    """One network: for each seed its rows, by shift."""

    contender: Contender
    by_seed: tuple[tuple[ShiftRow, ...], ...]

    def accuracy(self, px: int) -> float:
        """Mean over seeds and directions."""
        return fmean(rows[px].accuracy for rows in self.by_seed)

    def kept(self, px: int) -> float:
        """Mean share of answers that stay."""
        return fmean(rows[px].kept for rows in self.by_seed)

    def spread(self, px: int) -> tuple[float, float]:
        """The lowest and the highest accuracy of any seed and direction."""
        every = [value for rows in self.by_seed for value in rows[px].by_direction.values()]
        return min(every), max(every)


@dataclass(frozen=True)
class MapsRow:
    """Maps of a moved picture against the moved maps: the largest difference, as a fraction of the largest number.

    `convolutions` are the maps before the pool, moved along; `pooled` those behind it, moved by the nearest whole
    number; `maxima` the largest number of each map, which has no place to be moved.
    """

    shift_px: int
    convolutions: float
    pooled: float
    maxima: float


@dataclass(frozen=True)
class ShiftStudy:
    """Everything that was measured. `cut[k]` is the share of test images that lose ink when moved by k pixels."""

    data: str
    origin: str
    images: int
    steps: int
    seeds: tuple[int, ...]
    nets: tuple[NetShifts, ...]
    maps: tuple[MapsRow, ...]
    cut: tuple[float, ...]
    folder: Path

    @property
    def most_px(self) -> int:
        """The largest shift."""
        return len(self.cut) - 1

    @property
    def sentences(self) -> list[str]:
        """What the numbers say, in plain words."""
        from convscope.lecture.shift_text import sentences

        return sentences(self)

    def render(self) -> str:
        """The table and the sentences."""
        from convscope.lecture.shift_text import render

        return render(self)

    def to_json(self) -> dict[str, Any]:
        """The document that `lecture shift --json` prints; fractions are in [0, 1]."""
        return {
            "data": self.data,
            "images": self.images,
            "recipe": "fast",
            "steps": self.steps,
            "seeds": list(self.seeds),
            "nets": [_net_json(each, self.folder) for each in self.nets],
            "cut_off": [{"shift_px": px, "images": share} for px, share in enumerate(self.cut)],
            "maps": [
                {
                    "shift_px": r.shift_px,
                    "convolutions": r.convolutions,
                    "pooled": r.pooled,
                    "maxima": r.maxima,
                }
                for r in self.maps
            ],
            "sentences": self.sentences,
            "svg": str(self.folder / "shift.svg"),
            "run": str(self.folder),
        }


def _net_json(each: NetShifts, folder: Path) -> dict[str, Any]:
    return {
        "name": each.contender.name,
        "description": each.contender.words,
        "net": str(each.contender.net),
        "parameters": each.contender.parameters,
        "runs": [str(folder / f"{each.contender.name}-seed-{rows[0].seed}") for rows in each.by_seed],
        "shifts": [_shift_json(each, px) for px in range(len(each.by_seed[0]))],
    }


def _shift_json(each: NetShifts, px: int) -> dict[str, Any]:
    low, high = each.spread(px)
    return {
        "shift_px": px,
        "accuracy": each.accuracy(px),
        "lowest": low,
        "highest": high,
        "answers_kept": each.kept(px),
        "by_seed": [
            {
                "seed": rows[px].seed,
                "accuracy": rows[px].accuracy,
                "by_direction": rows[px].by_direction if px else None,
            }
            for rows in each.by_seed
        ],
    }
