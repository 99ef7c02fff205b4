"""Files that hold images and labels as arrays: NumPy's `.npz`, IDX (MNIST's format), CIFAR's binary batches.

Sizes are taken from the headers and checked against the file and the memory before anything is allocated. Nothing is
ever unpickled.
"""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from convscope.data import cifar, idx
from convscope.data.archives import FREE_TOTAL_BYTES, MAX_RATIO, ZIP_ERRORS, zip_words
from convscope.data.array_types import Bytes
from convscope.data.arrays import MAX_CLASSES, from_arrays
from convscope.data.class_folders import SPLIT_NAMES, called, enumerated, visible
from convscope.data.files import Entry
from convscope.data.image_data import ImageData
from convscope.data.mapped import memory_bytes
from convscope.errors import DataError, did_you_mean

Array = npt.NDArray[Any]

IMAGES = frozenset({"x", "images", "image", "imgs", "data", "pixels", "arr_0"})
LABELS = frozenset({"y", "labels", "label", "targets", "target", "arr_1"})
NAMES = frozenset({"class_names", "classes", "label_names", "categories", "names"})
"""What arrays in an .npz are called, in any case, with the name of a split before or behind."""

_DEFLATE_RATIO = 1040
_IDX_NAME = re.compile(r"(.*)images?([-.]?)idx([34])(.*)", re.IGNORECASE)
_IDX_SPLITS = {"train": "train", "t10k": "test", "test": "test", "val": "validation"}


# ---- .npz -----------------------------------------------------------------------------------------------------------


def read_npz(path: Path) -> ImageData:
    """The images of an .npz file.

    Raises:
        DataError: no such arrays, arrays of Python objects, damaged, too large, or not images and labels.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            found = _npz_arrays(path, packed)
    except ZIP_ERRORS as error:
        if isinstance(error, DataError | PermissionError):
            raise
        raise DataError(
            f"{path} is damaged: {zip_words(error)}", "a whole .npz file", "Copy or save it again"
        ) from error
    pairs, class_names = _sorted_out(path, found)
    return _image_data(path, "the file", pairs, class_names)


def _npz_arrays(path: Path, packed: zipfile.ZipFile) -> dict[str, Array]:
    """The arrays that are named like images, labels or class names; all headers are read before any array."""
    members = {member.filename.removesuffix(".npy"): member for member in packed.infolist()}
    wanted = [name for name in members if _role(name)[0]]
    if not wanted:
        raise DataError(
            f"{path} has the arrays {enumerated([repr(name) for name in members])}"
            if members
            else f"{path} is empty",
            "images and labels, or x_train, y_train, x_test, y_test, and perhaps class_names",
            "Save it with numpy.savez(file, images=…, labels=…)",
        )
    total = 0
    for name in wanted:
        with packed.open(members[name]) as stream:
            shape, dtype = _npy_header(path, name, cast(BinaryIO, stream))
        size = math.prod(shape) * dtype.itemsize
        if size > members[name].file_size:
            raise DataError(
                f"the array {name!r} in {path} promises {size:,} bytes and holds {members[name].file_size:,}",
                "a whole .npz file",
                "Copy or save it again",
            )
        total += size
    _check_room(path, total, path.stat().st_size)
    found = {}
    for name in wanted:
        with packed.open(members[name]) as stream:
            try:
                found[name] = np.lib.format.read_array(cast(Any, stream), allow_pickle=False)
            except ValueError as error:
                raise DataError(
                    f"the array {name!r} in {path} is damaged: {error}", "a whole array"
                ) from error
    return found


def _npy_header(path: Path, name: str, stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type; arrays of Python objects, which would have to be unpickled, are refused."""
    try:
        version = np.lib.format.read_magic(cast(Any, stream))
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(cast(Any, stream))
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(cast(Any, stream))
    except ValueError as error:
        raise DataError(f"{name!r} in {path} is no array: {str(error)[:120]}", "arrays of NumPy") from error
    if dtype.hasobject:
        raise DataError(
            f"the array {name!r} in {path} holds Python objects, which are never unpickled",
            "numbers, or words of one type",
            "Save images as one array of uint8, and labels as numbers or text",
        )
    return tuple(int(size) for size in shape), dtype


