"""Which images are held out: stratified, and the same on every machine and with every version of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.data.array_types import Labels
from convscope.errors import DataError


def stratified_pick(labels: Labels, fraction: float, seed: int) -> Labels:
    """Positions of about `fraction` of every class, ascending.

    A class of two or more images gives at least one and keeps at least one; a class of one image keeps it.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> [int(labels[i]) for i in stratified_pick(labels, 0.5, seed=0)]
    [0, 0, 1]

    Raises:
        DataError: the fraction is not between 0 and 1, or no class has two images.
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation share {fraction}", "a number between 0 and 1, like 0.1")
    rank = np.argsort(_hashes(len(labels), seed), kind="stable")
    chosen = [_share(rank[labels[rank] == label], fraction) for label in np.unique(labels)]
    picked = np.sort(np.concatenate(chosen))
    if not len(picked):
        raise DataError(
            "one image in every class",
            "two or more in some class, to hold one out for validation",
            "Add pictures, or give a validation split of its own",
        )
    return picked


def _share(members: Labels, fraction: float) -> Labels:
    count = len(members)
    return members[: min(max(1, round(count * fraction)), count - 1)]


def _hashes(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One well mixed 64-bit number for every position. Source: splitmix64 (Steele, Lea, Flood 2014)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = steps + np.uint64((seed * 0xD1342543DE82EF95) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
