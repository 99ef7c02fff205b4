"""Mean and standard deviation of pixels, exact and in little memory."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from convscope.data.array_types import Bytes

_BYTES_AT_ONCE = 1 << 20
_PIXELS_A_ROW = 256
"""256 squares of at most 255² add up to less than 2²⁴, so that float32 holds every sum of a row exactly."""


class Moments:
    """Sums of pixels and of their squares, in whole numbers; images are added as they come.

    >>> moments = Moments()
    >>> moments.add(np.array([[[[0, 255]]]], dtype=np.uint8))
    >>> moments.mean_and_std()
    ((0.5,), (0.5,))
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = np.zeros((0, 2), dtype=np.int64)  # (C, 2)
        self._padded, self._padded_for = np.zeros((0, 0, 0), dtype=np.float32), (0, 0)

    def add(self, images: Bytes, library: ctypes.CDLL | None = None) -> None:
        """Take in images, uint8 (N, C, H, W), of as many channels as those before; by C++ where it is at hand."""
        channels, pixels = images.shape[1], math.prod(images.shape[2:])
        self._count += len(images) * pixels
        if not len(self._sums):
            self._sums = np.zeros((channels, 2), dtype=np.int64)
        if library is None:
            self._sums += self._by_numpy(images.reshape(len(images), channels, pixels))
            return
        for image in np.ascontiguousarray(images):
            library.convscope_add_sums(image.ctypes.data, channels, pixels, self._sums.ctypes.data)

    def _by_numpy(self, images: Bytes) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """The sums (C, 2) of images (N, C, P)."""
        count, channels, pixels = images.shape
        rows = -(-pixels // _PIXELS_A_ROW)
        if self._padded_for != (channels, pixels) or len(self._padded) < count:
            self._padded_for = (channels, pixels)
            self._padded = np.zeros(
                (count, channels, rows * _PIXELS_A_ROW), dtype=np.float32
            )  # zeros add nothing
        self._padded[:count, :, :pixels] = images
        split = self._padded[:count].reshape(count, channels, rows, _PIXELS_A_ROW)
        ones = np.ones(_PIXELS_A_ROW, dtype=np.float32)
        sums, squares = split @ ones, np.einsum("ncrp,ncrp->ncr", split, split)
        totals = [part.sum((0, 2), dtype=np.float64) for part in (sums, squares)]  # below 2⁵³: exact
        return np.stack(totals, axis=1).astype(np.int64)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of pixels / 255, for each channel, rounded to six decimals; one single value has the deviation 1."""
        pairs = [_of_sums(self._count, *sums) for sums in self._sums.tolist()]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def mean_and_std(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of pixels / 255, rounded to six decimals.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        Means and standard deviations, one a channel; a channel of one single value gets 1, safe to divide by.

    >>> mean_and_std(np.array([[[[0, 255]]]], dtype=np.uint8))
    ((0.5,), (0.5,))
    """
    moments = Moments()
    at_once = max(1, _BYTES_AT_ONCE // math.prod(images.shape[1:]))
    for start in range(0, len(images), at_once):
        moments.add(images[start : start + at_once])
    return moments.mean_and_std()


def _of_sums(count: int, total: int, of_squares: int) -> tuple[float, float]:
    mean = total / (255 * count)
    std = math.sqrt(count * of_squares - total**2) / (255 * count)  # in whole numbers: nothing cancels
    return round(mean, 6), round(std, 6) if std > 1e-5 else 1.0
