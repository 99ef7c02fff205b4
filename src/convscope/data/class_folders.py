"""The structure of a folder of class folders, judged by names only; no picture is opened.

    photos/cat/1.jpg  photos/dog/2.jpg                                     one training split
    photos/train/cat/1.jpg  photos/val/cat/3.jpg  photos/test/dog/4.jpg    as many splits as there are

Classes are matched by name, never by position.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from convscope.data import sets
from convscope.data.files import Entry, File
from convscope.data.left_out import Skipped
from convscope.data.pictures import SUFFIXES, is_picture_file
from convscope.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
IGNORED = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "__pycache__"})
"""What computers put into folders by themselves, besides everything that starts with a dot."""

PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".npz")
"""Endings of files that may hold pictures; one of them in a folder without pictures is what was meant."""

NAMED = 5
"""How many things a message names before it says "…"."""

Classes = dict[str, list[File]]
"""For each class name, the picture files."""


@dataclass(frozen=True)
class Listing:
    """The picture files of a folder, for each split that exists; `train` always does.

    `skipped` are pictures of which it is known without opening them that they cannot be read.
    """

    splits: dict[str, Classes]
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted(self.splits["train"]))


def list_folder(folder: Entry) -> Listing:
    """Which pictures there are, by split and class.

    Raises:
        DataError: no class folders, only one, an empty one, or one that is not in train.
    """
    inner = subfolders(folder)
    split_folders = [sub for sub in inner if sub.name.lower() in SPLIT_NAMES]
    if any(_split_name(sub) == "train" and subfolders(sub) for sub in split_folders):
        others = [sub.name for sub in inner if sub not in split_folders]
        notes = (f"Not used beside train: {enumerated(others)}.",) if others else ()
        return Listing(_splits(split_folders, folder), notes)
    if split_folders == inner and any(map(subfolders, split_folders)):
        names = ", ".join(sub.name for sub in split_folders)
        raise DataError(
            f"{called(folder)} has {names} but no train",
            "a folder train/ with class folders to learn from",
            "Add it, or name a data set to train on",
        )
    return Listing({"train": _training_classes(folder)})


def has_class_folders(folder: Entry) -> bool:
    """Whether the pictures of a folder lie in class folders, in two or more, with or without splits above them.

    Folders called train and test that hold pictures and no folders are classes only where nothing else says so.
    """
    inner = subfolders(folder)
    if any(
        sub.name.lower() in SPLIT_NAMES and _split_name(sub) == "train" and subfolders(sub) for sub in inner
    ):
        return True
    holding = [sub for sub in inner if _has_picture(sub)]
    return len(holding) > 1 and not all(sub.name.lower() in SPLIT_NAMES for sub in holding)


def _has_picture(folder: Entry) -> bool:
    """Whether there is a picture file anywhere below; looks no further than the first."""
    entries = visible(folder)
    if any(not entry.is_dir() and is_listed(entry) for entry in entries):
        return True
    return any(_has_picture(entry) for entry in entries if entry.is_dir() and not entry.is_symlink())


def enumerated(names: list[str], separator: str = ", ") -> str:
    """The first few names.

    >>> enumerated(["a", "b", "c", "d", "e", "f"])
    'a, b, c, d, e, … and 1 more'
    """
    more = f"{separator}… and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more


def called(place: Entry) -> str:
    """What to call a place in a sentence; what is inside an archive says so itself."""
    return f"the folder {place}" if isinstance(place, Path) else str(place)


def is_ignored(name: str) -> str:
    """Why computers leave things of this name and people do not look at them; empty where they do.

    >>> is_ignored(".DS_Store"), is_ignored("Thumbs.db"), is_ignored("cat.jpg")
    ('hidden', 'left by a program, no data', '')
    """
    if name.startswith("."):
        return "hidden"
    return "left by a program, no data" if name.lower() in IGNORED else ""


def _split_name(folder: Entry) -> str:
    return SPLIT_NAMES[folder.name.lower()]


def _splits(split_folders: list[Entry], folder: Entry) -> dict[str, Classes]:
    """Classes of each split, in the order train, validation, test."""
    found: dict[str, Entry] = {}
    for sub in split_folders:
        if _split_name(sub) in found:
            both = f"{found[_split_name(sub)].name} and {sub.name}"
            raise DataError(
                f"{folder} has {both}", f"one folder for {_split_name(sub)}", "Join or rename them"
            )
        found[_split_name(sub)] = sub
    splits = {"train": _training_classes(found.pop("train"))}
    for name in sorted(found, reverse=True):  # validation, test
        classes = {key: paths for key, paths in _classes(found[name]).items() if paths}
        _check_known(name, classes, splits["train"], folder)
        splits[name] = classes
    return splits


def _check_known(split: str, classes: Classes, train: Classes, folder: Entry) -> None:
    for name in sorted(classes.keys() - train.keys()):
        raise DataError(
            f"class {name!r} is in {split} of {folder} but not in train",
            f"the class folders of train ({enumerated(sorted(train))})",
            f"Add train/{name}, or remove it from {split}",
        )


def _training_classes(folder: Entry) -> Classes:
    """At least two classes, each with a picture file."""
    classes = _classes(folder)
    if not any(classes.values()):
        expected = "one folder a class, like photos/cat/1.jpg"
        raise DataError(f"{called(folder)} has no class folder with pictures", expected, _hint(folder))
    if len(classes) == 1:
        raise DataError(
            f"{called(folder)} has only one class folder, {next(iter(classes))!r}",
            "at least two, one a class",
            "Add a folder with pictures of something else",
        )
    for name, paths in classes.items():
        if not paths:
            raise DataError(
                f"the class folder {folder / name} is empty", "pictures in it", "Add some or remove it"
            )
    return classes


def _classes(folder: Entry) -> Classes:
    """Picture files by class name; one spelling for names that look the same (é is written in two ways)."""
    return {unicodedata.normalize("NFC", sub.name): _picture_files(sub) for sub in subfolders(folder)}


def _hint(folder: Entry) -> str:
    """What the user may have meant by a folder without classes."""
    for data_set in sets.ALL:
        names = [f"{file.name}{end}" for file in data_set.files for end in ("", ".gz")]
        if any((folder / name).is_file() for name in names):
            beside = Path(str(folder)).parent
            return f"It holds files of a data set: try the name {data_set.name} and --data-dir {beside}"
    packed = [entry.name for entry in visible(folder) if entry.name.lower().endswith(PACKED)]
    if packed:
        return f"Name the file in it that holds the pictures: {folder / packed[0]}"
    return "Sort the pictures into one folder a class, or put a table beside them: path,label in labels.csv"


def subfolders(folder: Entry) -> list[Entry]:
    """The folders right in a folder, sorted, but for those that are ignored."""
    return [entry for entry in visible(folder) if entry.is_dir()]


def _picture_files(folder: Entry) -> list[File]:
    """Every picture file below a folder, sorted by path; linked folders, which may be circles, are not entered."""
    files: list[File] = []
    for entry in visible(folder):
        if entry.is_dir() and entry.suffix.lower() not in SUFFIXES:
            files += [] if entry.is_symlink() else _picture_files(entry)
        elif is_listed(entry):
            files.append(entry)
    return files


def visible(folder: Entry) -> list[Entry]:
    """What is in a folder, sorted, but for what is ignored.

    Raises:
        DataError: it may not be looked into.
    """
    try:
        return sorted((entry for entry in folder.iterdir() if not is_ignored(entry.name)), key=_name)
    except OSError as error:
        raise DataError(
            f"cannot look into {folder}: {error.strerror}", "a folder that may be read"
        ) from error


def _name(entry: Entry) -> str:
    return entry.name


def is_listed(path: Entry) -> bool:
    """Whether a person would take it for a picture: by its name (also a folder or a pipe of that name, which is then
    skipped, and said), else by its content."""
    return path.suffix.lower() in SUFFIXES or is_picture_file(path)
