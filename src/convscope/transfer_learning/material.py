"""The pictures of a transfer, brought to what the backbone takes, with something held out to judge on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convscope.data import load_data
from convscope.data.array_types import Labels
from convscope.data.arrays import resized
from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.data.sources import is_picture_place
from convscope.errors import DataError
from convscope.transfer_learning.backbones import Backbone, channels_for

Data = ImageData | str | os.PathLike[str]
Say = Callable[[str], None]

HELD_OUT = 0.2
"""The share of every class that is held out where the data bring neither a validation nor a test split."""


@dataclass(frozen=True, eq=False)
class Material:
    """What a transfer works on.

    Attributes:
        data: at the backbone's size, in its channels, with its mean and deviation; with a split to judge on, where
            one could be held out.
        digest: of the data before anything was held out.
        held_out: the share that was held out here; 0 where the data brought a split of their own, or have too few.
        notes: sentences for the user.
    """

    data: ImageData
    digest: str
    held_out: float
    notes: tuple[str, ...]


def material(
    source: Data,
    backbone: Backbone,
    *,
    seed: int,
    size_px: tuple[int, int] | None = None,
    fit: Fit | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    salvage: bool = False,
    most_unreadable: float = MOST_UNREADABLE,
    say: Say = lambda line: None,
) -> Material:
    """The data as the backbone takes them; pictures are squashed to its size, or brought there by another `fit`.

    Raises:
        DataError: they cannot be read, or their channels cannot be changed.
    """
    size = size_px or backbone.preprocessing.size_px
    reading = {"salvage": salvage, "most_unreadable": most_unreadable}
    data, came_px = _loaded(
        source, backbone, size, fit, data_dir=data_dir, offline=offline, progress=say, **reading
    )
    scaled = backbone.preprocessing_for(data.preprocessing.channels, size)
    prepared = scaled.fitted(None, like=data.preprocessing)
    data = replace(data, preprocessing=prepared)
    notes = [*data.notes, *_size_notes(came_px, size, backbone.name)]
    held, share = _held_out(data, seed)
    notes += held.notes[len(data.notes) :]
    return Material(held, data.digest, share, (*notes, *_missing_notes(held), *_few_notes(held)))


def _loaded(
    source: Data, backbone: Backbone, size: tuple[int, int], fit: Fit | None, **how: Any
) -> tuple[ImageData, tuple[int, int]]:
    """The data at the wanted size, and the (height, width) that they came with."""
    if isinstance(source, ImageData) or not is_picture_place(source):
        own = load_data(source, **how)
        return resized(own, size, channels_for(backbone, own), fit), own.preprocessing.size_px
    channels = backbone.preprocessing.channels
    if channels not in (1, 3):
        raise DataError(
            f"pictures for {backbone.name}, which takes {channels} channels",
            "a backbone of 1 or 3 channels, since pictures have no others",
            "Take another backbone, or hand over arrays",
        )
    data = load_data(source, size_px=size, channels=channels, fit=fit, **how)
    return data, data.came_px or size


def _size_notes(came_px: tuple[int, int], size: tuple[int, int], name: str) -> list[str]:
    if min(came_px) == 0 or (came_px[0] >= size[0] and came_px[1] >= size[1]):
        return []
    return [
        f"The pictures are {came_px[1]}×{came_px[0]} and {name} takes {size[1]}×{size[0]}: they are enlarged, which"
        " adds no detail."
    ]


def _held_out(data: ImageData, seed: int) -> tuple[ImageData, float]:
    """The data with a split to judge on, and the share that was taken for it; as they are where nothing can be."""
    if data.validation is not None or data.test is not None:
        return data, 0.0
    if int(np.bincount(data.train.labels).max()) < 2:
        return data, 0.0
    return data.hold_out(HELD_OUT, seed), HELD_OUT


def _missing_notes(data: ImageData) -> list[str]:
    """Classes that a split to judge on does not have."""
    notes = []
    for name, split in data.splits.items():
        absent = [data.class_names[k] for k in _absent(split.labels, len(data.class_names))]
        if absent and name != "train":
            listed = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
            notes.append(
                f"The {name} split has no picture of {listed}: nothing is known of how well that goes."
            )
    return notes


def _absent(labels: Labels, num_classes: int) -> list[int]:
    return np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0).tolist()


def _few_notes(data: ImageData) -> list[str]:
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    singles = [data.class_names[k] for k in np.flatnonzero(counts == 1)]
    if not singles:
        return []
    listed = f"{', '.join(singles[:5])}{' …' if len(singles) > 5 else ''}"
    if int(counts.max()) == 1:
        return [
            f"{listed}: one picture to learn from, so nothing can be held out to choose the penalty by, and the usual"
            " one is taken."
        ]
    return [f"{listed}: one picture to learn from, so none can be held out to choose the penalty by."]
