"""Which files a list of paths means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from convscope.data import archives
from convscope.data.class_folders import IGNORED, is_ignored
from convscope.data.files import File
from convscope.data.inside import Inside
from convscope.data.pictures import SUFFIXES
from convscope.errors import DataError

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def picture_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[File]:
    """Each path that was named, and for a folder or a zip or tar archive every picture file below it, sorted.

    A file that was named is always in, also where it does not exist: whoever reads it says so. In a folder what
    counts is the name, as when training reads one: a picture format's extension or none, and nothing hidden.
    """
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from sorted(_below(path))
        elif path.name.lower().endswith(ARCHIVES) and path.is_file():
            yield from _in_archive(path)
        else:
            yield path


def _in_archive(path: Path) -> Iterator[File]:
    """Its picture files; itself where it cannot be read, and whoever reads it says so."""
    try:
        archive = archives.opened(path)
    except (OSError, DataError):
        yield path
        return
    yield from _inside(archive.root)


def _inside(folder: Inside) -> Iterator[File]:
    for entry in sorted(folder.iterdir()):
        if is_ignored(entry.name):
            continue
        if entry.is_dir():
            yield from _inside(entry)
        elif _is_picture_name(entry.name):
            yield entry


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
