"""ImageData: images with labels, split, named, with the one Preprocessing that made them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from convscope.data.array_types import Bytes, Labels
from convscope.data.digest import Digest
from convscope.data.left_out import Skipped
from convscope.data.mapped import Rows, is_mapped
from convscope.data.preprocessing import Preprocessing
from convscope.data.sampling import first_of_each, stratified_pick
from convscope.errors import DataError

COPIED_BYTES = 64 * 2**20
"""Up to this, images chosen from a file are copied to memory; more stay where they are."""

_BYTES_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data.

    Args:
        images: uint8 (N, C, H, W), 0 is black. Images from a folder lie in a file (see `mapped`), and of those some
            that were chosen may be `Rows`, which answer to an index as an array does.
        labels: int64 (N,), positions in the class names.
    """

    images: Bytes
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | Labels) -> Split:
        """These images and labels, in this order: a copy, but of many images that lie in a file `Rows`."""
        chosen = np.asarray(indices, dtype=np.int64)
        is_small = len(chosen) * math.prod(self.images.shape[1:]) <= COPIED_BYTES
        images: Bytes | Rows = self.images
        if is_small or not is_mapped(images):
            return Split(images[chosen], self.labels[chosen])
        rows = images.take(chosen) if isinstance(images, Rows) else Rows(images, chosen)
        return Split(cast(Bytes, rows), self.labels[chosen])


@dataclass(frozen=True, eq=False)
class _KnownDigest:
    """A digest, and the very splits and names that it is of: copies of ImageData with others must not use it."""

    digest: str
    class_names: tuple[str, ...]
    splits: tuple[Split, ...]

    def is_of(self, data: ImageData) -> bool:
        mine, others = self.splits, tuple(data.splits.values())
        same = len(mine) == len(others) and all(a is b for a, b in zip(mine, others, strict=True))
        return same and self.class_names == data.class_names


@dataclass(frozen=True, eq=False)
class ImageData:
    """Everything a run needs to know about its images. Treat the arrays as read-only.

    Args:
        name: short, used in names of run folders.
        train: what the network learns from.
        validation: what choices are made on, or None.
        test: what the network is judged on once, or None.
        class_names: label k is called `class_names[k]`.
        origin: one sentence, where the images came from.
        preprocessing: how these images were made, and how pictures must be made that the network shall judge.
        notes: sentences the user should see.
        skipped: pictures that cannot be read, by their paths in the place they are from.
        came_px: the usual (height, width) of the pictures as they came, before they were brought to one size; None
            where that is the size they have.
        known_digest: for `with_known_digest`.

    Raises:
        DataError: splits that disagree with each other, with the class names or with the preprocessing.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    class_names: tuple[str, ...]
    origin: str
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    came_px: tuple[int, int] | None = None
    known_digest: _KnownDigest | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_class_names(self.class_names)
        for split_name, split in self.splits.items():
            _check_split(split_name, split, self.input_shape, len(self.class_names))
            _check_known_classes(split_name, split, self.train, self.class_names)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name, in the order train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.preprocessing.input_shape

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over class names, and shape, labels and pixels of every split."""
        if self.known_digest is not None and self.known_digest.is_of(self):
            return self.known_digest.digest
        digest = Digest(self.class_names)
        for name, split in self.splits.items():
            digest.begin_split(name, split.images.shape, split.labels)
            for part in _in_parts(split.images):
                digest.add(part)
        return digest.hexdigest()

    def with_known_digest(self, digest: str) -> ImageData:
        """The same data, whose digest need not be computed from the pixels again."""
        return replace(self, known_digest=_KnownDigest(digest, self.class_names, tuple(self.splits.values())))

    def hold_out(self, fraction: float, seed: int) -> ImageData:
        """The same data with a validation split taken from the training split; itself if it has one.

        Every class gives the same share, at least one image where it has two. Images that are the same, pixel by
        pixel, stay together: nothing is judged on what was learned by heart. Which images are held out is a pure
        function of the images, their labels, the fraction and the seed, on every machine.

        Raises:
            DataError: the fraction is not between 0 and 1, or no class has two images.
        """
        if self.validation is not None:
            return self
        twins = copies(self.train.images)
        held = stratified_pick(self.train.labels, fraction, seed, twins)
        kept = np.delete(np.arange(len(self.train)), held)
        note = (
            f"{len(held):,} of {len(self.train):,} training images {'is' if len(held) == 1 else 'are'} held out"
            f" for validation (seed {seed})."
        )
        if twins is not None:
            extra = len(twins) - len(np.unique(twins))
            note += f" {extra:,} {'is a copy' if extra == 1 else 'are copies'} of another: no copy is on both sides."
        return replace(
            self, train=self.train.take(kept), validation=self.train.take(held), notes=(*self.notes, note)
        )

    def limited(self, per_class: int, seed: int) -> ImageData:
        """The same data with at most `per_class` training images of each class.

        Which ones is a pure function of the labels and the seed; those of a smaller number are among those of a larger.

        Raises:
            DataError: the number is below 1.
        """
        if per_class < 1:
            raise DataError(
                f"{per_class} images of each class", "at least 1", "Leave the limit out to use all"
            )
        kept = first_of_each(self.train.labels, per_class, seed)
        note = (
            f"At most {per_class:,} training {'image' if per_class == 1 else 'images'} of each class:"
            f" {len(kept):,} of {len(self.train):,} are used (seed {seed})."
        )
        if len(kept) == len(self.train):
            note = f"No class has more than {per_class:,} training images: all {len(kept):,} are used."
        return replace(self, train=self.train.take(kept), notes=(*self.notes, note))


