"""The pictures to look at, from a folder or from arrays, one at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from convscope.data import pictures
from convscope.data.array_types import Bytes
from convscope.data.class_folders import IGNORED, Listing, list_folder
from convscope.data.image_data import ImageData


@dataclass(frozen=True)
class Item:
    """One picture by name.

    Args:
        path: the file; for arrays the split and the position, like `test/17`.
        split: train, validation or test.
        class_name: its label.
    """

    path: str
    split: str
    class_name: str

    def to_json(self) -> dict[str, str]:
        """Plain JSON."""
        return {"path": self.path, "class": self.class_name, "split": self.split}


@dataclass(frozen=True)
class Ignored:
    """Something in the folder that is no part of the data, and why."""

    path: str
    reason: str


class Source(Protocol):
    """Pictures with names, splits and classes."""

    name: str
    items: tuple[Item, ...]
    class_names: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    notes: tuple[str, ...]

    def opened(
        self,
        position: int,
        *,
        smallest_px: int | None = None,
        longer_px: int | None = None,
        salvage: bool = False,
    ) -> contextlib.AbstractContextManager[tuple[pictures.Header, Image.Image]]:
        """Header and loaded picture at this position, as `pictures.opened` has them."""

    def reason(self, error: Exception, position: int) -> str:
        """Why the picture at this position could not be read."""

    def bytes_digest(self, position: int) -> bytes:
        """A hash of the picture as it is stored."""


class FolderSource:
    """A folder of class folders. Every file below it is an item or is ignored."""

    def __init__(self, folder: Path) -> None:
        listing = list_folder(folder)
        self.name = str(folder)
        self.class_names = listing.class_names
        self.notes = listing.notes
        self.items = tuple(_items(listing))
        self.ignored = tuple(_ignored(folder, {item.path for item in self.items}))

    def opened(
        self,
        position: int,
        *,
        smallest_px: int | None = None,
        longer_px: int | None = None,
        salvage: bool = False,
    ) -> contextlib.AbstractContextManager[tuple[pictures.Header, Image.Image]]:
        """Header and loaded picture at this position."""
        path = Path(self.items[position].path)
        return pictures.opened(path, smallest_px=smallest_px, longer_px=longer_px, salvage=salvage)

    def reason(self, error: Exception, position: int) -> str:
        """Why the file at this position could not be read."""
        return pictures.reason(error, Path(self.items[position].path))

    def bytes_digest(self, position: int) -> bytes:
        """SHA-256 of the file."""
        with Path(self.items[position].path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()


class ArraySource:
    """Pictures in memory."""

    ignored: tuple[Ignored, ...] = ()

    def __init__(self, data: ImageData) -> None:
        self.name = data.name
        self.class_names = data.class_names
        self.notes = data.notes
        self.data = data
        self.items = tuple(
            Item(f"{name}/{position}", name, data.class_names[label])
            for name, split in data.splits.items()
            for position, label in enumerate(split.labels.tolist())
        )

    @contextlib.contextmanager
    def opened(
        self,
        position: int,
        *,
        smallest_px: int | None = None,
        longer_px: int | None = None,
        salvage: bool = False,
    ) -> Iterator[tuple[pictures.Header, Image.Image]]:
        """Header and picture at this position."""
        pixels = self._pixels(position)  # (C, H, W)
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0).copy())
        yield pictures.Header(picture.size, len(pixels) == 1), picture

    def reason(self, error: Exception, position: int) -> str:
        """Arrays were checked when they were made; nothing but a defect raises here."""
        raise error

    def bytes_digest(self, position: int) -> bytes:
        """SHA-256 of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self._pixels(position)).data).digest()

    def _pixels(self, position: int) -> Bytes:
        split, number = self.items[position].path.split("/")
        images = np.asarray(self.data.splits[split].images[int(number) : int(number) + 1], dtype=np.uint8)
        return np.asarray(images[0], dtype=np.uint8)


def _items(listing: Listing) -> Iterator[Item]:
    for split, classes in listing.splits.items():
        for name, paths in sorted(classes.items()):
            for path in paths:
                yield Item(str(path), split, name)


def _ignored(folder: Path, listed: set[str]) -> Iterator[Ignored]:
    """Everything below the folder that was not listed; of an ignored folder only its own name."""
    for where, folders, names in os.walk(folder):
        known = [name for name in sorted(folders) if str(Path(where, name)) not in listed]
        folders[:] = [name for name in known if not _why_ignored(name)]
        for name in known:
            if why := _why_ignored(name):
                yield Ignored(str(Path(where, name)), why)
        for name in sorted(names):
            path = str(Path(where, name))
            if path not in listed:
                yield Ignored(path, _why_ignored(name) or _why_not_listed(path))


def _why_ignored(name: str) -> str:
    if name.startswith("."):
        return "hidden"
    return "left by a program, no data" if name.lower() in IGNORED else ""


def _why_not_listed(path: str) -> str:
    is_picture = Path(path).suffix.lower() in pictures.SUFFIXES or pictures.is_picture_file(Path(path))
    return "a picture outside the class folders" if is_picture else "no picture by name or content"
