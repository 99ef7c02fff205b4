"""A folder of class folders as ImageData. Nothing in the folder is changed; decoded pictures are kept (`prepared`)."""

from __future__ import annotations

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
from convscope.data.class_folders import Listing, enumerated, list_folder
from convscope.data.download import REPORT_EVERY_S, Transfer
from convscope.data.image_data import ImageData, Split
from convscope.data.prepared import Facts, Failure, Kept, Known, Shelf, Stamp, content_of, sort_out
from convscope.data.preprocessing import Preprocessing
from convscope.data.statistics import mean_and_std
from convscope.data.stretching import Stretcher, Stretching
from convscope.errors import DataError

PHOTO_SIZE_PX = 64
"""The side photos are brought to when nobody says; pictures of one size up to this keep it."""

MANY = 200
"""From so many pictures on, building the C that stretches them is worth it."""

AHEAD = 16
"""How many pictures a thread may be ahead of the one that is written next."""

Say = Callable[[str], None]
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class _Entry:
    """One picture file: where it is, what it is called in its folder, and what it stands for."""

    path: Path
    key: str
    split: str
    label: int


@dataclass(frozen=True, order=True)
class _Skipped:
    path: Path
    reason: str


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

    A picture is decoded once: its pixels are kept in the user's cache, and the images are that file, mapped. They
    take no memory of their own, however many there are. Where the cache cannot be written they are in memory.

    Args:
        folder: with class folders, or with train/ and perhaps val/ and test/ above them.
        size_px: side or (height, width); None keeps one common size up to 64, else takes 64.
        channels: 1 or 3; None takes 1 if every picture is gray.
        progress: receives a line before the reading, and `Reading` once a second.

    Raises:
        DataError: the structure is not that of labelled pictures, more than half of them cannot be read, or the
            cache cannot be written and the memory is too small.
    """
    listing = list_folder(folder)
    entries, shelf = _entries(listing, folder), Shelf.of(folder)
    with pictures.refusing_bombs():
        files = _files(entries, shelf.remembered())
        _check_share(_skipped(entries, {key: known.reason for key, known in files.items()}), entries, folder)
        headers = [known.header for known in files.values() if known.header is not None]
        preprocessing = _preprocessing(headers, size_px, channels)
        kept = _kept(_Work(shelf, preprocessing, entries, files, progress))
    reasons = {key: kept.reason(known) for key, known in kept.files.items()}
    skipped = _skipped(entries, reasons)
    _check_share(skipped, entries, folder)
    readable = [entry for entry in entries if reasons[entry.key] is None]
    _check_classes_left(readable, listing.class_names, folder)
    notes = (*listing.notes, *_skip_notes(skipped, entries, folder))
    return _image_data(folder, listing.class_names, preprocessing, shelf, kept, readable, notes)


# ---- which files there are, and what they say of themselves ---------------------------------------------------------


def _entries(listing: Listing, folder: Path) -> list[_Entry]:
    """Every picture file, split by split, so that each split is one piece of the images."""
    return [
        _Entry(path, path.relative_to(folder).as_posix(), split, listing.class_names.index(name))
        for split, classes in listing.splits.items()
        for name, paths in sorted(classes.items())
        for path in paths
    ]


def _files(entries: Sequence[_Entry], remembered: Mapping[str, Known]) -> dict[str, Known]:
    """What is known of every file; those that were looked at before and have not changed are not opened."""
    contents = {known.content: known for known in remembered.values() if known.content}

    def look(entry: _Entry) -> Known:
        return _look(entry.path, remembered.get(entry.key), contents)

    return dict(zip((entry.key for entry in entries), _in_order(look, entries), strict=True))


def _look(path: Path, before: Known | None, contents: Mapping[str, Known]) -> Known:
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


def _preprocessing(
    headers: Sequence[pictures.Header], size_px: int | tuple[int, int] | None, channels: int | None
) -> Preprocessing:
    """Size and channels from the user, else from the pictures."""
    if channels not in (None, 1, 3):
        raise DataError(f"channels {channels}", "1 (gray) or 3 (RGB) for pictures")
    if channels is None:
        channels = 1 if all(header.is_gray for header in headers) else 3
    return Preprocessing(_common_size(headers) if size_px is None else size_pair(size_px), channels)


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
    say: Say

    @property
    def readable(self) -> list[_Entry]:
        return [entry for entry in self.entries if self.files[entry.key].reason is None]

    def outcomes(self, before: Mapping[str, Bytes | Failure]) -> Iterator[Bytes | Failure]:
        """The image of every readable file, or why there is none; decoded are only contents not made before."""
        contents = [self.files[entry.key].content for entry in self.readable]
        undone = [entry for entry in self.readable if self.files[entry.key].content not in before]
        preprocessing = self.preprocessing
        if len(undone) >= MANY:
            preprocessing = Stretching.of(preprocessing, Stretcher())
        decoded = _in_order(functools.partial(_decode, preprocessing), undone)
        said_at = time.monotonic()
        for done, content in enumerate(contents, start=1):
            outcome = before[content] if content in before else next(decoded)
            if time.monotonic() - said_at >= REPORT_EVERY_S:
                said_at = time.monotonic()
                each = math.prod(preprocessing.input_shape)
                self.say(Reading.of(self.shelf.source, done, len(contents), each))
            yield outcome


def _decode(preprocessing: Preprocessing, entry: _Entry) -> Bytes | Failure:
    try:
        return pictures.decode(entry.path, preprocessing)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        lies_elsewhere = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        return Failure(pictures.reason(error, entry.path), is_lasting=not lies_elsewhere)


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
    return work.shelf.make(work.preprocessing, work.files, work.outcomes(known))


def _in_memory(work: _Work) -> Kept:
    count = len(work.readable)
    _check_memory(count, work.preprocessing, work.shelf.folder)
    images = np.empty((count, *work.preprocessing.input_shape), dtype=np.uint8)
    files, failures, count = sort_out(work.files, work.outcomes({}), images.__setitem__)
    return Kept(files, failures, images[:count])


def _check_memory(count: int, preprocessing: Preprocessing, cache: Path) -> None:
    needed = count * math.prod(preprocessing.input_shape)
    if needed > _memory_bytes() // 2:
        raise DataError(
            f"{count:,} pictures of {preprocessing.input_shape} need {needed / 1e9:.1f} GB, "
            f"and the cache {cache} cannot be written",
            f"room in the cache, or at most half of this machine's {_memory_bytes() / 1e9:.1f} GB of memory",
            "Make room there, set XDG_CACHE_HOME to a folder with more, or choose a smaller size",
        )


@functools.cache
def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 16 * 10**9


def _try_to_write(shelf: Shelf, preprocessing: Preprocessing, kept: Kept) -> None:
    """Remember for the next run; where that is not possible, the next run works it out again."""
    try:
        if kept.name:
            shelf.write(preprocessing, kept)
    except OSError:
        pass


# ---- what cannot be read --------------------------------------------------------------------------------------------


def _skipped(entries: Sequence[_Entry], reasons: Mapping[str, str | None]) -> list[_Skipped]:
    return sorted(_Skipped(entry.path, reason) for entry in entries if (reason := reasons[entry.key]))


def _check_share(skipped: Sequence[_Skipped], entries: Sequence[_Entry], folder: Path) -> None:
    if 2 * len(skipped) > len(entries):
        raise DataError(
            f"{len(skipped)} of {len(entries)} pictures in {folder} cannot be read: {_named(skipped, folder)}",
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


def _skip_notes(skipped: Sequence[_Skipped], entries: Sequence[_Entry], folder: Path) -> tuple[str, ...]:
    if not skipped:
        return ()
    share = f"{len(skipped)} of {len(entries)} pictures ({len(skipped) / len(entries):.1%})"
    return (f"Skipped {share} that cannot be read: {_named(skipped, folder)}.",)


def _named(skipped: Sequence[_Skipped], folder: Path) -> str:
    return enumerated([f"{skip.path.relative_to(folder)}: {skip.reason}" for skip in skipped], "; ")


# ---- what is made of it ---------------------------------------------------------------------------------------------


def _image_data(
    folder: Path,
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
    shelf: Shelf,
    kept: Kept,
    readable: Sequence[_Entry],
    notes: tuple[str, ...],
) -> ImageData:
    splits = _splits(kept.images, readable)
    data = ImageData(
        name=folder.resolve().name or "folder",
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=class_names,
        origin=f"the folder {folder}: {len(readable):,} pictures in {len(class_names)} classes",
        preprocessing=preprocessing,
        notes=notes,
    )
    arrangement = _arrangement(data)
    facts = kept.facts
    if facts is None or facts.arrangement != arrangement:
        facts = _facts(data, arrangement)
        _try_to_write(shelf, preprocessing, dataclasses.replace(kept, facts=facts))
    scaled = dataclasses.replace(preprocessing, mean=facts.mean, std=facts.std)
    return dataclasses.replace(data, preprocessing=scaled).with_known_digest(facts.digest)


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
