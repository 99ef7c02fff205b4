"""Stretching RGB pictures as Pillow does, bit for bit, in C++ where the machine has a compiler: six times as fast.

The C++ is built once for the machine, beside the decoding of the first pictures, and kept in the user's cache. Without
a compiler, or where anything differs from Pillow, Pillow does the work; nobody can tell from the pixels.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from convscope import compiling
from convscope.data.array_types import Bytes
from convscope.data.colours import in_mode
from convscope.data.preprocessing import Preprocessing

BITS = 22
"""After the point, of Pillow's weights."""
SIDE_PX = 16
"""Narrower results and pictures are Pillow's; the C++ handles so many numbers at a time."""
_ALIGNED_BYTES = 64

Order = Literal["unknown", "rows", "columns", "pillow"]
"""Which pass comes first, or that only Pillow will do."""


class Stretcher:
    """Stretches pixels once its C++ is built, in a thread of its own; until then, and where that fails, Pillow does.

    Which of its two passes Pillow makes first depends on the sizes, by a rule that differs from version to version.
    So it is learned: of every two sizes, the second picture is stretched in both orders and compared with Pillow.
    """

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._orders: dict[tuple[int, int, int, int], Order] = {}
        self._thread = threading.Thread(target=self._build, daemon=True)
        self._thread.start()

    def _build(self) -> None:
        self._library = load()

    def wait(self) -> None:
        """Until the C++ is built, or has failed to be."""
        self._thread.join()

    def __call__(self, picture: Image.Image, height: int, width: int) -> Bytes:
        """Pillow's pixels (3, height, width) of an RGB picture, bilinear and antialiased."""
        sizes = (*picture.size, height, width)
        order = self._orders.get(sizes)
        if order is None or self._library is None or min(width, *picture.size) < SIDE_PX:
            self._orders.setdefault(sizes, "unknown")
            return _by_pillow(picture, height, width)
        if order == "pillow":
            return _by_pillow(picture, height, width)
        pixels = np.asarray(picture)  # (H, W, 3)
        if order == "unknown":
            expected = _by_pillow(picture, height, width)
            self._orders[sizes] = _learned(self._library, pixels, expected)
            return expected
        return _stretched(self._library, pixels, height, width, order)


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

    @property
    def _is_plain(self) -> bool:
        return (self.fit, self.resampling, self.antialias, self.channels) == ("squash", "bilinear", True, 3)


def _by_pillow(picture: Image.Image, height: int, width: int) -> Bytes:
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


@functools.cache
def load() -> ctypes.CDLL | None:
    """The C++ of this machine, built where it is not in the cache; None where that is not possible."""
    return compiling.load(Path(__file__).with_name("stretch.cpp")).library


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
    from_height, from_width, _ = pixels.shape
    first_x, count_x, parts_x = weights(from_width, width)
    first_y, count_y, parts_y = weights(from_height, height)
    between = 3 * (height * from_width if order == "columns" else from_height * width)
    room = _room(3 * SIDE_PX * from_width, 3 * SIDE_PX * width, between, 12 * max(from_width, width))
    result = np.empty((3, height, width), dtype=np.uint8)
    pixels = np.ascontiguousarray(pixels)
    library.convscope_stretch(
        *(int(order == "columns"), _at(pixels), from_height, from_width),
        *(_at(first_x), count_x, _at(parts_x), _at(first_y), count_y, _at(parts_y), height, width),
        *(*room, _at(result)),
    )
    return result


_of_this_thread = threading.local()


def _room(*sizes_bytes: int) -> list[ctypes.c_void_p]:
    """Places to work in, of these sizes; each thread keeps its own, for fresh memory costs as much as the work."""
    ends = np.cumsum([-(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES for size in sizes_bytes])
    held: Bytes | None = getattr(_of_this_thread, "room", None)
    if held is None or len(held) < ends[-1]:
        held = _of_this_thread.room = np.empty(ends[-1], dtype=np.uint8)
    return [ctypes.c_void_p(held.ctypes.data + int(start)) for start in (0, *ends[:-1])]


def _at(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
