"""check_data: every picture looked at once, then compared with all others."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from convscope.data import pictures, sets, sources
from convscope.data.arrays import size_pair
from convscope.data.checking.duplicates import Duplicates, find_duplicates
from convscope.data.checking.looking import GLANCE, GLANCE_PX, Glances, glance_at, pixel_digest
from convscope.data.checking.report import DataReport
from convscope.data.checking.source import ArraySource, FileSource, Source
from convscope.data.colours import in_mode
from convscope.data.download import Transfer
from convscope.data.image_data import ImageData
from convscope.data.left_out import Skipped
from convscope.data.load import load_data
from convscope.data.preprocessing import Fit, Preprocessing
from convscope.data.reader import PHOTO_SIZE_PX
from convscope.errors import DataError

PICTURES_AT_ONCE = 256
"""Pictures between two reports of progress; what the threads have in hand is bounded by it."""

Say = Callable[[str], None]


class Looked(Transfer):
    """A line about pictures being looked at, for those who draw a bar; its numbers count pictures.

    >>> Looked.of("looked at", 300, 822)
    '300 of 822 pictures looked at'
    """

    __slots__ = ()

    @classmethod
    def of(cls, what: str, done: int, total: int) -> Self:
        line = str.__new__(cls, f"{done:,} of {total:,} pictures {what}")
        line.file_name, line.received_bytes, line.total_bytes = what, done, total
        return line


def check_data(
    source: str | os.PathLike[str] | ImageData,
    *,
    size_px: int | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Fit = "squash",
    preprocessing: Preprocessing | None = None,
    mirrored: bool = False,
    salvage: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: Say = lambda line: None,
) -> DataReport:
    """What is in a folder of pictures or a data set, and what is wrong with it. Nothing is changed.

    Every picture is looked at once (a JPEG at reduced scale), then compared with all others: about 1 kB is kept of
    each. Memory does not depend on how large the pictures are.

    Args:
        source: a folder of class folders, the name of a data set, or ImageData.
        size_px: side or (height, width) that a network would get; None as in training.
        channels: 1 or 3; None takes 1 if every picture is gray.
        fit: "squash", "crop" or "pad", how a picture is brought to that size.
        preprocessing: of a model, instead of the three above.
        mirrored: also find pictures that are mirror images of others.
        salvage: read what a damaged file still holds, instead of skipping it.
        data_dir, offline: as `load_data` has them.
        progress: receives a line for everything worth saying; `Looked` while pictures are looked at.

    Raises:
        DataError: no such folder or data set, not a folder of class folders, or no picture in it can be read.

    >>> from convscope.data import from_arrays
    >>> pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)
    >>> pictures[3] = pictures[0]
    >>> report = check_data(from_arrays(pictures, [0, 1, 0, 1]))
    >>> [group.is_label_conflict for group in report.duplicates]
    [True]
    """
    started_at = time.monotonic()
    origin = _source(source, data_dir, offline, progress)
    with pictures.refusing_bombs():
        glances, skipped = _glances(origin, salvage, progress)
        if not glances["is_read"].any():
            first = f": {skipped[0].path}: {skipped[0].reason}" if skipped else ""
            raise DataError(
                f"none of {len(skipped)} pictures in {origin.name} can be read{first}", "pictures"
            )
        duplicates = _duplicates(origin, glances, mirrored, salvage, progress)
    return DataReport(
        source=origin,
        glances=glances,
        skipped=tuple(skipped),
        duplicates=duplicates,
        preprocessing=preprocessing or _preprocessing(glances, size_px, channels, fit),
        is_salvaged=salvage,
        check_s=time.monotonic() - started_at,
    )


def _source(
    source: str | os.PathLike[str] | ImageData,
    data_dir: str | os.PathLike[str] | None,
    offline: bool,
    say: Say,
) -> Source:
    """Picture files one by one; everything else as `load_data` has it."""
    if not isinstance(source, ImageData) and source not in sets.BY_NAME:
        place = Path(source).expanduser()
        if source and sources.exists(place):
            try:
                found = sources.find(place)
            except OSError as error:
                raise DataError(
                    f"cannot read {place}: {error.strerror or error}", "data that may be read"
                ) from error
            return FileSource(found) if isinstance(found, sources.Pictures) else ArraySource(found)
    return ArraySource(load_data(source, data_dir=data_dir, offline=offline, progress=say))


@dataclass(frozen=True)
class _Looker:
    """Looks at pictures of a source, from many threads."""

    source: Source
    glances: Glances
    salvage: bool

    def __call__(self, position: int) -> Skipped | None:
        try:
            with self.source.opened(position, longer_px=GLANCE_PX, salvage=self.salvage) as (header, picture):
                self.glances[position] = glance_at(header, picture)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files
            return Skipped(self.source.items[position].path, self.source.reason(error, position))
        return None


def _glances(source: Source, salvage: bool, say: Say) -> tuple[Glances, list[Skipped]]:
    """A look at every picture, and those that could not be read."""
    total = len(source.items)
    say(f"Looking at {total:,} pictures in {source.name}.")
    glances = np.zeros(total, dtype=GLANCE)
    look, skipped = _Looker(source, glances, salvage), list(source.skipped)
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for part in _parts(total):
            skipped += [outcome for outcome in pool.map(look, part) if outcome is not None]
            say(Looked.of("looked at", part.stop, total))
    return glances, skipped


def _parts(total: int) -> Iterator[range]:
    for start, end in itertools.pairwise([*range(0, total, PICTURES_AT_ONCE), total]):
        yield range(start, end)


def _duplicates(
    source: Source, glances: Glances, mirrored: bool, salvage: bool, say: Say
) -> tuple[Duplicates, ...]:
    def confirmed_digest(position: int) -> bytes:
        try:
            with source.opened(position, salvage=salvage) as (_, picture):
                return pixel_digest(in_mode(picture, "RGB"))
        except Exception:  # the file has changed meanwhile
            return position.to_bytes(8, "big")

    def bytes_digest(position: int) -> bytes:
        try:
            return source.bytes_digest(position)
        except OSError:
            return position.to_bytes(8, "big")

    return find_duplicates(
        glances,
        source.items,
        mirrored=mirrored,
        confirmed_digest=confirmed_digest,
        bytes_digest=bytes_digest,
        progress=lambda done, total: say(Looked.of("compared", done, total)),
    )


def _preprocessing(
    glances: Glances, size_px: int | tuple[int, int] | None, channels: int | None, fit: Fit
) -> Preprocessing:
    """What training would take: one common small size is kept, photos are brought to 64."""
    read = glances[glances["is_read"]]
    sizes = np.unique(np.stack([read["height"], read["width"]], axis=1), axis=0)
    is_kept = len(sizes) == 1 and sizes.max() <= PHOTO_SIZE_PX
    common = (int(sizes[0, 0]), int(sizes[0, 1])) if is_kept else (PHOTO_SIZE_PX, PHOTO_SIZE_PX)
    if channels is None:
        channels = 1 if read["is_gray"].all() else 3
    if channels not in (1, 3):
        raise DataError(f"channels {channels}", "1 (gray) or 3 (RGB) for pictures")
    return Preprocessing(common if size_px is None else size_pair(size_px), channels, fit=fit)
