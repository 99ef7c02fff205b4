"""What data are known by: a hash of everything in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from convscope.data.array_types import Bytes, Labels


class Digest:
    """SHA-256 over class names, and shape, labels and pixels of every split, which come one after the other.

    >>> digest = Digest(["cat", "dog"])
    >>> digest.begin_split("train", (2, 1, 1, 1), np.array([0, 1]))
    >>> digest.add(np.array([[[[7]]], [[[9]]]], dtype=np.uint8))
    >>> digest.hexdigest()[:8]
    'd666317c'
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._hash = hashlib.sha256(repr(tuple(class_names)).encode())

    def begin_split(self, name: str, shape: tuple[int, ...], labels: Labels) -> None:
        """A split of images of this shape (N, C, H, W) and their labels (N,); its pixels follow."""
        self._hash.update(f"|{name} {shape}|".encode())
        self._hash.update(np.ascontiguousarray(labels, dtype="<i8").data)

    def add(self, images: Bytes) -> None:
        """The next images of the split, uint8 (N, C, H, W), or one (C, H, W)."""
        self._hash.update(np.ascontiguousarray(images).data)

    def hexdigest(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()
