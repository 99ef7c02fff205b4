"""Which files a list of paths means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from convscope.data.class_folders import IGNORED
from convscope.data.pictures import SUFFIXES


def picture_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Each path that was named, and for a folder every picture file below it, sorted.

    A file that was named is always in, also where it does not exist: whoever reads it says so. In a folder what
    counts is the name, as when training reads one: a picture format's extension or none, and nothing hidden.
    """
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from sorted(_below(path))
        else:
            yield path


def _below(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, and each folder that may not be looked into: whoever reads it says so."""
    closed: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if _is_wanted(name)]
        yield from (Path(where, name) for name in names if _is_wanted(name) and _is_picture_name(name))
    yield from (Path(os.fsdecode(error.filename)) for error in closed)


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in IGNORED


def _is_picture_name(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES | {""}
