"""Which files have changed since: a folder's or a file's sizes and times, kept in sixteen bytes a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAMED = 3


@dataclass(frozen=True)
class Changes:
    """What became of watched files.

    Attributes:
        changed: how many have another size or time, or are new.
        names: of the first few of them.
        gone: how many are no longer there.
    """

    changed: int
    names: tuple[str, ...]
    gone: int

    def __bool__(self) -> bool:
        return self.changed > 0 or self.gone > 0

    def __str__(self) -> str:
        """As in "2 files changed (a.png, b.png) and 1 is gone"."""
        more = ", …" if self.changed > len(self.names) else ""
        parts = [f"{_files(self.changed)} changed ({', '.join(self.names)}{more})"] if self.changed else []
        if self.gone:
            count = f"{self.gone:,}" if parts else _files(self.gone)
            parts.append(f"{count} {'is' if self.gone == 1 else 'are'} gone")
        return " and ".join(parts)


def _files(count: int) -> str:
    return f"{count:,} file" + ("" if count == 1 else "s")


class Watch:
    """The sizes and times of all files under a path, or of the file that it is, as they are now.

    >>> watch = Watch(Path("nowhere"))
    >>> bool(watch.changes())
    False
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = list(_looked_at(path))
        self._names = np.sort(np.array([name for _, name, _ in found], dtype=np.uint64))
        self._stamps = np.sort(np.array([stamp for _, _, stamp in found], dtype=np.uint64))

    def changes(self) -> Changes:
        """What is different now."""
        count, names, there = 0, list[str](), list[int]()
        for name, name_key, stamp in _looked_at(self._path):
            there.append(name_key)
            if not _holds(self._stamps, stamp):
                count += 1
                names += [name] if len(names) < NAMED else []
        gone = len(np.setdiff1d(self._names, np.array(there, dtype=np.uint64)))
        return Changes(count, tuple(names), gone)


def _looked_at(path: Path) -> Iterator[tuple[str, int, int]]:
    """Every file: its name from `path` on, a number for the name, and one for name, size and time."""
    for file in _files_below(path):
        try:
            status = file.stat()
        except OSError:
            continue
        name = file.relative_to(path).as_posix() if file != path else file.name
        yield name, _number(name), _number(f"{name}\0{status.st_size}\0{status.st_mtime_ns}")


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, below, files in os.walk(path):
        below.sort()
        yield from (Path(folder) / name for name in sorted(files))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def _holds(numbers: NDArray[np.uint64], number: int) -> bool:
    place = int(np.searchsorted(numbers, np.uint64(number)))
    return place < len(numbers) and int(numbers[place]) == number
