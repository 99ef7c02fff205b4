"""DataReport: what a check found, as values, as JSON, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data.array_types import Bytes
from convscope.data.checking.duplicates import BLANK_CONTRAST, Duplicates, Kind
from convscope.data.checking.looking import Glances
from convscope.data.checking.source import Item, Source
from convscope.data.left_out import Skipped, skip_list
from convscope.data.pictures import refusing_bombs
from convscope.data.preprocessing import Preprocessing

BLURRED_SHARPNESS = 0.2
"""Sharpest edges below this share of the range of grays: a picture out of focus, or enlarged from a small one.

Chosen on 822 photos: one is below, and it is shaken; with a Gaussian blur of 2 pixels 95 % of them are.
"""

MOST_STRETCH = 1.5
"""A picture whose sides are stretched by factors that differ by more than this looks wrong to people too."""


@dataclass(frozen=True)
class Leak:
    """A picture to judge a network on that is (nearly) one it learned from.

    Args:
        item: in validation or test.
        twin: the same picture in an earlier split.
        kind: how alike the two groups are.
    """

    item: Item
    twin: Item
    kind: Kind

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**self.item.to_json(), "kind": self.kind, "same_as": self.twin.to_json()}


@dataclass(frozen=True, eq=False)
class DataReport:
    """What a check found.

    Args:
        source: the pictures by name, and what was ignored.
        glances: a GLANCE of each, see `looking`.
        skipped: what cannot be read, in the order of the data.
        duplicates: groups of the same picture.
        preprocessing: how a network would see the pictures.
        is_salvaged: damaged files were read as far as they go.
        check_s: how long it took.
    """

    source: Source
    glances: Glances
    skipped: tuple[Skipped, ...]
    duplicates: tuple[Duplicates, ...]
    preprocessing: Preprocessing
    is_salvaged: bool
    check_s: float

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """For each class, in order, how many readable pictures each split has."""
        found = {name: dict.fromkeys(self.split_names, 0) for name in self.source.class_names}
        for item, is_read in zip(self.source.items, self.glances["is_read"].tolist(), strict=True):
            if is_read:
                found[item.class_name][item.split] += 1
        return found

    @property
    def split_names(self) -> list[str]:
        """The splits that exist, in the order train, validation, test."""
        present = {item.split for item in self.source.items}
        return [name for name in ("train", "validation", "test") if name in present]

    @property
    def splits(self) -> dict[str, int]:
        """How many readable pictures each split has."""
        return {split: sum(counts[split] for counts in self.counts.values()) for split in self.split_names}

    @property
    def read(self) -> int:
        """How many pictures can be read."""
        return int(self.glances["is_read"].sum())

    @cached_property
    def leakage(self) -> tuple[Leak, ...]:
        """Every picture of a later split that an earlier split holds too."""
        return tuple(leak for group in self.duplicates for leak in self._leaks(group))

    def _leaks(self, group: Duplicates) -> list[Leak]:
        order = self.split_names.index
        first = min(group.items, key=lambda item: order(item.split))
        return [
            Leak(item, first, group.kind) for item in group.items if order(item.split) > order(first.split)
        ]

    @cached_property
    def blank(self) -> tuple[Item, ...]:
        """Pictures of one colour."""
        return self._items(self.glances["contrast"] < BLANK_CONTRAST)

    @cached_property
    def blurred(self) -> tuple[Item, ...]:
        """Pictures without a sharp edge, blank ones aside."""
        is_soft = self.glances["sharpness"] < BLURRED_SHARPNESS
        return self._items(is_soft & (self.glances["contrast"] >= BLANK_CONTRAST))

    @cached_property
    def tiny(self) -> tuple[Item, ...]:
        """Pictures that would be enlarged more than twice for the network."""
        height, width = self.preprocessing.size_px
        is_low, is_narrow = 2 * self.glances["height"] < height, 2 * self.glances["width"] < width
        return self._items(is_low | is_narrow)

    @cached_property
    def several(self) -> tuple[Item, ...]:
        """Animations and files of several pages: the first picture counts."""
        return self._items(self.glances["has_more"])

    @cached_property
    def stretched(self) -> tuple[Item, ...]:
        """Pictures whose shape differs much from the network's input."""
        return self._items(self._stretch > MOST_STRETCH)

    @cached_property
    def most_stretched(self) -> list[int]:
        """Positions of the pictures whose shape differs most, the worst first."""
        order = np.argsort(-np.where(self.glances["is_read"], self._stretch, 0), kind="stable")
        return [int(position) for position in order[:4] if self._stretch[position] > 1.05]

    @property
    def _stretch(self) -> npt.NDArray[np.float64]:
        height, width = self.preprocessing.size_px
        wide = np.maximum(self.glances["width"], 1) / np.maximum(self.glances["height"], 1) / (width / height)
        stretch: npt.NDArray[np.float64] = np.maximum(wide, 1 / wide)
        return stretch

    def _items(self, chosen: npt.NDArray[np.bool_]) -> tuple[Item, ...]:
        return tuple(self.source.items[k] for k in np.flatnonzero(chosen & self.glances["is_read"]).tolist())

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """Smallest, middle and largest width, height and width / height, and how many different sizes there are."""
        read = self.glances[self.glances["is_read"]]
        sides = np.stack([read["width"], read["height"]], axis=1)
        return {
            "width_px": _spread(read["width"]),
            "height_px": _spread(read["height"]),
            "aspect": _spread(read["width"] / read["height"]),
            "different": len(np.unique(sides, axis=0)),
        }

    @cached_property
    def imbalance(self) -> float:
        """The largest class of the training split, as a multiple of the smallest."""
        counts = [counts["train"] for counts in self.counts.values()]
        return max(counts) / max(1, min(counts))

    @property
    def warnings(self) -> list[str]:
        """What a person should look at before training, in sentences."""
        from convscope.data.checking.advice import warnings_of

        return warnings_of(self)

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain JSON."""
        height, width = self.preprocessing.size_px
        return {
            "data": self.source.name,
            "classes": [{"name": name, **counts} for name, counts in self.counts.items()],
            "splits": self.splits,
            "read": self.read,
            "skipped": [{"path": skip.path, "reason": skip.reason} for skip in self.skipped],
            "ignored": [{"path": found.path, "reason": found.reason} for found in self.source.ignored],
            "imbalance": self.imbalance,
            "sizes": self.sizes,
            "duplicates": [group.to_json() for group in self.duplicates],
            "leakage": [leak.to_json() for leak in self.leakage],
            **{name: [item.path for item in items] for name, items in self.oddities.items()},
            "network_sees": {
                "height_px": height,
                "width_px": width,
                "channels": self.preprocessing.channels,
                "fit": self.preprocessing.fit,
            },
            "salvaged": self.is_salvaged,
            "warnings": self.warnings,
            "check_s": self.check_s,
        }

    @property
    def oddities(self) -> Mapping[str, tuple[Item, ...]]:
        """Pictures that can be read and may be of little use, by what is odd about them."""
        return {
            "tiny": self.tiny,
            "blank": self.blank,
            "blurred": self.blurred,
            "several_pictures": self.several,
        }

    def render(self) -> str:
        """The report as text for people."""
        from convscope.data.checking.text import rendered

        return rendered(self)

    def pixels(self, position: int, preprocessing: Preprocessing) -> Bytes:
        """Exactly what a network gets of the picture at this position, uint8 (C, H, W).

        Raises:
            Exception: the file cannot be read (any more).
        """
        side = 2 * max(preprocessing.size_px)
        with (
            refusing_bombs(),
            self.source.opened(position, smallest_px=side, salvage=self.is_salvaged) as (_, picture),
        ):
            return preprocessing.pixels(picture)

    def page(self, restated: str = "") -> str:
        """The report as one HTML page that needs nothing else: the pictures are in it.

        Args:
            restated: a sentence to add, on a model's accuracy without leakage.
        """
        from convscope.data.checking.page import written

        return written(self, restated)

    def write_skip_list(self, path: Path) -> None:
        """A line for each skipped file: path, a tab, the reason. Line breaks and tabs in names are escaped."""
        path.write_text(skip_list(self.skipped), encoding="utf-8", errors="surrogateescape")


def _spread(numbers: npt.NDArray[Any]) -> dict[str, float]:
    low, middle, high = np.percentile(numbers, (0, 50, 100), method="nearest").tolist()
    return {"min": low, "median": middle, "max": high}
