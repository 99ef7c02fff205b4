"""Stretching RGB pictures as Pillow does, bit for bit, in C++ where the machine has a compiler: six times as fast.

Without a compiler, or where anything differs from Pillow, Pillow does the work; nobody can tell from the pixels.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from convscope.data.array_types import Bytes
from convscope.data.colours import in_mode
from convscope.data.picture_kernels import PictureKernels
from convscope.data.preprocessing import Preprocessing

BITS = 22
"""After the point, of Pillow's weights."""
SIDE_PX = 16
"""Narrower results and pictures are Pillow's; the C++ handles so many numbers at a time."""
_ALIGNED_BYTES = 64

Order = Literal["unknown", "rows", "columns", "pillow"]
"""Which pass comes first, or that only Pillow will do."""


class Stretcher:
    """Stretches pixels by C++ once that is built; until then, and where that fails, Pillow does.

    Which of its two passes Pillow makes first depends on the sizes, by a rule that differs from version to version.
    So it is learned: of every two sizes, the second picture is stretched in both orders and compared with Pillow.
    """

    def __init__(self, kernels: PictureKernels) -> None:
        self._kernels = kernels
        self._orders: dict[tuple[int, int, int, int], Order] = {}

    def __call__(self, picture: Image.Image | Bytes, height: int, width: int) -> Bytes:
        """Pillow's pixels (3, height, width) of an RGB picture, or its pixels (H, W, 3), bilinear and antialiased."""
        size = picture.size if isinstance(picture, Image.Image) else picture.shape[1::-1]
        sizes = (size[0], size[1], height, width)
        order, library = self._orders.get(sizes), self._kernels.library
        if order is None or library is None or min(width, *size) < SIDE_PX:
            self._orders.setdefault(sizes, "unknown")
            return _by_pillow(picture, height, width)
        if order == "pillow":
            return _by_pillow(picture, height, width)
        pixels = np.asarray(picture)  # (H, W, 3)
        if order == "unknown":
            expected = _by_pillow(picture, height, width)
            self._orders[sizes] = _learned(library, pixels, expected)
            return expected
        return _stretched(library, pixels, height, width, order)


@dataclass(frozen=True)
class Stretching(Preprocessing):
    """A preprocessing that gives the very same pixels in less time."""

    stretcher: Stretcher | None = None

    @classmethod
    def of(cls, preprocessing: Preprocessing, stretcher: Stretcher) -> Self:
        """The same settings."""
        values = {field.name: getattr(preprocessing, field.name) for field in fields(preprocessing)}
        return cls(**values, stretcher=stretcher)

    def pixels(self, picture: Image.Image) -> Bytes:
        """As `Preprocessing.pixels`."""
        if self.stretcher is None or not self._is_plain:
            return super().pixels(picture)
        upright = in_mode(picture, "RGB")
        height, width = self.size_px
        if upright.width == width or upright.height == height:
            return super().pixels(upright)
        return self.stretcher(upright, height, width)

    def pixels_of(self, rgb: Bytes) -> Bytes:
        """As `Preprocessing.pixels_of`."""
        height, width = self.size_px
        if self.stretcher is None or not self._is_plain or rgb.shape[0] == height or rgb.shape[1] == width:
            return super().pixels_of(rgb)
        return self.stretcher(rgb, height, width)

    @property
    def _is_plain(self) -> bool:
        return (self.fit, self.resampling, self.antialias, self.channels) == ("squash", "bilinear", True, 3)


def _by_pillow(picture: Image.Image | Bytes, height: int, width: int) -> Bytes:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stretched = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))  # (height, width, 3)
    return np.ascontiguousarray(stretched.transpose(2, 0, 1))


def _learned(library: ctypes.CDLL, pixels: Bytes, expected: Bytes) -> Order:
    """How to get what Pillow got; unknown where both orders give it, so that another picture must tell."""
    height, width = expected.shape[1:]
    orders: tuple[Order, ...] = ("rows", "columns")
    right = [
        order
        for order in orders
        if np.array_equal(_stretched(library, pixels, height, width, order), expected)
    ]
    return "unknown" if len(right) == 2 else right[0] if right else "pillow"


