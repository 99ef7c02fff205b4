"""Where labelled pictures may lie, and finding out which kind of place it is: by what is there, not by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convscope.data import archives, array_files, hazards, parquet, sets, tables
from convscope.data.class_folders import (
    Listing,
    enumerated,
    has_class_folders,
    is_ignored,
    is_listed,
    list_folder,
)
from convscope.data.files import Entry, File
from convscope.data.image_data import ImageData
from convscope.data.left_out import Ignored
from convscope.errors import DataError

KINDS = "a zip or tar archive, a table (CSV, TSV, JSON lines), Parquet, .npz or IDX"
STRAY_BY_TABLE = "a picture that the table does not name"


@dataclass(frozen=True)
class Pictures:
    """Labelled picture files of one place.

    Args:
        place: as the user named it.
        called: what it is called in a sentence, like "the folder photos".
        root: the folder, on the disk or inside an archive, that the files' paths begin at.
        listing: the files, by split and class.
        stray: what a picture is that is at the place and not among the files.
        tables: what said which files there are.
        ignored_there: what else was left out when the place was opened.
    """

    place: Path
    called: str
    root: Entry
    listing: Listing
    stray: str = "a picture outside the class folders"
    tables: tuple[Entry, ...] = ()
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
        known = {str(file) for _, _, file in self.files()} | {str(table) for table in self.tables}
        yield from _ignored(self.root, known, self.stray)


def find(place: Path) -> Pictures | ImageData:
    """What is at a place: labelled picture files, or images that are arrays.

    Raises:
        DataError: it holds neither; the message says what was looked for.
        MissingExtraError: what reads it is not installed.
        OSError: it cannot be read.
    """
    try:
        return _in_folder(place) if place.is_dir() else _in_file(place)
    except RecursionError as error:
        raise DataError(
            f"{place} has hundreds of folders, one in another",
            "class folders a few levels deep",
            "Check the path",
        ) from error


def _in_file(place: Path) -> Pictures | ImageData:
    try:
        hazards.check_kind(place)  # a pipe would wait for its writer for ever
    except DataError as error:
        raise DataError(
            f"cannot read {place}: {error.received}", f"{KINDS}, or a folder", "Check the path"
        ) from error
    if place.suffix.lower() == ".npz":
        return array_files.read_npz(place)
    if place.suffix.lower() in tables.SUFFIXES:
        return _table(place)
    if parquet.is_parquet(place):
        return _parquet(place, [place])
    if array_files.is_idx(place):
        return _idx_file(place)
    if archives.is_archive(place):
        return _archive(place)
    raise DataError(
        f"{place} is a file of another kind",
        f"{KINDS}, or a folder",
        "Name the folder that holds the class folders, or the file that holds the pictures",
    )


def _in_folder(folder: Path) -> Pictures | ImageData:
    """Class folders where there are some; else a table, Parquet files, IDX files or CIFAR's batches."""
    called = f"the folder {folder}"
    found = _entries_in(folder, folder, called)
    if found is not None:
        return found
    files = parquet.parquet_files(folder)
    if files:
        return _parquet(folder, files)
    return Pictures(folder, called, folder, list_folder(folder))  # says what is missing


def _entries_in(root: Entry, place: Path, called: str) -> Pictures | ImageData | None:
    """What is in a folder, on the disk or in an archive; None where it is none of these."""
    chosen = _tables_that_count(root)
    if chosen:
        listing = tables.listed(root, chosen)
        return Pictures(place, called, root, listing, STRAY_BY_TABLE, tuple(chosen.values()))
    if has_class_folders(root):
        return Pictures(place, called, root, _with_note_on_tables(list_folder(root), root))
    what = called.removesuffix(str(place)).strip()
    if pairs := array_files.idx_pairs(root):
        return array_files.read_idx(place, what, pairs)
    if array_files.has_cifar(root):
        return array_files.read_cifar(place, what, root)
    return None


def _tables_that_count(root: Entry) -> dict[str | None, Entry]:
    """The tables in a folder, unless its pictures lie in class folders, which then say what they show."""
    if has_class_folders(root):
        return {}
    return tables.chosen_tables(root)


def _with_note_on_tables(listing: Listing, root: Entry) -> Listing:
    unused = [table.name for table in tables.tables_in(root) if tables.is_labelling(table)]
    if not unused:
        return listing
    note = f"The class folders say what the pictures show; not used: {enumerated(unused)}. Name it to use it instead."
    return replace(listing, notes=(*listing.notes, note))


def _table(place: Path) -> Pictures:
    listing = tables.listed(place.parent, {None: place})
    return Pictures(place, f"the table {place}", place.parent, listing, STRAY_BY_TABLE, (place,))


def _archive(place: Path) -> Pictures | ImageData:
    archive = archives.opened(place)
    called = f"the archive {place}"
    found = _entries_in(archive.root, place, called)
    if found is None and archive.skipped:
        first = archive.skipped[0]
        raise DataError(
            f"none of the {len(archive.skipped):,} pictures in {place} can be read: {first.path}: {first.reason}",
            "an archive of pictures, packed by deflate or not at all",
            "Unpack it, and name the folder",
        )
    if found is None:
        found = Pictures(place, called, archive.root, list_folder(archive.root))  # says what is missing
    if isinstance(found, ImageData):
        return found
    listing = replace(found.listing, skipped=(*archive.skipped, *found.listing.skipped))
    return replace(found, listing=listing, ignored_there=tuple(archive.ignored))


def _parquet(place: Path, files: Sequence[Path]) -> Pictures:
    root, listing = parquet.listed(place, files)
    called = f"the folder {place}" if place.is_dir() else f"the Parquet file {place}"
    return Pictures(place, called, root, listing)


def _idx_file(place: Path) -> ImageData:
    beside: dict[str, Entry] = {entry.name: entry for entry in place.parent.iterdir()}
    labels = array_files.idx_labels(place.name, beside)
    return array_files.read_idx(place, "the file", {"train": (place, labels)})


def _ignored(folder: Entry, listed: set[str], stray: str) -> Iterator[Ignored]:
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
            yield from () if entry.is_symlink() else _ignored(entry, listed, stray)
        else:
            yield Ignored(str(entry), stray if is_listed(entry) else "no picture by name or content")


def is_picture_place(source: str | os.PathLike[str]) -> bool:
    """Whether `load_data` would read picture files for this, and not arrays or a data set that has a name."""
    if source in sets.BY_NAME:
        return False
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return path.suffix.lower() != ".npz" and not array_files.is_idx(path)
        if not path.is_dir() or has_class_folders(path) or tables.tables_in(path):
            return True
        return not array_files.idx_pairs(path) and not array_files.has_cifar(path)
    except (OSError, ValueError):
        return True


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; no, for a name that no file system takes (too long, or a zero byte)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
