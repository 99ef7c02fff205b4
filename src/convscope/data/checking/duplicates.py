"""Which pictures are the same: bit for bit, or nearly, found among all pairs in constant memory.

Pairs are candidates when their 64 bits differ in few places; a matrix product counts that for hundreds of pictures
against all others at once. A candidate counts when the thumbnails agree too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convscope.data.checking.looking import Glances
from convscope.data.checking.source import Item

Kind = Literal["same bytes", "same pixels", "near", "mirrored"]
Integers = npt.NDArray[np.int64]

BLANK_CONTRAST = 2.0
"""Grays that spread less are one colour to the eye; such pictures are like each other without being copies."""

MOST_BITS = 10
LEAST_AGREEMENT = 0.97
"""Two pictures are near when at most 10 of 64 bits differ and the thumbnails correlate by 0.97 or more…"""

FEW_BITS = 2
LOOSE_AGREEMENT = 0.93
"""…or at most 2 bits and 0.93: the same picture a little shifted."""

SMALL_PX = 64
SMALL_BITS = 4
SMALL_AGREEMENT = 0.997
"""For gray pictures with a side below 64 pixels, which have little to tell them apart (two handwritten ones).

All of them were chosen by looking at what they report on photos, clothes and digits: docs/data-check.md.
"""

_CELLS_AT_ONCE = 2**24  # of the matrix of all pairs
_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class Duplicates:
    """Pictures that show the same.

    Args:
        kind: the loosest likeness among them.
        items: at least two, in the order of the data.
    """

    kind: Kind
    items: tuple[Item, ...]

    @property
    def is_label_conflict(self) -> bool:
        """Whether they are labelled differently."""
        return len({item.class_name for item in self.items}) > 1

    @property
    def is_across_splits(self) -> bool:
        """Whether a network would learn from one and be judged on another."""
        return len({item.split for item in self.items}) > 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "kind": self.kind,
            "label_conflict": self.is_label_conflict,
            "across_splits": self.is_across_splits,
            "files": [item.to_json() for item in self.items],
        }


def find_duplicates(
    glances: Glances,
    items: Sequence[Item],
    *,
    mirrored: bool,
    confirmed_digest: Callable[[int], bytes],
    bytes_digest: Callable[[int], bytes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Duplicates, ...]:
    """Groups of the same picture; a picture is in one group at most.

    Args:
        glances: (N,), those with `is_read` are compared.
        items: (N,), their names.
        mirrored: also compare each picture with the mirror images of the others.
        confirmed_digest: of the whole picture at a position, for those that were decoded smaller.
        bytes_digest: of its file.
        progress: receives how many pictures have been compared with all, and of how many.
    """
    twins = _same_pixels(glances, confirmed_digest)
    first = np.array([group[0] for group in twins], dtype=np.int64)  # one picture for each group
    is_varied = glances["contrast"][first] >= BLANK_CONTRAST
    candidates = _Candidates(glances, first, is_varied, mirrored)
    labels, turned = _near(candidates, progress)
    groups: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels.tolist()):
        groups[label].append(position)
    found = []
    for label, members in groups.items():
        positions = sorted(position for member in members for position in twins[member])
        if len(positions) > 1:
            kind: Kind = "mirrored" if label in turned else "near"
            if len(members) == 1:
                kind = _exact_kind(positions, bytes_digest)
            found.append(Duplicates(kind, tuple(items[position] for position in positions)))
    return tuple(sorted(found, key=lambda group: (_KINDS.index(group.kind), group.items[0].path)))


_KINDS = ("same bytes", "same pixels", "near", "mirrored")


def _same_pixels(glances: Glances, confirmed_digest: Callable[[int], bytes]) -> list[list[int]]:
    """Every readable position once, together with those of the same pixels."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for position in np.flatnonzero(glances["is_read"]).tolist():
        groups[bytes(glances["digest"][position])].append(position)
    certain: list[list[int]] = []
    for group in groups.values():
        if len(group) == 1 or not glances["is_reduced"][group].any():
            certain.append(group)
            continue
        by_whole: dict[bytes, list[int]] = defaultdict(list)
        for position in group:
            by_whole[confirmed_digest(position)].append(position)
        certain += by_whole.values()
    return certain


