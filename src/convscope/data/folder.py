"""Labelled picture files as ImageData. Nothing of theirs is changed; decoded pictures are kept (`prepared`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from convscope.data import pictures
from convscope.data.array_types import Bytes
from convscope.data.class_folders import enumerated
from convscope.data.digest import Digest
from convscope.data.image_data import ImageData, Split
from convscope.data.left_out import Skipped
from convscope.data.looking import Entry, entries_of, looked_at
from convscope.data.pixels import Say, Work, kept_pixels, read_once, try_to_write
from convscope.data.prepared import Facts, Kept, Known, Shelf
from convscope.data.preprocessing import Preprocessing
from convscope.data.reader import Reader
from convscope.data.sources import Pictures
from convscope.data.statistics import mean_and_std
from convscope.errors import DataError


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
    entries, shelf = entries_of(found), Shelf.of(found.place, salvage=reader.salvage)
    with pictures.refusing_bombs():
        preprocessing, kept = read_once(
            found.listing.class_names, entries, shelf, reader, progress
        ) or _looked_at_and_read(found, entries, shelf, reader, progress)
    reasons = {key: kept.reason(known) for key, known in kept.files.items()}
    skipped = _skipped(found, entries, reasons)
    _check_share(skipped, found, reader)
    readable = [entry for entry in entries if reasons[entry.key] is None]
    _check_classes_left(readable, found)
    return _image_data(found, preprocessing, shelf, kept, readable, skipped)


def _looked_at_and_read(
    found: Pictures, entries: Sequence[Entry], shelf: Shelf, reader: Reader, say: Say
) -> tuple[Preprocessing, Kept]:
    """First what all files are, then the pixels of those that have none yet."""
    files = looked_at(entries, shelf.remembered())
    _check_share(_skipped(found, entries, {key: known.reason for key, known in files.items()}), found, reader)
    headers = [known.header for known in files.values() if known.header is not None]
    preprocessing = reader.preprocessing(headers)
    return preprocessing, kept_pixels(Work(shelf, preprocessing, entries, files, reader.salvage, say))


# ---- what cannot be read --------------------------------------------------------------------------------------------


def _skipped(
    found: Pictures, entries: Sequence[Entry], reasons: Mapping[str, str | None]
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


def _check_classes_left(kept: Sequence[Entry], found: Pictures) -> None:
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
    readable: Sequence[Entry],
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
        try_to_write(shelf, preprocessing, dataclasses.replace(kept, facts=facts))
    scaled = dataclasses.replace(preprocessing, mean=facts.mean, std=facts.std)
    return dataclasses.replace(data, preprocessing=scaled).with_known_digest(facts.digest)


def _typical_size(kept: Kept) -> tuple[int, int]:
    """The median (height, width) of the files."""
    sizes = [known.header.size for known in kept.files.values() if known.header is not None]
    width, height = np.median(sizes, axis=0)
    return int(height), int(width)


def _splits(images: Bytes, readable: Sequence[Entry]) -> dict[str, Split]:
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
    digest = Digest(data.class_names)
    for name, split in data.splits.items():
        digest.begin_split(name, split.images.shape, split.labels)
    return digest.hexdigest()


def _facts(data: ImageData, arrangement: str) -> Facts:
    """Two passes over the pixels at the same time."""
    with ThreadPoolExecutor(1) as pool:
        scale = pool.submit(mean_and_std, data.train.images)
        return Facts(arrangement, data.digest, *scale.result())
