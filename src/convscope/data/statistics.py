"""Mean and standard deviation of pixels, exact and in little memory."""

from __future__ import annotations

import math

import numpy as np

from convscope.data.array_types import Bytes

_BYTES_AT_ONCE = 1 << 20
_PIXELS_A_ROW = 256
"""256 squares of at most 255² add up to less than 2²⁴, so that float32 holds every sum of a row exactly."""


def mean_and_std(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of pixels / 255, rounded to six decimals.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        Means and standard deviations, one a channel; a channel of one single value gets 1, safe to divide by.

    >>> mean_and_std(np.array([[[[0, 255]]]], dtype=np.uint8))
    ((0.5,), (0.5,))
    """
    count = len(images) * math.prod(images.shape[2:])
    pairs = [_of_sums(count, *sums) for sums in _sums(images)]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _sums(images: Bytes) -> list[tuple[int, int]]:
    """For each channel, the sum of all pixels and of their squares."""
    channels, pixels = images.shape[1], math.prod(images.shape[2:])
    at_once = max(1, _BYTES_AT_ONCE // (channels * pixels))
    rows = -(-pixels // _PIXELS_A_ROW)
    padded = np.zeros((at_once, channels, rows * _PIXELS_A_ROW), dtype=np.float32)  # zeros add nothing
    ones, totals = np.ones(_PIXELS_A_ROW, dtype=np.float32), np.zeros((channels, 2))
    for start in range(0, len(images), at_once):
        chunk = images[start : start + at_once]
        padded[: len(chunk), :, :pixels] = chunk.reshape(len(chunk), channels, pixels)
        split = padded[: len(chunk)].reshape(len(chunk), channels, rows, _PIXELS_A_ROW)
        sums, squares = split @ ones, np.einsum("ncrp,ncrp->ncr", split, split)
        totals[:, 0] += sums.sum((0, 2), dtype=np.float64)  # whole numbers below 2⁵³: exact
        totals[:, 1] += squares.sum((0, 2), dtype=np.float64)
    return [(int(total), int(of_squares)) for total, of_squares in totals]


def _of_sums(count: int, total: int, of_squares: int) -> tuple[float, float]:
    mean = total / (255 * count)
    std = math.sqrt(count * of_squares - total**2) / (255 * count)  # in whole numbers: nothing cancels
    return round(mean, 6), round(std, 6) if std > 1e-5 else 1.0
