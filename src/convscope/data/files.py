"""Files as those who read pictures need them: on the disk (`pathlib.Path`), or inside an archive or a table.

`Path` is an `Entry` as it is; whatever else holds pictures answers to the same few calls.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeVar


class File(Protocol):
    """One file: what it is called, what is known of it without opening it, and its bytes."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def suffix(self) -> str:
        """The ending of its name, with the dot."""

    def stat(self) -> os.stat_result:
        """Kind, size and times. Raises OSError."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Its bytes, from the start, in any order. Raises OSError, or DataError with the reason."""

    def __lt__(self, other: Any, /) -> bool:
        """Whether it comes first in the order of paths."""


@dataclass(frozen=True)
class Copy:
    """A file that has been read, so that all who look at it see the same bytes and the disk is asked once.

    Args:
        name, suffix: as the file has them.
        status: its status before it was read.
        content: its bytes.
    """

    name: str
    suffix: str
    status: os.stat_result
    content: bytes

    @classmethod
    def of(cls, file: File) -> Copy:
        """Read a file. Raises what its `stat` and `open` raise."""
        if isinstance(file, Path):
            return cls(file.name, file.suffix, *_read(file))
        status = file.stat()
        with file.open("rb") as stream:
            return cls(file.name, file.suffix, status, stream.read())

    def stat(self) -> os.stat_result:
        """Its status before it was read."""
        return self.status

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:
        """Its bytes, from the start."""
        return io.BytesIO(self.content)

    def __lt__(self, other: Any, /) -> bool:
        return self.name < str(other.name)


def _read(path: Path) -> tuple[os.stat_result, bytes]:
    """Status and content in four calls of the system, after each of which a thread may lose Python's lock."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(number)
        parts = [os.read(number, status.st_size + 1)]
        while sum(map(len, parts)) != status.st_size and parts[-1]:  # it is being written to
            parts.append(os.read(number, 2**20))
        return status, b"".join(parts)
    finally:
        os.close(number)


class Entry(File, Protocol):
    """A file or a folder."""

    def is_dir(self) -> bool:
        """Whether it is a folder."""

    def is_file(self) -> bool:
        """Whether it is a file."""

    def is_symlink(self) -> bool:
        """Whether it only points at another."""

    def iterdir(self) -> Iterator[Entry]:
        """What is in the folder, in no order."""

    def __truediv__(self, name: str, /) -> Entry:
        """What is called `name` in the folder, whether it exists or not."""


AnyFile = TypeVar("AnyFile", bound=File)


def key_of(file: File, root: object) -> str:
    """The path of a file inside its place, with slashes, by which it is known there.

    >>> key_of(Path("photos/cat/1.jpg"), Path("photos"))
    'cat/1.jpg'
    """
    if isinstance(file, Path) and isinstance(root, Path):
        return file.relative_to(root).as_posix()
    return str(getattr(file, "key", file.name))
