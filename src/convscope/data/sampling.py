"""Which images are held out or left out: by class, the same on every machine and with every version of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.data.array_types import Labels
from convscope.errors import DataError


def stratified_pick(labels: Labels, fraction: float, seed: int, copies: Labels | None = None) -> Labels:
    """Positions of about `fraction` of every class, ascending.

    A class of two or more images gives at least one and keeps at least one; a class of one image keeps it.

    Args:
        labels: (N,).
        fraction: of every class, above 0 and below 1.
        seed: which.
        copies: (N,), the same number for images that are the same, which are then picked together or not at all; an
            image that stands in two classes is never picked. None where no two are the same.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> [int(labels[i]) for i in stratified_pick(labels, 0.5, seed=0)]
    [0, 0, 1]

    Raises:
        DataError: the fraction is not between 0 and 1, or no class has two images.
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation share {fraction}", "a number between 0 and 1, like 0.1")
    rank = np.argsort(_hashes(len(labels), seed), kind="stable")
    loose = np.ones(len(labels), dtype=bool) if copies is None else ~_in_two_classes(labels, copies)
    chosen = []
    for label in np.unique(labels):
        members = rank[labels[rank] == label]
        wanted = min(max(1, round(len(members) * fraction)), len(members) - 1)
        members = members[loose[members]]
        chosen.append(members[:wanted] if copies is None else _whole(members, copies, wanted))
    picked = np.sort(np.concatenate(chosen))
    if not len(picked):
        raise DataError(
            "one image in every class, or copies of one",
            "two different ones in some class, to hold one out for validation",
            "Add pictures, or give a validation split of its own",
        )
    return picked


def first_of_each(labels: Labels, most: int, seed: int) -> Labels:
    """Positions of up to `most` images of every class, ascending; those for a smaller number are among them.

    >>> [int(i) for i in first_of_each(np.array([0, 0, 0, 0, 1, 1]), 2, seed=0)]
    [1, 2, 4, 5]
    """
    rank = np.argsort(_hashes(len(labels), seed), kind="stable")
    chosen = [rank[labels[rank] == label][:most] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def _whole(members: Labels, copies: Labels, wanted: int) -> Labels:
    """The first members, in their order, that make up whole groups of copies and are no more than wanted."""
    groups: dict[int, list[int]] = {}
    for member in members.tolist():
        groups.setdefault(int(copies[member]), []).append(member)
    taken: list[int] = []
    for group in groups.values():
        if len(taken) + len(group) <= wanted:
            taken += group
    return np.array(taken, dtype=np.int64)


def _in_two_classes(labels: Labels, copies: Labels) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which images have a copy with another label, (N,)."""
    _, group = np.unique(copies, return_inverse=True)
    lowest = np.full(group.max() + 1, labels.max(), dtype=np.int64)
    highest = np.zeros(group.max() + 1, dtype=np.int64)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    return np.asarray((lowest != highest)[group])


def _hashes(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One well mixed 64-bit number for every position. Source: splitmix64 (Steele, Lea, Flood 2014)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = steps + np.uint64((seed * 0xD1342543DE82EF95) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
