"""Repeats in a row of layers: where the same layers stand several times behind each other, doing the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from convscope.inference import Inference, Node

LONGEST_UNIT = 8


@dataclass(frozen=True)
class Run:
    """`copies` times the same layers; `copies` is 1 for a layer that stands once. `nodes` has all copies."""

    nodes: tuple[Node, ...]
    copies: int

    @property
    def unit(self) -> tuple[Node, ...]:
        """The first copy."""
        return self.nodes[: len(self.nodes) // self.copies]


def runs(nodes: Sequence[Node], inference: Inference) -> Iterator[Run]:
    """The nodes as runs, in order. Copies are equal layers that take and make equal shapes."""
    marks = [(node.layer, inference.shapes[node.name]) for node in nodes]
    at = 0
    while at < len(nodes):
        length, copies = _longest(marks, at)
        if any(_copies(marks, at + later, length) >= copies for later in range(1, length)):
            length, copies = 1, 1  # residual, relu, residual, relu behind a relu: the pairs begin one later
        yield Run(tuple(nodes[at : at + length * copies]), copies)
        at += length * copies


def _longest(marks: Sequence[Hashable], at: int) -> tuple[int, int]:
    """Length of the unit and number of copies that cover most from `at` on; (1, 1) where nothing repeats."""
    best = (1, 1)
    for length in range(1, min(LONGEST_UNIT, (len(marks) - at) // 2) + 1):
        copies = _copies(marks, at, length)
        if copies > 1 and length * copies > best[0] * best[1]:
            best = (length, copies)
    return best


def _copies(marks: Sequence[Hashable], at: int, length: int) -> int:
    """How often the `length` layers from `at` on stand behind each other."""
    copies, unit = 1, marks[at : at + length]
    while marks[at + length * copies : at + length * (copies + 1)] == unit:
        copies += 1
    return copies
