"""load_data: from what a user types to ImageData."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from convscope.data import held, sets, sources
from convscope.data.arrays import resized
from convscope.data.data_set import DataSet
from convscope.data.download import download_set
from convscope.data.folder import load_pictures
from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Fit, Preprocessing
from convscope.data.reader import MOST_UNREADABLE, Reader
from convscope.data.sets.mnist import MNIST
from convscope.data.sets.mnist_10k import MNIST_10K
from convscope.errors import DataError, did_you_mean

Source = str | os.PathLike[str] | ImageData | None
Size = int | tuple[int, int]

FALLBACK_PATIENCE_S = 10.0


class DataSetRow(TypedDict):
    """One line of `convscope data list`."""

    name: str
    description: str
    classes: int
    train: int
    test: int
    input_shape: tuple[int, int, int]
    at_hand: bool
    where: str | None


def load_data(
    source: Source = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    size_px: Size | None = None,
    channels: int | None = None,
    salvage: bool = False,
    most_unreadable: float = MOST_UNREADABLE,
    fit: Fit | None = None,
    like: Preprocessing | None = None,
    progress: Callable[[str], None] | None = None,
) -> ImageData:
    """Images with labels, from wherever they are.

    Args:
        source: the name of a data set (it wins over a folder of that name: `./mnist` is the folder), a folder
            of class folders or with a table, an archive, a table, a Parquet, .npz or IDX file (docs/data.md), ImageData
            (returned as it is), or None: mnist where it is at hand or comes
            within a few seconds, else the bundled mnist-10k.
        data_dir: a folder with `mnist/`, `fashion-mnist/`, `cifar10/` …; else the variable CONVSCOPE_DATA.
        offline: never try the network.
        size_px: a side, or (height, width); None keeps a data set's size and brings photos to 64.
        channels: 1 or 3; None keeps what the data have.
        salvage: read what damaged picture files still hold, instead of skipping them.
        most_unreadable: a larger share of picture files that cannot be read is refused, in [0, 1].
        fit: "squash", "crop" or "pad", how pictures of another shape are brought to that size; None squashes.
        like: a model's, whose size, channels, fit and filter are taken where the three above are None.
        progress: receives a line for every thing worth saying; a download's, and those of pictures being
            decoded, are `Transfer`, with bytes.

    Raises:
        DataError: unknown name, no such folder, wrong files, no network; the message says what to do.

    >>> load_data("mnist-10k").input_shape
    (1, 28, 28)
    """
    say = progress or _silence
    if isinstance(source, ImageData):
        return resized(source, size_px, channels, fit, like)
    if source is None:
        return resized(_default(data_dir, offline, say), size_px, channels, fit, like)
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            f"data of type {type(source).__name__}",
            "the name of a data set, a folder, or ImageData",
            "Arrays become ImageData with convscope.from_arrays(images, labels)",
        )
    if isinstance(source, str) and source in sets.BY_NAME:
        return resized(_named(sets.BY_NAME[source], data_dir, offline, say), size_px, channels, fit, like)
    reader = Reader(size_px, channels, salvage, most_unreadable, fit, like)
    found = _found(source)
    if isinstance(found, ImageData):
        return resized(found, size_px, channels, fit, like)
    return load_pictures(found, reader, progress=say)


def datasets(data_dir: str | os.PathLike[str] | None = None) -> list[DataSetRow]:
    """Every data set that has a name, and whether its files are here (by name; reading checks them)."""
    return [_row(data_set, held.find(data_set, data_dir)) for data_set in sets.ALL]


def _row(data_set: DataSet, found: held.Held | None) -> DataSetRow:
    return DataSetRow(
        name=data_set.name,
        description=data_set.description,
        classes=len(data_set.class_names),
        train=data_set.num_train,
        test=data_set.num_test,
        input_shape=data_set.input_shape,
        at_hand=found is not None,
        where=str(found.place.folder) if found else None,
    )


def _default(data_dir: str | os.PathLike[str] | None, offline: bool, say: Callable[[str], None]) -> ImageData:
    """MNIST if it is here or comes quickly, else what ships with the package, saying which and why."""
    found = held.find(MNIST, data_dir)
    if found is not None:
        return _image_data(found)
    try:
        return _image_data(_fetched(MNIST, offline, say, FALLBACK_PATIENCE_S))
    except DataError as error:
        note = f"Using mnist-10k, which ships with convscope, because {_clause(error.received)}."
    data = _named(MNIST_10K, data_dir, offline, say)
    return replace(data, notes=(note, *data.notes))


def _clause(sentence: str) -> str:
    return sentence.rstrip(".")


def _named(
    data_set: DataSet, data_dir: str | os.PathLike[str] | None, offline: bool, say: Callable[[str], None]
) -> ImageData:
    found = held.find(data_set, data_dir) or _fetched(data_set, offline, say, None)
    data = _image_data(found)
    if Path(data_set.name).is_dir():
        note = f"This is the data set {data_set.name}; the folder of that name here is ./{data_set.name}."
        data = replace(data, notes=(*data.notes, note))
    return data


def _image_data(found: held.Held) -> ImageData:
    data_set = found.data_set
    train, test = data_set.read(found.read())
    return ImageData(
        name=data_set.name,
        train=train,
        validation=None,
        test=test,
        class_names=data_set.class_names,
        origin=f"{data_set.name}: {data_set.description}; files from {found.place.kind}",
        preprocessing=data_set.preprocessing,
        notes=(data_set.note,) if data_set.note else (),
    )


def _fetched(
    data_set: DataSet, offline: bool, say: Callable[[str], None], patience_s: float | None
) -> held.Held:
    if offline:
        raise DataError(
            f"{data_set.name} is not at hand, and offline tries no download",
            "its files (" + ", ".join(file.name for file in data_set.files) + ") in a data folder",
            f"Put them in FOLDER/{data_set.folders[0]} and pass --data-dir FOLDER, or use mnist-10k, built in",
        )
    return download_set(data_set, say, patience_s=patience_s)


def _found(source: str | os.PathLike[str]) -> sources.Pictures | ImageData:
    place = Path(source).expanduser()
    if source and sources.exists(place):
        try:
            return sources.find(place)
        except OSError as error:
            raise DataError(
                f"cannot read {place}: {error.strerror or error}", "data that may be read"
            ) from error
    if isinstance(source, str) and not {"/", "\\"} & set(source):
        raise _unknown(source)
    raise DataError(
        f"{source} does not exist", f"a folder of class folders, or a file: {sources.KINDS}", "Check the path"
    )


def _unknown(name: str) -> DataError:
    suggestion = did_you_mean(name.lower().replace("_", "-"), sets.BY_NAME)
    return DataError(
        f"unknown data set {name[:100]!r}, and no folder or file of that name here",
        ", ".join(sets.BY_NAME) + ", or a folder of class folders",
        suggestion or "`convscope data list` shows them all",
    )


def _silence(line: str) -> None:
    """Nobody listens."""
