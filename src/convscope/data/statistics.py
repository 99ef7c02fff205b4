"""Mean and standard deviation of pixels, exact and in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.data.array_types import Bytes

_IMAGES_AT_ONCE = 1024


def mean_and_std(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of pixels / 255, rounded to six decimals.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        Means and standard deviations, one a channel; a channel of one single value gets 1, safe to divide by.

    >>> mean_and_std(np.array([[[[0, 255]]]], dtype=np.uint8))
    ((0.5,), (0.5,))
    """
    pairs = [_of_counts(_counts(images, channel)) for channel in range(images.shape[1])]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _counts(images: Bytes, channel: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How often each of the 256 values occurs in a channel."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        counts += np.bincount(images[start : start + _IMAGES_AT_ONCE, channel].ravel(), minlength=256)
    return counts


def _of_counts(counts: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, float]:
    values = np.arange(256) / 255
    mean = float((counts * values).sum() / counts.sum())
    std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
    return round(mean, 6), round(std, 6) if std > 1e-5 else 1.0
