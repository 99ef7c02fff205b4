"""A table that says what each picture shows: CSV, TSV or JSON lines with a path, a label, and perhaps a split.

    path,label,split                     {"file_name": "1.jpg", "label": "cat"}
    1.jpg,cat,train                      {"file_name": "2.jpg", "label": "dog"}
    more/2.jpg,dog,test

Columns are known by their names, the separator by the first line. Paths are relative to the table and stay below it.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from convscope.data.class_folders import (
    NAMED,
    SPLIT_NAMES,
    Classes,
    Listing,
    called,
    enumerated,
    is_ignored,
    subfolders,
    visible,
)
from convscope.data.files import Entry, key_of
from convscope.data.inside import parts_of
from convscope.data.left_out import Skipped
from convscope.errors import DataError, did_you_mean

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
MAX_BYTES = 2**30
MAX_ROWS = 5_000_000
MAX_LINE_LENGTH = 2**20

Column = Literal["path", "label", "split"]
COLUMNS: dict[str, Column] = {
    **dict.fromkeys(
        ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "images", "image_path",
         "image_file", "image_name", "img", "img_path", "img_name", "picture"), "path"),
    **dict.fromkeys(
        ("label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed", "y"),
        "label"),
    **dict.fromkeys(("split", "set", "subset", "partition", "usage", "fold"), "split"),
}  # fmt: skip
"""What columns may be called, in any case, with spaces or hyphens for underscores."""

_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        table: the table's name.
        number: the line that it stands in, from 1.
        path, label: as they are written.
        split: train, validation or test.
    """

    table: str
    number: int
    path: str
    label: str
    split: str

    @property
    def where(self) -> str:
        """What to call the row in a sentence."""
        return f"line {self.number:,} of {self.table}"