def copies(images: Bytes | Rows) -> Labels | None:
    """Which images (N, C, H, W) are the same, pixel by pixel: equal numbers (N,) for those; None where no two are.

    Of all images some pixels are looked at, and all pixels of those few that agree in them.
    """
    suspects = _same(np.concatenate([_few_pixels_hashed(part) for part in _in_parts(images)]))
    if not len(suspects):
        return None
    numbers = np.arange(len(images))
    first: dict[bytes, int] = {}
    for position in suspects.tolist():
        pixels = np.ascontiguousarray(images[position : position + 1])
        numbers[position] = first.setdefault(hashlib.blake2b(pixels.data).digest(), position)
    return numbers if len(np.unique(numbers)) < len(numbers) else None


def _in_parts(images: Bytes | Rows) -> Iterator[Bytes]:
    at_once = max(1, _BYTES_AT_ONCE // math.prod(images.shape[1:]))
    for start in range(0, len(images), at_once):
        yield images[start : start + at_once]


def _few_pixels_hashed(images: Bytes) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One number for up to 8 × 16 pixels of the first channel of each image, (N,); equal where these are."""
    rows, columns = (
        np.linspace(0, size - 1, min(size, most)).astype(int)
        for size, most in zip(images.shape[2:], (8, 16), strict=True)
    )
    pixels = images[:, 0][:, rows[:, None], columns].reshape(len(images), -1)  # (N, P)
    words = np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % 8)))).view(np.uint64)
    factors = np.multiply.accumulate(np.full(words.shape[1], 0x9E3779B97F4A7C15, dtype=np.uint64))
    found: np.ndarray[Any, np.dtype[np.uint64]] = (words * factors).sum(axis=1, dtype=np.uint64)
    return found


def _same(keys: np.ndarray[Any, Any]) -> Labels:
    """Positions of keys that are there more than once."""
    ordered = np.argsort(keys, kind="stable")
    equal = keys[ordered][1:] == keys[ordered][:-1]
    return np.unique(np.concatenate([ordered[1:][equal], ordered[:-1][equal]]))


def _check_class_names(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(f"only one class, {names[0]!r}" if names else "no class", "at least two classes")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the class name {twice!r} twice", "a different name for every class")


def _check_split(name: str, split: Split, shape: tuple[int, int, int], num_classes: int) -> None:
    if split.images.dtype != np.uint8 or split.labels.dtype != np.int64 or split.labels.ndim != 1:
        raise DataError(
            f"{name} images of {split.images.dtype} and labels of {split.labels.dtype} {split.labels.shape}",
            "uint8 (N, C, H, W) and int64 (N,)",
            "convscope.from_arrays converts and checks arrays",
        )
    if len(split.images) != len(split.labels):
        raise DataError(
            f"{len(split.images)} {name} images and {len(split.labels)} labels", "one label an image"
        )
    if not len(split):
        raise DataError(f"no {name} image", "at least one")
    if split.images.shape[1:] != shape:
        raise DataError(
            f"{name} images of shape {split.images.shape[1:]}", f"{shape}, as the preprocessing says"
        )
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"label {low if low < 0 else high} in the {name} labels",
            f"0 to {num_classes - 1}, one for each of the {num_classes} classes",
            "Number the classes from 0, or pass every class name",
        )


def _check_known_classes(name: str, split: Split, train: Split, class_names: tuple[str, ...]) -> None:
    for label in np.setdiff1d(split.labels, train.labels)[:1]:
        raise DataError(
            f"class {class_names[label]!r} is in the {name} split but not in the training split",
            "every class among the training images",
            f"Add training images of {class_names[label]!r}, or remove it from {name}",
        )
