"""Labelled picture files as ImageData. Nothing of theirs is changed; decoded pictures are kept (`prepared`)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from convscope.data import hazards, pictures
from convscope.data.array_types import Bytes
from convscope.data.arrays import size_pair
from convscope.data.class_folders import enumerated
from convscope.data.download import REPORT_EVERY_S, Transfer
from convscope.data.files import Copy, File, key_of
from convscope.data.image_data import ImageData, Split
from convscope.data.inside import Inside
from convscope.data.jpegs import JpegDecoder
from convscope.data.left_out import Skipped
from convscope.data.mapped import memory_bytes
from convscope.data.prepared import (
    Facts,
    Failure,
    Kept,
    Known,
    Made,
    Shelf,
    Stamp,
    content_of,
    digest_of,
    sort_out,
)
from convscope.data.preprocessing import Fit, Preprocessing
from convscope.data.sources import Pictures
from convscope.data.statistics import mean_and_std
from convscope.data.stretching import Stretcher, Stretching
from convscope.errors import DataError

PHOTO_SIZE_PX = 64
"""The side photos are brought to when nobody says; pictures of one size up to this keep it."""

FIRST = 32
"""So many files may tell how all will be made, before all are looked at."""
COPIED_BYTES = 32 * 2**20
"""Up to this, a file is read into memory as a whole."""
MANY = 200
"""From so many pictures on, building the C that stretches them is worth it."""

MOST_UNREADABLE = 0.5
"""The share of picture files that cannot be read above which data are refused, where nobody says another."""

AHEAD = 16
"""How many pictures a thread may be ahead of the one that is written next."""

Say = Callable[[str], None]
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class _Entry:
    """One picture file, what it is called in its place, and what it stands for."""

    path: File
    key: str
    split: str
    label: int


@dataclass(frozen=True)
class Reader:
    """How pictures are read.

    Args:
        size_px: side or (height, width); None keeps one common size up to 64, else takes 64.
        channels: 1 or 3; None takes 1 if every picture is gray.
        salvage: read what damaged files still hold, instead of skipping them.
        most_unreadable: a larger share of pictures that cannot be read is refused, in [0, 1].
        fit: "squash", "crop" or "pad"; None squashes.
        like: a model's, whose size, channels, fit and filter are taken where those above are None.

    Raises:
        DataError: `most_unreadable` is no such share.
    """

    size_px: int | tuple[int, int] | None = None
    channels: int | None = None
    salvage: bool = False
    most_unreadable: float = MOST_UNREADABLE
    fit: Fit | None = None
    like: Preprocessing | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.most_unreadable <= 1:
            raise DataError(
                f"a share of {self.most_unreadable} unreadable pictures", "a number from 0 to 1", "Try 0.5"
            )


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


def load_pictures(found: Pictures, reader: Reader, *, progress: Say = lambda line: None) -> ImageData:
    """Every readable picture of a place.

    Pictures are stretched to the size ("squash") unless `fit` says otherwise: cutting would lose what lies at the
    edge, bars would teach the network about bars, and the same stretch is applied to what the network judges later.

    A picture is decoded once: its pixels are kept in the user's cache, and the images are that file, mapped. They
    take no memory of their own, however many there are. Where the cache cannot be written they are in memory.

    Args:
        found: the labelled files.
        reader: how they are read.
        progress: receives a line before the reading, and `Reading` once a second.

    Raises:
        DataError: more of them than `most_unreadable` cannot be read, or the cache cannot be written and the memory is
            too small.
    """
    entries, shelf = _entries(found), Shelf.of(found.place, salvage=reader.salvage)
    with pictures.refusing_bombs():
        preprocessing, kept = _read_once(entries, shelf, reader, progress) or _looked_at_and_read(
            found, entries, shelf, reader, progress
        )
    reasons = {key: kept.reason(known) for key, known in kept.files.items()}
    skipped = _skipped(found, entries, reasons)
    _check_share(skipped, found, reader)
    readable = [entry for entry in entries if reasons[entry.key] is None]
    _check_classes_left(readable, found)
    return _image_data(found, preprocessing, shelf, kept, readable, skipped)


def _looked_at_and_read(
    found: Pictures, entries: Sequence[_Entry], shelf: Shelf, reader: Reader, say: Say
) -> tuple[Preprocessing, Kept]:
    """First what all files are, then the pixels of those that have none yet."""
    files = _files(entries, shelf.remembered())
    _check_share(_skipped(found, entries, {key: known.reason for key, known in files.items()}), found, reader)
    headers = [known.header for known in files.values() if known.header is not None]
    preprocessing = _preprocessing(headers, reader)
    return preprocessing, _kept(_Work(shelf, preprocessing, entries, files, reader.salvage, say))


# ---- which files there are, and what they say of themselves ---------------------------------------------------------


def _entries(found: Pictures) -> list[_Entry]:
    """Every picture file, split by split, so that each split is one piece of the images."""
    number = {name: k for k, name in enumerate(found.listing.class_names)}
    return [
        _Entry(path, key_of(path, found.root), split, number[name]) for split, name, path in found.files()
    ]


def _files(entries: Sequence[_Entry], remembered: Mapping[str, Known]) -> dict[str, Known]:
    """What is known of every file; those that were looked at before and have not changed are not opened."""
    contents = {known.content: known for known in remembered.values() if known.content}

    def look(entry: _Entry) -> Known:
        return _look(entry.path, remembered.get(entry.key), contents)

    return dict(zip((entry.key for entry in entries), _in_order(look, entries), strict=True))


def _look(path: File, before: Known | None, contents: Mapping[str, Known]) -> Known:
    try:
        now_ns, stamp = time.time_ns(), Stamp.of(path)
        if before is not None and before.stamp == stamp:
            return before
        hazards.check_file(path)
        content = content_of(path)
    except (OSError, DataError) as error:
        return Known(None, "", None, pictures.reason(error, path))
    settled = stamp if stamp.is_settled(now_ns) else None
    if content in contents:
        return dataclasses.replace(contents[content], stamp=settled)
    try:
        return Known(settled, content, pictures.header(path))
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        return Known(settled, content, None, pictures.reason(error, path))


def _in_order(work: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
    """`work` on every item in threads, a bounded number ahead. Pillow decodes without holding Python's lock."""
    threads = min(16, os.cpu_count() or 1)
    pending: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _preprocessing(headers: Sequence[pictures.Header], reader: Reader) -> Preprocessing:
    """Size, channels and fit from the user, else from a model, else size and channels from the pictures."""
    like, channels = reader.like, reader.channels
    if channels is None and like:
        channels = like.channels
    if channels not in (None, 1, 3):
        raise DataError(f"channels {channels}", "1 (gray) or 3 (RGB) for pictures")
    if channels is None:
        channels = 1 if all(header.is_gray for header in headers) else 3
    own = like.size_px if like else _common_size(headers)
    wanted = Preprocessing(own if reader.size_px is None else size_pair(reader.size_px), channels)
    return wanted.fitted(reader.fit, like)


