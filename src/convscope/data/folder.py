"""A folder of class folders as ImageData. Nothing in the folder is changed."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from convscope.data import pictures
from convscope.data.array_types import Bytes
from convscope.data.arrays import size_pair
from convscope.data.class_folders import Listing, enumerated, list_folder
from convscope.data.image_data import ImageData, Split
from convscope.data.preprocessing import Preprocessing
from convscope.data.statistics import mean_and_std
from convscope.errors import DataError

PHOTO_SIZE_PX = 64
"""The side photos are brought to when nobody says; pictures of one size up to this keep it."""

Say = Callable[[str], None]
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class _Entry:
    """One picture on its way from file to array."""

    path: Path
    split: str
    label: int
    header: pictures.Header


@dataclass(frozen=True, order=True)
class _Skipped:
    path: Path
    reason: str


def load_folder(
    folder: Path,
    *,
    size_px: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Say = lambda line: None,
) -> ImageData:
    """Every readable picture under a folder of class folders (see `class_folders`).

    Pictures are stretched to the size ("squash"): cutting would lose what lies at the edge, bars would teach
    the network about bars, and the same stretch is applied to what the network judges later.

    Args:
        folder: with class folders, or with train/ and perhaps val/ and test/ above them.
        size_px: side or (height, width); None keeps one common size up to 64, else takes 64.
        channels: 1 or 3; None takes 1 if every picture is gray.
        progress: receives a line before the reading.

    Raises:
        DataError: the structure is not that of labelled pictures, or more than half of them cannot be read.
    """
    listing = list_folder(folder)
    with pictures.refusing_bombs():
        entries, unopened = _headers(listing)
        total = len(entries) + len(unopened)
        _check_share(unopened, total, folder)
        preprocessing = _preprocessing(entries, size_px, channels)
        height, width = preprocessing.size_px
        progress(f"Reading {len(entries):,} pictures from {folder} at {width}×{height} pixels.")
        images, kept, undecoded = _decode(entries, preprocessing)
    skipped = sorted([*unopened, *undecoded])
    _check_share(skipped, total, folder)
    _check_classes_left(kept, listing.class_names, folder)
    notes = (*listing.notes, *_skip_notes(skipped, total, folder))
    return _image_data(folder, listing.class_names, preprocessing, images, kept, notes)


def _headers(listing: Listing) -> tuple[list[_Entry], list[_Skipped]]:
    """Every picture whose header can be read, and the others."""
    found = [
        (path, split, listing.class_names.index(name))
        for split, classes in listing.splits.items()
        for name, paths in sorted(classes.items())
        for path in paths
    ]
    outcomes = _in_threads(_open, found)
    entries = [outcome for outcome in outcomes if isinstance(outcome, _Entry)]
    return entries, [outcome for outcome in outcomes if isinstance(outcome, _Skipped)]


def _open(found: tuple[Path, str, int]) -> _Entry | _Skipped:
    path, split, label = found
    try:
        return _Entry(path, split, label, pictures.header(path))
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        return _Skipped(path, pictures.reason(error, path))


def _in_threads(work: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
    """`work` on every item, in order of the items. Pillow decodes without holding Python's lock."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))


def _preprocessing(
    entries: Sequence[_Entry], size_px: int | tuple[int, int] | None, channels: int | None
) -> Preprocessing:
    """Size and channels from the user, else from the pictures."""
    if channels not in (None, 1, 3):
        raise DataError(f"channels {channels}", "1 (gray) or 3 (RGB) for pictures")
    if channels is None:
        channels = 1 if all(entry.header.is_gray for entry in entries) else 3
    return Preprocessing(_common_size(entries) if size_px is None else size_pair(size_px), channels)


def _common_size(entries: Sequence[_Entry]) -> tuple[int, int]:
    sizes = {entry.header.size for entry in entries}
    width, height = next(iter(sizes))
    is_kept = len(sizes) == 1 and max(width, height) <= PHOTO_SIZE_PX
    return (height, width) if is_kept else (PHOTO_SIZE_PX, PHOTO_SIZE_PX)


def _decode(
    entries: Sequence[_Entry], preprocessing: Preprocessing
) -> tuple[Bytes, list[_Entry], list[_Skipped]]:
    """Pixels of every picture that can be decoded, (N, C, H, W), and which those are."""
    _check_memory(len(entries), preprocessing)
    images = np.empty((len(entries), *preprocessing.input_shape), dtype=np.uint8)

    def into(position: int) -> _Skipped | None:
        path = entries[position].path
        try:
            images[position] = pictures.decode(path, preprocessing)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files
            return _Skipped(path, pictures.reason(error, path))
        return None

    outcomes = _in_threads(into, range(len(entries)))
    good = [position for position, outcome in enumerate(outcomes) if outcome is None]
    skipped = [outcome for outcome in outcomes if outcome is not None]
    return images[good] if skipped else images, [entries[position] for position in good], skipped


def _check_memory(count: int, preprocessing: Preprocessing) -> None:
    needed = count * math.prod(preprocessing.input_shape)
    if needed > _memory_bytes() // 2:
        raise DataError(
            f"{count:,} pictures of {preprocessing.input_shape} need {needed / 1e9:.1f} GB",
            f"at most half of this machine's {_memory_bytes() / 1e9:.1f} GB",
            "Choose a smaller size",
        )


@functools.cache
def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 16 * 10**9


def _check_share(skipped: Sequence[_Skipped], total: int, folder: Path) -> None:
    if 2 * len(skipped) > total:
        raise DataError(
            f"{len(skipped)} of {total} pictures in {folder} cannot be read: {_named(skipped, folder)}",
            "at least half of them readable",
            "Mend or remove the files that are named",
        )


def _check_classes_left(kept: Sequence[_Entry], class_names: tuple[str, ...], folder: Path) -> None:
    labels = {entry.label for entry in kept if entry.split == "train"}
    for label, name in enumerate(class_names):
        if label not in labels:
            raise DataError(
                f"no picture of class {name!r} in {folder} can be read",
                "at least one to train on",
                "Add one, or remove the class folder",
            )


def _skip_notes(skipped: Sequence[_Skipped], total: int, folder: Path) -> tuple[str, ...]:
    if not skipped:
        return ()
    share = f"{len(skipped)} of {total} pictures ({len(skipped) / total:.1%})"
    return (f"Skipped {share} that cannot be read: {_named(skipped, folder)}.",)


def _named(skipped: Sequence[_Skipped], folder: Path) -> str:
    return enumerated([f"{skip.path.relative_to(folder)}: {skip.reason}" for skip in skipped], "; ")


def _image_data(
    folder: Path,
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
    images: Bytes,
    kept: Sequence[_Entry],
    notes: tuple[str, ...],
) -> ImageData:
    train = _split(images, kept, "train")
    assert train is not None, "every class has a training picture by now"
    mean, std = mean_and_std(train.images)
    return ImageData(
        name=folder.resolve().name or "folder",
        train=train,
        validation=_split(images, kept, "validation"),
        test=_split(images, kept, "test"),
        class_names=class_names,
        origin=f"the folder {folder}: {len(kept):,} pictures in {len(class_names)} classes",
        preprocessing=dataclasses.replace(preprocessing, mean=mean, std=std),
        notes=notes,
    )


def _split(images: Bytes, kept: Sequence[_Entry], name: str) -> Split | None:
    positions = [position for position, entry in enumerate(kept) if entry.split == name]
    if not positions:
        return None
    labels = np.array([kept[position].label for position in positions], dtype=np.int64)
    return Split(images if len(positions) == len(images) else images[positions], labels)
