"""Parquet files with a column of pictures, as Hugging Face's data sets have them. Needs pyarrow, the extra `parquet`.

    image: struct<bytes: binary, path: string>  (or plain binary)      label: integers with names, or words
    data/train-00000-of-00002.parquet  data/validation-00000-of-00001.parquet  data/test-00000-of-00001.parquet

Labels are read at once. Pictures are copied, a few rows at a time, into a nameless file of ours when the first of them
is wanted, so that memory stays small however large a row group is.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from convscope.data.archives import FREE_TOTAL_BYTES, MAX_RATIO, MAX_TOTAL_BYTES
from convscope.data.class_folders import SPLIT_NAMES, Classes, Listing, enumerated, is_ignored
from convscope.data.inside import Blob, Inside, spooled
from convscope.data.left_out import Skipped
from convscope.data.pictures import SUFFIXES
from convscope.data.tables import COLUMNS
from convscope.errors import DataError, MissingExtraError

MAX_ROWS = 5_000_000
ROWS_AT_ONCE = 8
MAX_DEPTH = 3
_MARK = b"PAR1"
_FINE = "fine_label"


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its content. Raises OSError."""
    with path.open("rb") as stream:
        return stream.read(4) == _MARK


def parquet_files(folder: Path, depth: int = MAX_DEPTH) -> list[Path]:
    """The Parquet files below a folder, sorted; not far below, and not in links."""
    found = []
    for entry in sorted(folder.iterdir()):
        if is_ignored(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink() and depth > 1:
            found += parquet_files(entry, depth - 1)
        elif entry.suffix.lower() == ".parquet" and entry.is_file():
            found.append(entry)
    return found


def listed(place: Path, files: Sequence[Path]) -> tuple[Inside, Listing]:
    """The pictures in Parquet files, and the place they have there.

    Raises:
        DataError: a file is damaged, or has no columns of pictures and labels.
        MissingExtraError: pyarrow is not installed.
    """
    root = place if place.is_dir() else place.parent
    tables = [_Table.opened(file, file.relative_to(root).as_posix()) for file in files]
    by_table = _splits_of(tables)
    splits: dict[str, Classes] = {}
    skipped: list[Skipped] = []
    unlabelled = []
    for table in tables:
        rows = list(table.rows())
        if rows and all(label is None for _, label, _ in rows):
            unlabelled.append(table.key)
            continue
        for number, label, path in rows:
            row = table.row(number, path)
            if label is None:
                skipped.append(Skipped(row.key, "it has no label"))
            else:
                splits.setdefault(by_table[table.key], {}).setdefault(label, []).append(row)
    _check(place, splits)
    notes = (f"Not used, as it has no labels: {enumerated(unlabelled)}.",) if unlabelled else ()
    ordered: dict[str, Classes] = {
        name: splits[name] for name in ("train", "validation", "test") if name in splits
    }
    return Inside(str(place), "", place.stat()), Listing(ordered, notes, tuple(skipped))


def _check(place: Path, splits: Mapping[str, Classes]) -> None:
    train = splits.get("train", {})
    if len(train) < 2:
        only = f"only the label {next(iter(train))!r}" if train else "no picture with a label"
        raise DataError(
            f"{place} has {only} to train on",
            "at least two labels in a file called train-….parquet, or in one file",
            "Check the column of labels and the files' names",
        )
    for split, classes in splits.items():
        for label in sorted(classes.keys() - train.keys()):
            raise DataError(
                f"label {label!r} is in {split} of {place} but not in train",
                f"the labels of train ({enumerated(sorted(train))})",
                f"Remove its rows from {split}",
            )


def _splits_of(tables: Sequence[_Table]) -> dict[str, str]:
    """The split of each file by its name, or the folder's it is in; all are for training where none says so."""
    found = {}
    for table in tables:
        parts = PurePosixPath(table.key)
        words = [
            re.split(r"[-_.]", parts.name)[0].lower(),
            *(part.lower() for part in reversed(parts.parts[:-1])),
        ]
        found[table.key] = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")
    if len(tables) == 1 or not any(found.values()):
        return dict.fromkeys(found, "train")
    unknown = [key for key, split in found.items() if not split]
    if unknown:
        raise DataError(
            f"{unknown[0]} has no split in its name, and others have",
            "names like train-0.parquet, validation-0.parquet, test-0.parquet",
            "Rename it, or name one file",
        )
    return found


@dataclass(frozen=True)
class _Table:
    """One Parquet file.

    Args:
        path: where it is.
        key: its path in the place that was named.
        image: its column of pictures; `parts` are what to read of it for bytes and for paths.
        label: its column of labels; `names` are what numbers in it mean.
    """

    path: Path
    key: str
    image: str
    parts: Mapping[str, str]
    label: str
    names: tuple[str, ...] | None
    pictures: _Pictures = field(repr=False)

    @classmethod
    def opened(cls, path: Path, key: str) -> _Table:
        """Find the columns by their types and names. Raises DataError."""
        file = _file(path)
        if file.metadata.num_rows > MAX_ROWS:
            raise DataError(
                f"{path} has {file.metadata.num_rows:,} rows", f"at most {MAX_ROWS:,}", "Divide it"
            )
        schema = file.schema_arrow
        features = _features(schema.metadata or {})
        image, parts = _image_column(path, schema)
        label = _label_column(path, schema, features, image)
        names = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
        is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return cls(
            path, key, image, parts, label, tuple(names or ()) if is_named else None, _Pictures(path, parts)
        )

    def rows(self) -> Iterator[tuple[int, str | None, str]]:
        """Number, label and path of each row; a label below 0, or none, is none."""
        columns = [self.label, *([self.parts["path"]] if "path" in self.parts else [])]
        number = 0
        for batch in _batches(self.path, columns, 4096):
            labels = batch.column(self.label).to_pylist()
            paths = _paths(batch, self.image) if "path" in self.parts else [None] * len(labels)
            for label, path in zip(labels, paths, strict=True):
                yield number, self._named(label, number), path if isinstance(path, str) else ""
                number += 1

    def _named(self, label: Any, number: int) -> str | None:
        if label is None or label == "":
            return None
        if isinstance(label, bool) or not isinstance(label, int):
            if isinstance(label, (str, bool)):
                return str(label)
            raise DataError(
                f"row {number:,} of {self.path} has a label of type {type(label).__name__}",
                "a number or a word",
            )
        if label < 0:
            return None
        if self.names is None:
            return str(label)
        if label >= len(self.names):
            raise DataError(
                f"row {number:,} of {self.path} has the label {label}",
                f"0 to {len(self.names) - 1}, one for each of its {len(self.names)} names",
                "Mend the table",
            )
        return self.names[label]

    def row(self, number: int, path: str) -> Inside:
        """The picture in a row, as a file."""
        suffix = PurePosixPath(path.replace("\\", "/")).suffix.lower()
        key = f"{self.key}/{number}{suffix if suffix in SUFFIXES else ''}"
        return _Picture(self, key, number)


class _Picture(Inside):
    """A picture in a row. How large it is, is known only when the pictures have been copied."""

    __slots__ = ("_number", "_pictures")

    def __init__(self, table: _Table, key: str, number: int) -> None:
        super().__init__(
            str(table.path.parent), key, table.pictures.status, 0, partial(table.pictures.opened, number)
        )
        self._pictures, self._number = table.pictures, number

    def stat(self) -> Any:
        self.size_bytes = self._pictures.size(self._number)
        return super().stat()


class _Pictures:
    """The pictures of one Parquet file, copied when the first of them is wanted."""

    def __init__(self, path: Path, parts: Mapping[str, str]) -> None:
        self.path, self._parts, self.status = path, parts, path.stat()
        self._lock = threading.Lock()
        self._places: list[tuple[int, int] | None] = []
        self._blob: Blob | None = None
        self._damage = ""

    def size(self, number: int) -> int:
        """In bytes. Raises DataError where the row has no picture or it cannot be read."""
        return self._place(number)[1]

    def opened(self, number: int) -> BinaryIO:
        """The picture's bytes. Raises DataError."""
        start, size = self._place(number)
        assert self._blob is not None, "_place copies"
        return self._blob.window(start, size)

    def _place(self, number: int) -> tuple[int, int]:
        with self._lock:
            if self._blob is None:
                self._blob = spooled(self._copied(), self.status)
        if number >= len(self._places):
            raise DataError(self._damage or "the table ends before it")
        place = self._places[number]
        if place is None:
            raise DataError("the row holds no picture")
        return place

    def _copied(self) -> Iterator[bytes]:
        total = 0
        try:
            for batch in _batches(self.path, [self._parts["bytes"]], ROWS_AT_ONCE):
                for content in _contents(batch):
                    self._places.append(None if content is None else (total, len(content)))
                    total += len(content or b"")
                    if total > MAX_TOTAL_BYTES or total > max(
                        FREE_TOTAL_BYTES, MAX_RATIO * self.status.st_size
                    ):
                        raise DataError(
                            "unpacks to far more than its file holds, as if it was made to fill disks"
                        )
                    yield content or b""
        except DataError as error:
            self._damage = f"damaged in the table: {error.received}"


def _file(path: Path) -> Any:
    """The file, opened by pyarrow."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path} is a Parquet file, and pyarrow is not installed",
            "the extra that reads it",
            "Install it with: pip install 'convscope[parquet]'",
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
    except (arrow.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise _damaged(path, error) from error


def _batches(path: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    import pyarrow as arrow

    with _file(path) as file:
        try:
            yield from file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    words = " ".join(str(error).split())[:160]
    return DataError(f"{path} is damaged: {words}", "a whole Parquet file", "Copy or download it again")


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What Hugging Face's datasets says of the columns."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _image_column(path: Path, schema: Any) -> tuple[str, dict[str, str]]:
    """The column of pictures, and the columns inside it that hold bytes and paths."""
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    found: dict[str, dict[str, str]] = {}
    for column in schema:
        if is_bytes(column.type):
            found[column.name] = {"bytes": column.name}
        elif types.is_struct(column.type):
            inner = {part.name: part.type for part in column.type}
            if "bytes" in inner and is_bytes(inner["bytes"]):
                found[column.name] = {"bytes": f"{column.name}.bytes"}
                if "path" in inner:
                    found[column.name]["path"] = f"{column.name}.path"
    named = [name for name in found if COLUMNS.get(name.lower()) == "path"]
    chosen = named[:1] or list(found)
    if len(chosen) != 1:
        raise DataError(
            f"{path} has {'several columns' if chosen else 'no column'} of pictures: its columns are"
            f" {enumerated(list(schema.names))}",
            "one column called image, with each picture's file as bytes",
            "Save it with datasets.Image(), or name its column image",
        )
    return chosen[0], found[chosen[0]]


def _label_column(path: Path, schema: Any, features: Mapping[str, Any], image: str) -> str:
    names = [name for name in schema.names if name != image]
    known = [name for name in names if COLUMNS.get(name.lower()) == "label"]
    classes = [name for name in names if isinstance(features.get(name), dict) and features[name].get("names")]
    chosen = known[:1] or ([_FINE] if _FINE in names else classes)
    if len(chosen) != 1:
        raise DataError(
            f"{path} has no column of labels that can be told: its columns are {enumerated(list(schema.names))}",
            "a column called label",
            "Rename the one that counts",
        )
    return str(chosen[0])


def _paths(batch: Any, image: str) -> list[Any]:
    return [
        value.get("path") if isinstance(value, dict) else None for value in batch.column(image).to_pylist()
    ]


def _contents(batch: Any) -> Iterator[bytes | None]:
    for value in batch.column(0).to_pylist():
        yield value.get("bytes") if isinstance(value, dict) else value