def _common_size(headers: Sequence[pictures.Header]) -> tuple[int, int]:
    sizes = {header.size for header in headers}
    width, height = next(iter(sizes))
    is_kept = len(sizes) == 1 and max(width, height) <= PHOTO_SIZE_PX
    return (height, width) if is_kept else (PHOTO_SIZE_PX, PHOTO_SIZE_PX)


# ---- their pixels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """Pixels that are wanted: of which files, made how."""

    shelf: Shelf
    preprocessing: Preprocessing
    entries: Sequence[_Entry]
    files: Mapping[str, Known]
    salvage: bool
    say: Say

    @property
    def readable(self) -> list[_Entry]:
        return [entry for entry in self.entries if self.files[entry.key].reason is None]

    def made(self, before: Mapping[str, Bytes | Failure]) -> Iterator[Made]:
        """Every file with its image, or why it has none; decoded are only contents not made before."""
        undone = [entry for entry in self.readable if self.files[entry.key].content not in before]
        decoded = _in_order(functools.partial(_decode, self._swift(len(undone)), self.salvage), undone)
        for entry in self._counted(self.entries):
            known = self.files[entry.key]
            outcome = before.get(known.content) if known.reason is None else None
            yield entry.key, known, next(decoded) if known.reason is None and outcome is None else outcome

    def read(self) -> Iterator[Made]:
        """Every file, looked at and decoded in one go, each read once."""
        jpegs = JpegDecoder() if len(self.entries) >= MANY else None
        work = functools.partial(_look_and_decode, self._swift(len(self.entries)), self.salvage, jpegs)
        results = _in_order(work, self.entries)
        for entry in self._counted(self.entries):
            yield entry.key, *next(results)

    def _swift(self, count: int) -> Preprocessing:
        """The preprocessing, in the form that is worth its compiler for so many pictures."""
        return Stretching.of(self.preprocessing, Stretcher()) if count >= MANY else self.preprocessing

    def _counted(self, entries: Sequence[_Entry]) -> Iterator[_Entry]:
        """The entries, told of once a second."""
        said_at = time.monotonic()
        for done, entry in enumerate(entries, start=1):
            if time.monotonic() - said_at >= REPORT_EVERY_S:
                said_at = time.monotonic()
                each = math.prod(self.preprocessing.input_shape)
                self.say(Reading.of(self.shelf.source, done, len(entries), each))
            yield entry


