"""The pixels of picture files: from the cache, else decoded and kept there, else in memory only.

Where nothing is remembered of the files they are looked at and decoded in one go, each read once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from convscope.data import hazards, pictures
from convscope.data.array_types import Bytes
from convscope.data.decoding import COPIED_BYTES, MANY, Decoder
from convscope.data.download import REPORT_EVERY_S, Transfer
from convscope.data.files import Copy
from convscope.data.inside import Inside
from convscope.data.looking import Entry, in_order, look
from convscope.data.mapped import memory_bytes
from convscope.data.picture_kernels import PictureKernels
from convscope.data.prepared import Failure, Kept, Known, Made, Shelf, Stamp, digest_of, sort_out
from convscope.data.preprocessing import Preprocessing
from convscope.data.reader import PHOTO_SIZE_PX, Reader
from convscope.data.tally import Tally
from convscope.errors import DataError

FIRST = 32
"""So many files may tell how all will be made, before all are looked at."""

Say = Callable[[str], None]


class Reading(Transfer):
    """A line about pictures being decoded, for those who draw a bar; the bytes are those of the pixels.

    >>> Reading.of("photos", 1200, 4000, 12288)
    '1,200 of 4,000 pictures from photos'
    """

    __slots__ = ()

    @classmethod
    def of(cls, source: str, done: int, total: int, bytes_each: int) -> Self:
        line = str.__new__(cls, f"{done:,} of {total:,} pictures from {source}")
        line.file_name, line.received_bytes, line.total_bytes = source, done * bytes_each, total * bytes_each
        return line


def kept_pixels(work: Work) -> Kept:
    """The pixels from the cache, else made and kept there, else in memory only."""
    kept = _found(work)
    if kept is not None:
        work.say(f"{len(kept.images):,} pictures from {work.shelf.source}, decoded earlier, are mapped.")
        return kept
    try:
        with work.shelf.locked(work.say):
            return _found(work) or _made(work)
    except OSError as error:
        work.say(
            f"The pictures are kept in memory only: {work.shelf.folder} cannot be written ({error.strerror})."
        )
        return _in_memory(work)


def read_once(
    class_names: Sequence[str], entries: Sequence[Entry], shelf: Shelf, reader: Reader, say: Say
) -> tuple[Preprocessing, Kept] | None:
    """Every file read once: half of the time of looking at all first, decoding them then, and adding up at last.

    None where that is not possible: where some files are remembered, where the first ones do not say yet how all will
    be made, or where the cache cannot be written.
    """
    wanted = None if shelf.remembered() else _told_by_the_first(entries, reader)
    if wanted is None:
        return None
    kernels = PictureKernels() if len(entries) >= MANY else None
    tally = Tally(class_names, entries, wanted.input_shape, lambda: kernels.library if kernels else None)
    try:
        with shelf.locked(say):
            if shelf.remembered():  # another process was faster
                return None
            height, width = wanted.size_px
            say(f"Reading {len(entries):,} pictures from {shelf.source} at {width}×{height} pixels.")
            made = Work(shelf, wanted, entries, {}, reader.salvage, say).read(kernels)
            return wanted, shelf.make(wanted, tally.watching(made), tally.facts)
    except OSError:
        return None


@dataclass(frozen=True)
class Work:
    """Pixels that are wanted: of which files, made how."""

    shelf: Shelf
    preprocessing: Preprocessing
    entries: Sequence[Entry]
    files: Mapping[str, Known]
    salvage: bool
    say: Say

    @property
    def readable(self) -> list[Entry]:
        return [entry for entry in self.entries if self.files[entry.key].reason is None]

    def made(self, before: Mapping[str, Bytes | Failure]) -> Iterator[Made]:
        """Every file with its image, or why it has none; decoded are only contents not made before."""
        undone = [entry for entry in self.readable if self.files[entry.key].content not in before]
        decode = self._decoder(PictureKernels() if len(undone) >= MANY else None)
        decoded = in_order(functools.partial(_decode, decode), undone)
        for entry in self._counted(self.entries):
            known = self.files[entry.key]
            outcome = before.get(known.content) if known.reason is None else None
            yield entry.key, known, next(decoded) if known.reason is None and outcome is None else outcome

    def read(self, kernels: PictureKernels | None) -> Iterator[Made]:
        """Every file, looked at and decoded in one go, each read once."""
        results = in_order(functools.partial(_look_and_decode, self._decoder(kernels)), self.entries)
        for entry in self._counted(self.entries):
            yield entry.key, *next(results)

    def _decoder(self, kernels: PictureKernels | None) -> Decoder:
        return Decoder(self.preprocessing, salvage=self.salvage, kernels=kernels)

    def _counted(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The entries, told of once a second."""
        said_at = time.monotonic()
        for done, entry in enumerate(entries, start=1):
            if time.monotonic() - said_at >= REPORT_EVERY_S:
                said_at = time.monotonic()
                each = math.prod(self.preprocessing.input_shape)
                self.say(Reading.of(self.shelf.source, done, len(entries), each))
            yield entry