@functools.lru_cache(maxsize=1024)
def weights(size: int, wanted: int) -> tuple[Any, int, Any]:
    """How Pillow weighs `size` pixels in a row to make `wanted` of them, bilinear and antialiased.

    Returns:
        For each wanted pixel the first that counts, int32 (wanted,); how many count; and their weights times 2²²,
        int32 (wanted, count).

    >>> first, count, parts = weights(4, 2)
    >>> first.tolist(), count, (parts / 2**22).round(3).tolist()
    ([0, 1], 3, [[0.429, 0.429, 0.143], [0.143, 0.429, 0.429]])
    """
    scale = size / wanted
    reach = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    beyond = np.minimum((centres + reach + 0.5).astype(int), size)
    count = int((beyond - first).max())
    first = np.minimum(first, size - count)  # no window over the edge: what is added weighs nothing
    places = first[:, None] + np.arange(count)
    shares = np.maximum(1 - np.abs((places - centres[:, None] + 0.5) * (1 / reach)), 0.0)
    total = np.zeros(wanted)
    for place in range(count):  # one after the other, as Pillow adds: sums of floats depend on the order
        total += shares[:, place]
    parts = np.floor(shares / total[:, None] * 2**BITS + 0.5).astype(np.int32)
    return first.astype(np.int32), count, np.ascontiguousarray(parts)


def _stretched(library: ctypes.CDLL, pixels: Bytes, height: int, width: int, order: Order) -> Bytes:
    """Pixels (H, W, 3), stretched (3, height, width). Python's lock is not held meanwhile."""
    work = _work(*pixels.shape[:2], height, width, order)
    result = np.empty((3, height, width), dtype=np.uint8)
    pixels = np.ascontiguousarray(pixels)
    library.convscope_stretch(
        *(work.columns_first, pixels.ctypes.data, *work.numbers, *_room(work.room_bytes)), result.ctypes.data
    )
    return result


@dataclass(frozen=True)
class _Work:
    """What is the same for all pictures of one size, in the terms of the C++.

    Args:
        columns_first: the order.
        numbers: the sizes, and where the weights are.
        room_bytes: how much room it takes to work.
        held: the weights, which must not go away.
    """

    columns_first: int
    numbers: tuple[int, ...]
    room_bytes: tuple[int, ...]
    held: tuple[Any, ...]


@functools.lru_cache(maxsize=1024)
def _work(from_height: int, from_width: int, height: int, width: int, order: Order) -> _Work:
    first_x, count_x, parts_x = weights(from_width, width)
    first_y, count_y, parts_y = weights(from_height, height)
    along_x = (first_x.ctypes.data, count_x, parts_x.ctypes.data)
    along_y = (first_y.ctypes.data, count_y, parts_y.ctypes.data)
    between = 3 * (height * from_width if order == "columns" else from_height * width)
    return _Work(
        int(order == "columns"),
        (from_height, from_width, *along_x, *along_y, height, width),
        (3 * SIDE_PX * from_width, 3 * SIDE_PX * width, between),
        (first_x, parts_x, first_y, parts_y),
    )


_of_this_thread = threading.local()


def _room(sizes_bytes: tuple[int, ...]) -> tuple[int, ...]:
    """Places to work in, of these sizes; each thread keeps its own, for fresh memory costs as much as the work."""
    held: tuple[tuple[int, ...], Bytes, tuple[int, ...]] | None = getattr(_of_this_thread, "room", None)
    if held is None or held[0] != sizes_bytes:
        room = np.empty(sum(sizes_bytes) + len(sizes_bytes) * _ALIGNED_BYTES, dtype=np.uint8)
        places, at = [], room.ctypes.data
        for size in sizes_bytes:
            places.append(at)
            at += -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES
        held = _of_this_thread.room = (sizes_bytes, room, tuple(places))
    return held[2]