def _decode(preprocessing: Preprocessing, salvage: bool, entry: _Entry) -> Bytes | Failure:
    try:
        return pictures.decode(entry.path, preprocessing, salvage=salvage)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        return Failure(pictures.reason(error, entry.path), is_lasting=not _lies_elsewhere(error))


def _lies_elsewhere(error: Exception) -> bool:
    """Whether it is not the file's fault."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) is not None


def _kept(work: _Work) -> Kept:
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


def _found(work: _Work) -> Kept | None:
    """The pixels of exactly these files, if they were made before."""
    kept = work.shelf.open(work.preprocessing)
    if kept is None or not kept.holds(work.files):
        return None
    if kept.files != work.files:  # looked at again, or renamed: what is known of them is newer
        kept = dataclasses.replace(kept, files=dict(work.files))
        _try_to_write(work.shelf, work.preprocessing, kept)
    return kept


def _made(work: _Work) -> Kept:
    before = work.shelf.open(work.preprocessing)
    height, width = work.preprocessing.size_px
    known = before.outcomes if before else {}
    again = sum(work.files[entry.key].content in known for entry in work.readable)
    reused = f" ({again:,} of them were decoded earlier)" if again else ""
    work.say(
        f"Reading {len(work.readable):,} pictures from {work.shelf.source} at {width}×{height} pixels{reused}."
    )
    return work.shelf.make(work.preprocessing, work.made(known))


def _in_memory(work: _Work) -> Kept:
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


def _try_to_write(shelf: Shelf, preprocessing: Preprocessing, kept: Kept) -> None:
    """Remember for the next run; where that is not possible, the next run works it out again."""
    try:
        if kept.name:
            shelf.write(preprocessing, kept)
    except OSError:
        pass


# ---- both in one go, where nothing is remembered --------------------------------------------------------------------


def _read_once(
    entries: Sequence[_Entry], shelf: Shelf, reader: Reader, say: Say
) -> tuple[Preprocessing, Kept] | None:
    """Every file read once: two thirds of the time of looking at all first and decoding them then.

    None where that is not possible: where some files are remembered, where the first ones do not say yet how all will
    be made, or where the cache cannot be written.
    """
    wanted = None if shelf.remembered() else _told_by_the_first(entries, reader)
    if wanted is None:
        return None
    try:
        with shelf.locked(say):
            if shelf.remembered():  # another process was faster
                return None
            height, width = wanted.size_px
            say(f"Reading {len(entries):,} pictures from {shelf.source} at {width}×{height} pixels.")
            return wanted, shelf.make(wanted, _Work(shelf, wanted, entries, {}, reader.salvage, say).read())
    except OSError:
        return None


def _told_by_the_first(entries: Sequence[_Entry], reader: Reader) -> Preprocessing | None:
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
            return _preprocessing(headers, reader)
    return None


def _look_and_decode(
    preprocessing: Preprocessing, salvage: bool, jpegs: JpegDecoder | None, entry: _Entry
) -> tuple[Known, Bytes | Failure | None]:
    try:
        now_ns = time.time_ns()
        if hazards.check_file(entry.path) > COPIED_BYTES:
            known = _look(entry.path, None, {})
            return known, None if known.reason else _decode(preprocessing, salvage, entry)
        copy = Copy.of(entry.path)
        stamp = Stamp.of(entry.path if isinstance(entry.path, Inside) else copy)
    except (OSError, DataError) as error:
        return Known(None, "", None, pictures.reason(error, entry.path)), None
    settled, content = stamp if stamp.is_settled(now_ns) else None, digest_of(copy.content)
    headers: list[pictures.Header] = []
    try:
        image = pictures.decode(copy, preprocessing, salvage=salvage, notice=headers.append, jpegs=jpegs)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        why = pictures.reason(error, copy)
        if headers:
            return Known(settled, content, headers[0]), Failure(why, is_lasting=not _lies_elsewhere(error))
        return Known(None, "", None, why) if _lies_elsewhere(error) else Known(
            settled, content, None, why
        ), None
    return Known(settled, content, headers[0]), image


# ---- what cannot be read --------------------------------------------------------------------------------------------


def _skipped(
    found: Pictures, entries: Sequence[_Entry], reasons: Mapping[str, str | None]
) -> tuple[Skipped, ...]:
    unread = [Skipped(entry.key, reason) for entry in entries if (reason := reasons[entry.key])]
    return tuple(sorted([*found.listing.skipped, *unread]))


def _check_share(skipped: Sequence[Skipped], found: Pictures, reader: Reader) -> None:
    total = _total(found)
    if len(skipped) > reader.most_unreadable * total or len(skipped) == total:
        share = (
            "at least half of them" if reader.most_unreadable == 0.5 else f"{1 - reader.most_unreadable:.1%}"
        )
        raise DataError(
            f"{len(skipped)} of {total} pictures in {found.place} cannot be read: {_named(skipped)}",
            f"{share} readable",
            "Mend or remove the files that are named, or raise --most-unreadable",
        )


def _total(found: Pictures) -> int:
    return sum(1 for _ in found.files()) + len(found.listing.skipped)


def _check_classes_left(kept: Sequence[_Entry], found: Pictures) -> None:
    labels = {entry.label for entry in kept if entry.split == "train"}
    for label, name in enumerate(found.listing.class_names):
        if label not in labels:
            raise DataError(
                f"no picture of class {name!r} in {found.place} can be read",
                "at least one to train on",
                "Add one, or remove the class folder",
            )


def _notes(found: Pictures, kept: Kept, skipped: Sequence[Skipped]) -> tuple[str, ...]:
    """What the user should know about the pictures."""
    notes = list(found.listing.notes)
    if skipped:
        total = _total(found)
        share = f"{len(skipped)} of {total} pictures ({len(skipped) / total:.1%})"
        notes.append(f"Skipped {share} that cannot be read: {_named(skipped)}.")
    several = [key for key, known in kept.files.items() if _has_more(known) and kept.reason(known) is None]
    if several:
        what = (
            "1 file is an animation or has"
            if len(several) == 1
            else f"{len(several)} files are animations or have"
        )
        notes.append(f"{what} several pages; the first of several pictures is used: {enumerated(several)}.")
    return tuple(notes)


def _has_more(known: Known) -> bool:
    return known.header is not None and known.header.has_more


def _named(skipped: Sequence[Skipped]) -> str:
    return enumerated([f"{skip.path}: {skip.reason}" for skip in skipped], "; ")


# ---- what is made of it ---------------------------------------------------------------------------------------------


def _image_data(
    found: Pictures,
    preprocessing: Preprocessing,
    shelf: Shelf,
    kept: Kept,
    readable: Sequence[_Entry],
    skipped: tuple[Skipped, ...],
) -> ImageData:
    class_names = found.listing.class_names
    splits = _splits(kept.images, readable)
    data = ImageData(
        name=found.name or "folder",
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=class_names,
        origin=f"{found.called}: {len(readable):,} pictures in {len(class_names)} classes",
        preprocessing=preprocessing,
        notes=_notes(found, kept, skipped),
        skipped=skipped,
        came_px=_typical_size(kept),
    )
    arrangement = _arrangement(data)
    facts = kept.facts
    if facts is None or facts.arrangement != arrangement:
        facts = _facts(data, arrangement)
        _try_to_write(shelf, preprocessing, dataclasses.replace(kept, facts=facts))
    scaled = dataclasses.replace(preprocessing, mean=facts.mean, std=facts.std)
    return dataclasses.replace(data, preprocessing=scaled).with_known_digest(facts.digest)


def _typical_size(kept: Kept) -> tuple[int, int]:
    """The median (height, width) of the files."""
    sizes = [known.header.size for known in kept.files.values() if known.header is not None]
    width, height = np.median(sizes, axis=0)
    return int(height), int(width)


def _splits(images: Bytes, readable: Sequence[_Entry]) -> dict[str, Split]:
    """Each split is one piece of the images, in which they lie in the order of the entries."""
    names = [entry.split for entry in readable]
    labels = np.array([entry.label for entry in readable], dtype=np.int64)
    found = {}
    for name in dict.fromkeys(names):
        piece = slice(names.index(name), names.index(name) + names.count(name))
        found[name] = Split(images[piece], labels[piece])
    return found


def _arrangement(data: ImageData) -> str:
    """Hash of everything in the digest but the pixels."""
    digest = hashlib.sha256(repr(data.class_names).encode())
    for name, split in data.splits.items():
        digest.update(f"|{name} {split.images.shape}|".encode())
        digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
    return digest.hexdigest()


def _facts(data: ImageData, arrangement: str) -> Facts:
    """Two passes over the pixels at the same time."""
    with ThreadPoolExecutor(1) as pool:
        scale = pool.submit(mean_and_std, data.train.images)
        return Facts(arrangement, data.digest, *scale.result())