def _exact_kind(positions: Sequence[int], bytes_digest: Callable[[int], bytes]) -> Kind:
    return "same bytes" if len({bytes_digest(position) for position in positions}) == 1 else "same pixels"


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The pictures `first` (R,) to compare; those that are not `is_varied` (R,) are left out."""

    glances: Glances
    first: Integers
    is_varied: npt.NDArray[np.bool_]
    mirrored: bool

    def blocks(self) -> Iterator[tuple[Integers, Integers, Integers, bool, int]]:
        """Rows and columns (P,) of pairs that differ in few bits, in how many, whether mirrored, rows done."""
        signs = _signs(self.glances["waves"][self.first])  # (R, 64)
        others = [(False, signs)]
        if self.mirrored:
            others.append((True, _signs(self.glances["mirrored_waves"][self.first])))
        most = np.where(self._is_small, SMALL_BITS, MOST_BITS)
        rows_at_once = max(1, _CELLS_AT_ONCE // max(1, len(self.first)))
        for top in range(0, len(self.first), rows_at_once):
            end = min(top + rows_at_once, len(self.first))
            for is_mirrored, other in others:
                same = signs[top:end] @ other[top:].T  # (rows, columns): 64 - 2·(bits that differ)
                rows, columns = np.nonzero(same >= (64 - 2 * most[top:end])[:, None])
                bits = ((64 - same[rows, columns]) / 2).astype(np.int64)
                rows, columns = rows + top, columns + top
                fits = (columns > rows) & (bits <= most[columns])
                fits &= self.is_varied[rows] & self.is_varied[columns]
                yield rows[fits], columns[fits], bits[fits], is_mirrored, end

    def are_near(
        self, rows: Integers, columns: Integers, bits: Integers, is_mirrored: bool
    ) -> npt.NDArray[np.bool_]:
        """Whether the thumbnails of these pairs (P,) agree too."""
        left, right = self.first[rows], self.first[columns]
        one = self.glances["thumbnail"][left].astype(np.float32)  # (P, 16, 16, 3)
        other = self.glances["thumbnail"][right].astype(np.float32)
        if is_mirrored:
            other = other[:, :, ::-1].copy()
        colourless = self.glances["is_gray"][left] | self.glances["is_gray"][right]
        for thumbnails in (one, other):  # a gray copy is compared with the grays of its original
            thumbnails[colourless] = (thumbnails[colourless] @ _LUMA)[..., None]
        agreement = _correlation(one.reshape(len(one), -1), other.reshape(len(other), -1))
        near = (agreement >= LEAST_AGREEMENT) | ((agreement >= LOOSE_AGREEMENT) & (bits <= FEW_BITS))
        is_small = self._is_small[rows] | self._is_small[columns]
        return np.where(is_small, agreement >= SMALL_AGREEMENT, near)

    @cached_property
    def _is_small(self) -> npt.NDArray[np.bool_]:
        sides = np.minimum(self.glances["width"], self.glances["height"])[self.first]
        small: npt.NDArray[np.bool_] = (sides < SMALL_PX) & self.glances["is_gray"][self.first]
        return small


def _near(candidates: _Candidates, progress: Callable[[int, int], None]) -> tuple[Integers, set[int]]:
    """A label for each of `first`, equal for pictures that are near; and the labels that a mirror joined."""
    labels = np.arange(len(candidates.first))
    turned: set[int] = set()
    for rows, columns, bits, is_mirrored, done in candidates.blocks():
        for start in range(0, len(rows), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            row, column, bit = rows[part], columns[part], bits[part]
            apart = labels[row] != labels[column]
            row, column, bit = row[apart], column[apart], bit[apart]
            near = candidates.are_near(row, column, bit, is_mirrored)
            _join(labels, turned, row[near], column[near], is_mirrored)
        progress(done, len(labels))
    return labels, turned


def _join(labels: Integers, turned: set[int], rows: Integers, columns: Integers, is_mirrored: bool) -> None:
    """Give each pair one label, and all that had the other one too."""
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        old, new = int(labels[column]), int(labels[row])
        if old != new:
            labels[labels == old] = new
            if is_mirrored or old in turned:
                turned.add(new)


def _signs(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(R, 8) bytes as (R, 64) numbers +1 and −1: their product counts equal bits less different ones."""
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # as Pillow makes gray; source: ITU-R 601-2


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pearson's correlation of each row (P, D) with the row of the same number; 0 for rows of one value."""
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    sizes = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
    products: npt.NDArray[np.float32] = (one * other).sum(axis=1) / np.maximum(sizes, 1e-6)
    return products
