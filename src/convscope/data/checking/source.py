"""The pictures to look at, from a folder or from arrays, one at a time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from PIL import Image

from convscope.data import pictures
from convscope.data.array_types import Bytes
from convscope.data.image_data import ImageData
from convscope.data.left_out import Ignored, Skipped
from convscope.data.sources import Pictures


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


class Source(Protocol):
    """Pictures with names, splits and classes."""

    name: str
    items: tuple[Item, ...]
    class_names: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    notes: tuple[str, ...]
    skipped: tuple[Skipped, ...]

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


class FileSource:
    """Labelled picture files. Every file of their place is an item or is ignored."""

    def __init__(self, found: Pictures) -> None:
        self.name = str(found.place)
        self.class_names = found.listing.class_names
        self.notes = found.listing.notes
        listed = list(found.files())
        self.files = [file for _, _, file in listed]
        self.items = tuple(Item(str(file), split, name) for split, name, file in listed)
        self.ignored = tuple(found.ignored())
        self.skipped = found.listing.skipped

    def opened(
        self,
        position: int,
        *,
        smallest_px: int | None = None,
        longer_px: int | None = None,
        salvage: bool = False,
    ) -> contextlib.AbstractContextManager[tuple[pictures.Header, Image.Image]]:
        """Header and loaded picture at this position."""
        file = self.files[position]
        return pictures.opened(file, smallest_px=smallest_px, longer_px=longer_px, salvage=salvage)

    def reason(self, error: Exception, position: int) -> str:
        """Why the file at this position could not be read."""
        return pictures.reason(error, self.files[position])

    def bytes_digest(self, position: int) -> bytes:
        """SHA-256 of the file."""
        with self.files[position].open("rb") as stream:
            return hashlib.file_digest(cast(Any, stream), "sha256").digest()


class ArraySource:
    """Pictures in memory."""

    ignored: tuple[Ignored, ...] = ()
    skipped: tuple[Skipped, ...] = ()

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
