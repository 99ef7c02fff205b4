"""Where labelled pictures may lie, and finding out which kind of place it is: by what is there, not by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convscope.data import sets
from convscope.data.class_folders import Listing, is_ignored, is_listed, list_folder
from convscope.data.files import Entry, File
from convscope.data.left_out import Ignored


@dataclass(frozen=True)
class Pictures:
    """Labelled picture files of one place.

    Args:
        place: as the user named it.
        called: what it is called in a sentence, like "the folder photos".
        root: the folder, on the disk or inside an archive, that the files' paths begin at.
        listing: the files, by split and class.
        ignored_there: what else was left out when the place was opened.
    """

    place: Path
    called: str
    root: Entry
    listing: Listing
    ignored_there: tuple[Ignored, ...] = ()

    @property
    def name(self) -> str:
        """Short, for names of run folders: the place without its endings."""
        resolved = self.place.resolve()
        return resolved.name if resolved.is_dir() else resolved.name.split(".")[0]

    def files(self) -> Iterator[tuple[str, str, File]]:
        """Split, class name and file of every picture, split by split, classes in the order of their numbers."""
        for split, classes in self.listing.splits.items():
            for name, paths in sorted(classes.items()):
                yield from ((split, name, path) for path in paths)

    def ignored(self) -> Iterator[Ignored]:
        """Everything at this place that is no picture of the data; of an ignored folder only its own name."""
        yield from self.ignored_there
        yield from _ignored(self.root, {str(file) for _, _, file in self.files()})


def find(place: Path) -> Pictures:
    """The labelled pictures at a place.

    Raises:
        DataError: there is nothing of that name, or it does not hold labelled pictures.
    """
    return Pictures(place, f"the folder {place}", place, list_folder(place))


def _ignored(folder: Entry, listed: set[str]) -> Iterator[Ignored]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if str(entry) in listed:
            continue
        if why := is_ignored(entry.name):
            yield Ignored(str(entry), why)
        elif entry.is_dir():
            yield from () if entry.is_symlink() else _ignored(entry, listed)
        else:
            yield Ignored(str(entry), _why_not_listed(entry))


def _why_not_listed(entry: Entry) -> str:
    return "a picture outside the class folders" if is_listed(entry) else "no picture by name or content"


def is_picture_place(source: str | os.PathLike[str]) -> bool:
    """Whether `load_data` would read picture files for this, and not arrays or a data set that has a name."""
    return source not in sets.BY_NAME


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; no, for a name that no file system takes."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