def _role(name: str) -> tuple[str, str]:
    """What an array is ("images", "labels", "names" or nothing) and of which split, by its name.

    >>> _role("x_train"), _role("test_labels"), _role("Images"), _role("class_names"), _role("weights")
    (('images', 'train'), ('labels', 'test'), ('images', 'train'), ('names', 'train'), ('', 'train'))
    """
    plain = name.lower()
    if plain in NAMES:
        return "names", "train"
    split = "train"
    for word, meant in SPLIT_NAMES.items():
        for stripped in (plain.removeprefix(f"{word}_"), plain.removesuffix(f"_{word}")):
            if stripped != plain:
                plain, split = stripped, meant
                break
    if plain in IMAGES:
        return "images", split
    return ("labels", split) if plain in LABELS else ("", split)


def _sorted_out(
    path: Path, found: dict[str, Array]
) -> tuple[dict[str, tuple[Array, Array]], tuple[str, ...] | None]:
    """Images and labels by split, and the class names where there are some."""
    parts: dict[tuple[str, str], str] = {}
    for name in found:
        role = _role(name)
        if role in parts:
            raise DataError(
                f"{path} has both {parts[role]!r} and {name!r}", f"one array of {role[0]}", "Leave one out"
            )
        parts[role] = name
    splits = dict.fromkeys(split for what, split in parts if what != "names")
    pairs = {}
    for split in splits:
        for what in ("images", "labels"):
            if (what, split) not in parts:
                other = parts["labels" if what == "images" else "images", split]
                raise DataError(
                    f"{path} has {other!r} without {what}", f"an array called {what} or like it", "Save both"
                )
        pairs[split] = (found[parts["images", split]], found[parts["labels", split]])
    if "train" not in pairs:
        raise DataError(
            f"{path} has {enumerated(list(splits))} but no train",
            "training images",
            "Add x_train and y_train",
        )
    names = found[parts["names", "train"]] if ("names", "train") in parts else None
    if names is not None and names.dtype.kind not in "US":
        raise DataError(
            f"class names of type {names.dtype} in {path}", "words", "Save them as an array of text"
        )
    return pairs, None if names is None else tuple(_words(names))


# ---- IDX ------------------------------------------------------------------------------------------------------------


def idx_pairs(folder: Entry) -> dict[str, tuple[Entry, Entry | None]]:
    """Files of images and of their labels in a folder, by split, recognised by their names.

    Raises:
        DataError: two files of images for one split.
    """
    files = {entry.name: entry for entry in visible(folder) if entry.is_file()}
    pairs: dict[str, tuple[Entry, Entry | None]] = {}
    for name, entry in files.items():
        if not _IDX_NAME.fullmatch(name):
            continue
        split = next((meant for word, meant in _IDX_SPLITS.items() if word in name.lower()), "train")
        if split in pairs:
            both = f"{pairs[split][0].name} and {name}"
            raise DataError(f"{called(folder)} has {both}", f"one file of {split} images", "Name one of them")
        pairs[split] = (entry, idx_labels(name, files))
    return pairs


def idx_labels(name: str, files: dict[str, Entry]) -> Entry | None:
    """The file of labels that belongs to a file of images, packed or not."""
    match = _IDX_NAME.fullmatch(name)
    if match is None:
        return None
    before, mark, _, rest = match.groups()
    stem = rest.lower().removesuffix(".gz")
    wanted = {
        f"{before}{word}{mark}idx1{stem}{end}".lower() for word in ("labels", "label") for end in ("", ".gz")
    }
    return next((entry for key, entry in files.items() if key.lower() in wanted), None)