def _decode(decode: Decoder, entry: Entry) -> Bytes | Failure:
    try:
        return decode(entry.path)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        return Failure(pictures.reason(error, entry.path), is_lasting=not _lies_elsewhere(error))


def _lies_elsewhere(error: Exception) -> bool:
    """Whether it is not the file's fault."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) is not None


def _found(work: Work) -> Kept | None:
    """The pixels of exactly these files, if they were made before."""
    kept = work.shelf.open(work.preprocessing)
    if kept is None or not kept.holds(work.files):
        return None
    if kept.files != work.files:  # looked at again, or renamed: what is known of them is newer
        kept = dataclasses.replace(kept, files=dict(work.files))
        try_to_write(work.shelf, work.preprocessing, kept)
    return kept


def _made(work: Work) -> Kept:
    before = work.shelf.open(work.preprocessing)
    height, width = work.preprocessing.size_px
    known = before.outcomes if before else {}
    again = sum(work.files[entry.key].content in known for entry in work.readable)
    reused = f" ({again:,} of them were decoded earlier)" if again else ""
    work.say(
        f"Reading {len(work.readable):,} pictures from {work.shelf.source} at {width}×{height} pixels{reused}."
    )
    return work.shelf.make(work.preprocessing, work.made(known))


def _in_memory(work: Work) -> Kept:
    count = len(work.readable)
    _check_memory(count, work.preprocessing, work.shelf.folder)
    images = np.empty((count, *work.preprocessing.input_shape), dtype=np.uint8)
    files, failures, count = sort_out(work.made({}), images.__setitem__)
    return Kept(files, failures, images[:count])


def _check_memory(count: int, preprocessing: Preprocessing, cache: Path) -> None:
    needed = count * math.prod(preprocessing.input_shape)
    if needed > memory_bytes() // 2:
        raise DataError(
            f"{count:,} pictures of {preprocessing.input_shape} need {needed / 1e9:.1f} GB, "
            f"and the cache {cache} cannot be written",
            f"room in the cache, or at most half of this machine's {memory_bytes() / 1e9:.1f} GB of memory",
            "Make room there, set XDG_CACHE_HOME to a folder with more, or choose a smaller size",
        )


def try_to_write(shelf: Shelf, preprocessing: Preprocessing, kept: Kept) -> None:
    """Remember for the next run; where that is not possible, the next run works it out again."""
    try:
        if kept.name:
            shelf.write(preprocessing, kept)
    except OSError:
        pass


def _told_by_the_first(entries: Sequence[Entry], reader: Reader) -> Preprocessing | None:
    """The preprocessing, as soon as no further file can change it."""
    headers: list[pictures.Header] = []
    for entry in entries[:FIRST]:
        with contextlib.suppress(
            Exception
        ):  # Pillow's readers raise almost anything; such a file is looked at later
            headers.append(pictures.header(entry.path))
        sizes = {header.size for header in headers}
        given_px = reader.size_px is not None or reader.like is not None
        is_sized = given_px or len(sizes) > 1 or any(max(size) > PHOTO_SIZE_PX for size in sizes)
        given_colour = reader.channels is not None or reader.like is not None
        is_coloured = given_colour or any(not header.is_gray for header in headers)
        if headers and is_sized and is_coloured:
            return reader.preprocessing(headers)
    return None


def _look_and_decode(decode: Decoder, entry: Entry) -> tuple[Known, Bytes | Failure | None]:
    try:
        now_ns = time.time_ns()
        if hazards.check_file(entry.path) > COPIED_BYTES:
            known = look(entry.path, None, {})
            return known, None if known.reason else _decode(decode, entry)
        copy = Copy.of(entry.path)
        stamp = Stamp.of(entry.path if isinstance(entry.path, Inside) else copy)
    except (OSError, DataError) as error:
        return Known(None, "", None, pictures.reason(error, entry.path)), None
    settled, content = stamp if stamp.is_settled(now_ns) else None, digest_of(copy.content)
    headers: list[pictures.Header] = []
    try:
        image = decode(copy, headers.append)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        why = pictures.reason(error, copy)
        if headers:
            return Known(settled, content, headers[0]), Failure(why, is_lasting=not _lies_elsewhere(error))
        return Known(None, "", None, why) if _lies_elsewhere(error) else Known(
            settled, content, None, why
        ), None
    return Known(settled, content, headers[0]), image