def tables_in(folder: Entry) -> list[Entry]:
    """The files right in a folder that are tables by their names."""
    return [entry for entry in visible(folder) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def is_labelling(table: Entry) -> bool:
    """Whether a table has a column of paths and one of labels by its first line."""
    try:
        return {"path", "label"} <= set(_Reading(table).columns)
    except (DataError, OSError):
        return False


def chosen_tables(folder: Entry) -> dict[str | None, Entry]:
    """The table in a folder, or one for each split where they are called train.csv, test.csv and so on.

    Returns:
        By split; None where the rows say it, or all are for training.

    Raises:
        DataError: several tables, of which none can be told to be the one.
    """
    tables = tables_in(folder)
    by_split = {SPLIT_NAMES.get(_stem(table).lower()): table for table in tables}
    if len(tables) > 1 and "train" in by_split and None not in by_split and len(by_split) == len(tables):
        return {name: table for name, table in by_split.items() if name == "train" or is_labelling(table)}
    labelling = tables if len(tables) == 1 else [table for table in tables if is_labelling(table)]
    if len(labelling) > 1:
        raise DataError(
            f"{called(folder)} has {len(labelling)} tables: {enumerated([table.name for table in labelling])}",
            "one, or train.csv, val.csv and test.csv",
            f"Name the one that counts: {folder / labelling[0].name}",
        )
    return {None: labelling[0]} if labelling else {}


def listed(folder: Entry, tables: Mapping[str | None, Entry]) -> Listing:
    """The picture files that tables name.

    Args:
        folder: where the tables lie, and what their paths are relative to.
        tables: as `chosen_tables` has them.

    Raises:
        DataError: a table cannot be read, or a row contradicts another or itself; the message names the line.
    """
    rows = [row for split, table in tables.items() for row in _rows(table, split)]
    if not rows:
        raise DataError(
            f"{enumerated([str(table) for table in tables.values()])} has no rows", "a row a picture"
        )
    return _Sorting(folder, _base(folder, rows)).sort(rows, [table.name for table in tables.values()])


# ---- from a file to rows --------------------------------------------------------------------------------------------


class _Reading:
    """A table, opened: which column is where, and its rows."""

    def __init__(self, table: Entry) -> None:
        self.table, self.name = table, table.name
        self.is_json = table.suffix.lower() in (".jsonl", ".ndjson")
        self.text = _decoded(table)
        first = next((line for line in io.StringIO(self.text) if line.strip()), "")
        self.separator = "\t" if table.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
        self.header = _names(first, self.is_json, self.separator, self.name)
        self.columns = _columns(self.header)
        self.has_header = True
        if not self.columns and not self.is_json and self._looks_headless():
            self.has_header = False
            self.columns = dict(zip(("path", "label", "split"), range(len(self.header)), strict=False))

    def _looks_headless(self) -> bool:
        """Whether the first line already is a row: its first cell names a picture file."""
        from convscope.data.pictures import SUFFIXES as PICTURES

        first = self.header[0] if 2 <= len(self.header) <= 3 else ""
        return any(first.lower().endswith(suffix) for suffix in PICTURES)

    def cells(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number, and the cells of the known columns, of each row that is not empty."""
        yield from self._objects() if self.is_json else self._records()

    def _objects(self) -> Iterator[tuple[int, dict[str, str]]]:
        for number, line in enumerate(io.StringIO(self.text), start=1):
            if line.strip():
                values = _object(line, number, self.name)
                named = {_plain(key): value for key, value in values.items()}
                yield (
                    number,
                    {
                        column: _text(named.get(_plain(self.header[place])))
                        for column, place in self.columns.items()
                    },
                )

    def _records(self) -> Iterator[tuple[int, dict[str, str]]]:
        reader = csv.reader(
            io.StringIO(self.text, newline=""), delimiter=self.separator, skipinitialspace=True
        )
        try:
            for index, record in enumerate(record for record in reader if any(map(str.strip, record))):
                if index or not self.has_header:
                    yield (
                        reader.line_num,
                        {
                            column: record[place].strip() if place < len(record) else ""
                            for column, place in self.columns.items()
                        },
                    )
        except csv.Error as error:
            raise DataError(
                f"line {reader.line_num:,} of {self.name} cannot be read: {error}",
                "a row of a table",
                "Mend the line",
            ) from error


def _rows(table: Entry, split: str | None) -> Iterator[Row]:
    reading = _Reading(table)
    for column, words in (("path", "picture files"), ("label", "labels")):
        if column not in reading.columns:
            raise DataError(
                f"{table} has no column of {words}: its columns are {enumerated(reading.header)}",
                f"a column called {column}",
                _column_fix(reading.header, column),
            )
    for count, (number, cells) in enumerate(reading.cells()):
        if count >= MAX_ROWS:
            raise DataError(f"{table} has more than {MAX_ROWS:,} rows", f"at most {MAX_ROWS:,}", "Divide it")
        where = f"line {number:,} of {table.name}"
        for column in ("path", "label"):
            if not cells[column]:
                raise DataError(
                    f"{where} has no {column}", "a path and a label in every row", "Complete the line"
                )
        own = split or _split_of(cells.get("split", ""), where)
        label = unicodedata.normalize("NFC", cells["label"])
        yield Row(table.name, number, cells["path"], label, own)


def _column_fix(header: Sequence[str], column: str) -> str:
    known = [name for name, kind in COLUMNS.items() if kind == column]
    near = next((name for name in header if did_you_mean(_plain(name), known)), None)
    return f"Rename the column {near!r} to {column}" if near else f"Name one of its columns {column}"


def _split_of(word: str, where: str) -> str:
    if not word:
        return "train"
    split = SPLIT_NAMES.get(word.lower())
    if split is None:
        fix = did_you_mean(word.lower(), SPLIT_NAMES)
        raise DataError(f"{where} has the split {word[:60]!r}", "train, val or test", fix or "Mend the line")
    return split


def _decoded(table: Entry) -> str:
    """The text: UTF-8 with or without a mark, UTF-16 with one, else Latin-1, in which everything is a letter."""
    size = table.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{table} of {size / 2**20:,.0f} MiB", f"a table of at most {MAX_BYTES >> 20} MiB")
    with table.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16", "latin-1"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if "\0" in text:
        raise DataError(f"{table} is no text", "a table as CSV, TSV or JSON lines", "Save it as CSV in UTF-8")
    return text


def _names(first: str, is_json: bool, separator: str, name: str) -> list[str]:
    """The columns' names, from the first line that is not empty."""
    if not first.strip():
        raise DataError(f"{name} is empty", "a line with the columns' names, then a row a picture")
    if len(first) > MAX_LINE_LENGTH:
        raise DataError(
            f"{name} has a first line of {len(first):,} letters", "a line with the columns' names"
        )
    if is_json:
        return [str(key) for key in _object(first, 1, name)]
    try:
        return [
            cell.strip() for cell in next(csv.reader([first], delimiter=separator, skipinitialspace=True))
        ]
    except csv.Error as error:
        raise DataError(
            f"line 1 of {name} cannot be read: {error}", "a row of a table", "Mend the line"
        ) from error


def _object(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(
            f"line {number:,} of {name} is no JSON object: {line.strip()[:60]!r}",
            'a line like {"file_name": "1.jpg", "label": "cat"}',
            "Mend the line",
        )
    return value


def _text(value: Any) -> str:
    """A JSON value as a label is written: numbers and words; what is neither is none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or value is None or isinstance(value, (list, dict)):
        return str(value).lower() if isinstance(value, bool) else ""
    return str(value)


def _columns(header: Sequence[str]) -> dict[str, int]:
    """The place of each known column; the first of several that mean the same."""
    found: dict[str, int] = {}
    for place, name in enumerate(header):
        column = COLUMNS.get(_plain(name))
        if column:
            found.setdefault(column, place)
    return found


def _plain(name: str) -> str:
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def _stem(table: Entry) -> str:
    return table.name[: len(table.name) - len(table.suffix)]


# ---- from rows to files ---------------------------------------------------------------------------------------------


def _base(folder: Entry, rows: Sequence[Row]) -> Entry:
    """What the paths are relative to: the table's folder, or the one in it that has the first few pictures."""
    some = [row.path for row in islice(rows, NAMED)]
    if any(_is_there(folder, path) for path in some):
        return folder
    return next(
        (sub for sub in subfolders(folder) if any(_is_there(sub, path) for path in some)),
        folder,
    )


def _is_there(folder: Entry, path: str) -> bool:
    parts, why = parts_of(path)
    try:
        return not why and (folder / "/".join(parts)).is_file()
    except (OSError, ValueError):
        return False


@dataclass
class _Sorting:
    """Rows on their way into splits and classes."""

    folder: Entry
    base: Entry
    first: dict[str, Row] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    repeated: int = 0
    spellings: dict[str, Entry] | None = None

    def sort(self, rows: Sequence[Row], names: Sequence[str]) -> Listing:
        splits: dict[str, Classes] = {}
        for row in rows:
            file = self._file(row)
            if file is not None:
                splits.setdefault(row.split, {}).setdefault(row.label, []).append(file)
            elif row.split not in splits:
                splits[row.split] = {}
        self._check(splits, names)
        notes = []
        if self.base is not self.folder:
            notes.append(
                f"The paths in {enumerated(list(names))} are those of the folder {self.base.name} beside it."
            )
        if self.repeated:
            notes.append(f"{self.repeated:,} rows say again what an earlier one says; they are not used.")
        ordered = {name: splits[name] for name in _ORDER if splits.get(name)}
        return Listing(ordered, tuple(notes), tuple(self.skipped))

    def _file(self, row: Row) -> Entry | None:
        """The file of a row; None where it is another's, or does not exist."""
        parts, why = parts_of(row.path)
        if why:
            raise DataError(
                f"{row.where} names {row.path[:100]!r}: {why}",
                "a path relative to the table's folder, and below it",
                "Mend the line, or move the table to the pictures",
            )
        key = "/".join(parts)
        if key in self.first:
            self._check_same(row, self.first[key])
            return None
        self.first[key] = row
        file = self._found(key)
        if file is None:
            self.skipped.append(Skipped(key, f"the file does not exist ({row.where})"))
        return file

    def _found(self, key: str) -> Entry | None:
        """The file of that path; where the disk spells its letters in another way (é is written in two), that one."""
        try:
            file = self.base / key
            if file.is_file() or file.is_dir():
                return file
            if key.isascii():
                return file if _is_special(file) else None
        except (OSError, ValueError):
            return None
        if self.spellings is None:
            self.spellings = {_spelt(key_of(each, self.base)): each for each in _below(self.base)}
        return self.spellings.get(_spelt(key))

    def _check_same(self, row: Row, first: Row) -> None:
        for what, here, there in (("labels", row.label, first.label), ("splits", row.split, first.split)):
            if here != there:
                raise DataError(
                    f"{first.where} and line {row.number:,} of {row.table} give {row.path[:100]!r} two {what},"
                    f" {there!r} and {here!r}",
                    f"one of the {what} for each picture",
                    "Remove one of the lines",
                )
        self.repeated += 1

    def _check(self, splits: Mapping[str, Classes], names: Sequence[str]) -> None:
        table = enumerated(list(names))
        if not any(splits.values()):
            first = self.skipped[0]
            raise DataError(
                f"none of the {len(self.skipped):,} pictures that {table} names exists below {self.base}, like"
                f" {first.path[:100]!r}",
                "paths relative to the table's folder",
                "Put the table where its paths begin",
            )
        train = splits.get("train", {})
        if len(train) < 2:
            only = f"only the label {next(iter(train))!r}" if train else "no picture"
            raise DataError(
                f"{table} has {only} to train on", "at least two labels among the training pictures"
            )
        for split in _ORDER[1:]:
            for label in sorted(splits.get(split, {}).keys() - train.keys()):
                raise DataError(
                    f"label {label!r} is in {split} of {table} but not in train",
                    f"the labels of train ({enumerated(sorted(train))})",
                    f"Add training pictures of {label!r}, or remove its rows",
                )


def _is_special(file: Entry) -> bool:
    """Whether something is there that is neither a file nor a folder, like a pipe: whoever reads it says so."""
    try:
        file.stat()
    except OSError:
        return False
    return True


def _spelt(key: str) -> str:
    return unicodedata.normalize("NFC", key)


def _below(folder: Entry) -> Iterator[Entry]:
    for entry in folder.iterdir():
        if is_ignored(entry.name):
            continue
        if entry.is_dir():
            yield from () if entry.is_symlink() else _below(entry)
        else:
            yield entry
