"""What is not read, and why: files that are no part of the data are ignored, pictures that cannot be read skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Skipped:
    """What a person would take for a picture of the data and cannot be read.

    Args:
        path: the file; of training data by its path inside their place.
        reason: why, in words.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Ignored:
    """Something beside the pictures that is no part of the data, and why."""

    path: str
    reason: str


def skip_list(skipped: Iterable[Skipped]) -> str:
    """A line for each: path, a tab, the reason. Line breaks, tabs and backslashes in names are escaped.

    >>> skip_list([Skipped("a/1.jpg", "the file is empty")])
    'a/1.jpg\\tthe file is empty\\n'
    """
    return "".join(f"{_one_line(skip.path)}\t{_one_line(skip.reason)}\n" for skip in skipped)


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