def read_idx(place: Path, what: str, pairs: dict[str, tuple[Entry, Entry | None]]) -> ImageData:
    """The images of pairs of IDX files.

    Raises:
        DataError: labels are missing, a file is damaged or too large, or there is nothing to train on.
    """
    arrays = {}
    for split, (images, labels) in pairs.items():
        if labels is None:
            raise DataError(
                f"{images} has no file of labels beside it",
                "one with labels in place of images in its name, like train-labels-idx1-ubyte",
                _named_set(images),
            )
        arrays[split] = (_idx_array(images), _idx_array(labels))
    if "train" not in arrays:
        arrays = {"train": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
    if "train" not in arrays:
        raise DataError(f"{place} has {enumerated(list(arrays))} but no train", "training images", "Add them")
    return _image_data(place, what, cast(Any, arrays), None)


def _named_set(images: Entry) -> str:
    beside = Path(str(images)).parent.parent
    return f"Add it; or if it is a data set that has a name, try the name mnist and --data-dir {beside}"


def _idx_array(file: Entry) -> Bytes:
    """The array in an IDX file, packed by gzip or not; as large as its header says, which is checked first."""
    try:
        with file.open("rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if is_packed else raw
            head = stream.read(4)
            head += stream.read(4 * head[3]) if len(head) == 4 and head[3] <= 4 else b""
            size = _promised(head)
            limit = file.stat().st_size * (_DEFLATE_RATIO if is_packed else 1)
            if size > limit:
                raise DataError(
                    f"{file} promises {size:,} bytes, more than it can hold",
                    "a whole IDX file",
                    "Copy it again",
                )
            _check_room(file, size, limit)
            content = head + stream.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{file} is damaged: {error}", "a whole file packed by gzip", "Copy it again"
        ) from error
    return idx.parse(np.frombuffer(bytearray(content), dtype=np.uint8), str(file))


def _promised(head: bytes) -> int:
    """How many bytes follow an IDX header; none where it is no such header, which `idx.parse` then says."""
    if len(head) < 8 or head[:3] != b"\0\0\x08":
        return 0
    return math.prod(int.from_bytes(head[place : place + 4], "big") for place in range(4, len(head), 4))


def is_idx(path: Path) -> bool:
    """Whether a file begins like IDX, packed by gzip or not. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4)
        except zlib.error:
            return False
    return head[:3] == b"\0\0\x08" and len(head) >= 4 and 1 <= head[3] <= 4


# ---- CIFAR ----------------------------------------------------------------------------------------------------------


def has_cifar(folder: Entry) -> bool:
    """Whether a folder holds binary batches of CIFAR-10 or CIFAR-100."""
    names = {entry.name for entry in visible(folder)}
    return any(_is_batch(name) for name in names) or {"train.bin", "test.bin"} <= names


def _is_batch(name: str) -> bool:
    return name == cifar.TEST_BATCH or re.fullmatch(r"data_batch_\d+\.bin", name) is not None


def read_cifar(place: Path, what: str, folder: Entry) -> ImageData:
    """The images of CIFAR's binary batches; of CIFAR-100 with the fine labels.

    Raises:
        DataError: a batch is damaged, or there is none to train on.
    """
    files = {entry.name: entry for entry in visible(folder) if entry.is_file()}
    if any(_is_batch(name) for name in files):
        train = sorted(name for name in files if _is_batch(name) and name != cifar.TEST_BATCH)
        test, labels_a_record, names = cifar.TEST_BATCH, 1, "batches.meta.txt"
    else:
        train, test, labels_a_record, names = ["train.bin"], "test.bin", 2, "fine_label_names.txt"
    if not train:
        raise DataError(
            f"{called(folder)} has {test} but no data_batch_1.bin", "batches to train on", "Add them"
        )
    _check_room(folder, sum(files[name].stat().st_size for name in train), 10**15)
    pairs = {"train": _batches([files[name] for name in train], labels_a_record)}
    if test in files:
        pairs["test"] = _batches([files[test]], labels_a_record)
    class_names = _lines(files[names]) if names in files else None
    return _image_data(place, what, cast(Any, pairs), class_names)


def _batches(files: Sequence[Entry], labels_a_record: int) -> tuple[Bytes, Bytes]:
    """Images (N, 3, 32, 32) and labels (N,)."""
    record = labels_a_record + 3 * 32 * 32
    parts = []
    for file in files:
        with file.open("rb") as stream:
            content = np.frombuffer(stream.read(), dtype=np.uint8)
        if not len(content) or len(content) % record:
            raise DataError(
                f"{file} of {len(content):,} bytes",
                f"records of {record:,} bytes, as the binary version has",
                "Copy it again",
            )
        parts.append(content.reshape(-1, record))
    records = np.concatenate(parts)
    return records[:, labels_a_record:].reshape(-1, 3, 32, 32), records[:, labels_a_record - 1]


def _lines(file: Entry) -> tuple[str, ...]:
    with file.open("rb") as stream:
        words = stream.read(2**20).decode("utf-8", errors="replace").split("\n")
    return tuple(word.strip() for word in words if word.strip())


# ---- all of them ----------------------------------------------------------------------------------------------------


def _check_room(what: object, size: int, packed: int) -> None:
    if size > memory_bytes() // 3:
        raise DataError(
            f"{what} would take {size / 1e9:.1f} GB of memory",
            f"at most a third of this machine's {memory_bytes() / 1e9:.1f} GB",
            "Save the pictures as files in class folders, which need not fit the memory",
        )
    if size > FREE_TOTAL_BYTES and size > MAX_RATIO * packed:
        raise DataError(
            f"{what} would be {size / max(1, packed):,.0f} times as large unpacked, as if it was made to fill memory",
            f"at most {MAX_RATIO} times its size",
            "Unpack it yourself if you trust it",
        )


def _image_data(
    place: Path, what: str, pairs: dict[str, tuple[Array, Array]], class_names: tuple[str, ...] | None
) -> ImageData:
    """ImageData of arrays; labels that are words or have gaps are numbered here."""
    pairs = {split: (images, _column(labels)) for split, (images, labels) in pairs.items()}
    if class_names is None or any(labels.dtype.kind in "US" for _, labels in pairs.values()):
        names = class_names or _values(pairs["train"][1])
        pairs = {
            split: (images, _numbered(split, labels, names)) for split, (images, labels) in pairs.items()
        }
        class_names = names
    rest = {split: pairs[split] for split in ("validation", "test") if split in pairs}
    try:
        data = from_arrays(*pairs["train"], class_names=class_names, name=_stem(place), **cast(Any, rest))
    except DataError as error:
        raise DataError(f"{place}: {error.received}", error.expected, error.fix) from error
    total = sum(len(split) for split in data.splits.values())
    return replace(data, origin=f"{what} {place}: {total:,} images in {len(data.class_names)} classes")


def _stem(place: Path) -> str:
    resolved = place.resolve()
    return (resolved.name if resolved.is_dir() else resolved.name.split(".")[0]) or "arrays"


def _column(labels: Array) -> Array:
    """Labels (N, 1) as (N,)."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _values(labels: Array) -> tuple[str, ...]:
    """The different labels in order, as words."""
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS" or not len(labels):
        return ()  # from_arrays says what is wrong
    return tuple(_words(np.unique(labels)))


def _words(values: Array) -> Iterator[str]:
    for value in values.ravel().tolist():
        yield value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _numbered(split: str, labels: Array, names: tuple[str, ...]) -> Array:
    """The position of each label among the names."""
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        return labels  # from_arrays says what is wrong
    if labels.dtype.kind in "iu" and len(labels) and labels.min() < 0:
        return labels
    if len(names) > MAX_CLASSES:
        raise DataError(
            f"{len(names):,} different labels", f"at most {MAX_CLASSES:,}", "Check which array holds labels"
        )
    number = {name: k for k, name in enumerate(names)}
    values, places = np.unique(labels, return_inverse=True)
    missing = [word for word in _words(values) if word not in number]
    if missing:
        raise DataError(
            f"label {missing[0]!r} in the {split} labels, which is none of the classes",
            enumerated(list(names)),
            did_you_mean(missing[0], names) or "Every class must be among the training images",
        )
    return np.array([number[word] for word in _words(values)], dtype=np.int64)[places.ravel()]
