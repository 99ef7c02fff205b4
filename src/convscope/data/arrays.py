"""Arrays from Python as ImageData and back: `from_arrays`, `lecture_arrays`, and images of another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from convscope.data.array_types import Bytes, Floats, Labels
from convscope.data.image_data import ImageData, Split
from convscope.data.preprocessing import MAX_CHANNELS, Fit, Preprocessing
from convscope.data.statistics import mean_and_std
from convscope.errors import DataError

Channels = Literal["first", "last"]

MAX_CLASSES = 100_000
_USUAL_CHANNELS = (1, 3)


def from_arrays(
    images: Any,
    labels: Any,
    *,
    class_names: Sequence[str] | None = None,
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    name: str = "arrays",
    channels: Channels | None = None,
) -> ImageData:
    """ImageData from NumPy arrays, torch tensors or nested lists; everything is copied.

    Args:
        images: (N, H, W), (N, C, H, W) or (N, H, W, C); whole numbers in [0, 255] or floats in [0, 1].
        labels: whole numbers (N,), class k is k.
        class_names: in label order; None names classes "0", "1", …, and then every one must have an image.
        validation: (images, labels) likewise.
        test: (images, labels) likewise.
        name: what to call the data.
        channels: where the channels are, "first" or "last"; only needed where the shape leaves it open.

    Raises:
        DataError: a wrong type, rank, length or value; the message says what came and what to do.

    >>> data = from_arrays(np.zeros((4, 8, 8), dtype=np.uint8), [0, 1, 0, 1], class_names=["no", "yes"])
    >>> data.input_shape, len(data.train)
    ((1, 8, 8), 4)
    """
    pairs = {"training": (images, labels), "validation": validation, "test": test}
    splits = {key: _split(key, pair, channels) for key, pair in pairs.items() if pair is not None}
    train = splits["training"]
    names = _numbered(train.labels) if class_names is None else tuple(str(name) for name in class_names)
    mean, std = mean_and_std(train.images)
    return ImageData(
        name=name,
        train=train,
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=names,
        origin=f"{name}: arrays from Python",
        preprocessing=Preprocessing(train.images.shape[2:], train.images.shape[1], mean=mean, std=std),
        notes=_empty_classes(train.labels, names),
    )


def lecture_arrays(
    data: ImageData, channels: Channels = "last"
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """The lecture's preparation: pixels / 255 and one-hot labels, all float32.

    Args:
        data: with a test split.
        channels: "last" for (N, H, W, C) as in Keras, "first" for (N, C, H, W) as in PyTorch.

    Returns:
        (x_train, y_train), (x_test, y_test); y is (N, K).

    Raises:
        DataError: no test split, or `channels` is neither.

    >>> from convscope.data import load_data
    >>> (x_train, y_train), (x_test, y_test) = lecture_arrays(load_data("mnist-10k"))
    >>> x_train.shape, y_train.shape, float(x_train.max())
    ((9000, 28, 28, 1), (9000, 10), 1.0)
    """
    _check_channels(channels)
    if data.test is None:
        raise DataError(f"{data.name} has no test split", "one, as the lecture has", "Use mnist or mnist-10k")
    classes = len(data.class_names)
    return _lecture_split(data.train, classes, channels), _lecture_split(data.test, classes, channels)


def resized(
    data: ImageData,
    size_px: int | tuple[int, int] | None,
    channels: int | None,
    fit: Fit | None = None,
    like: Preprocessing | None = None,
) -> ImageData:
    """The same data with images of another size or number of channels (1 or 3), fitted by `fit`.

    What is None is as `like` has it, if given, else as it is. Images that have the size keep their pixels; the data
    come back as they are if nothing changes.

    Raises:
        DataError: the size, the channels or the fit are not possible.
    """
    before = data.preprocessing
    own = before if like is None else like
    size = own.size_px if size_px is None else size_pair(size_px)
    wanted = Preprocessing(size, own.channels if channels is None else channels).fitted(fit, own)
    if wanted.input_shape == before.input_shape:
        same = before.fitted(fit)
        return data if same == before else replace(data, preprocessing=same)
    splits = {
        name: Split(_redrawn(split.images, wanted), split.labels) for name, split in data.splits.items()
    }
    mean, std = mean_and_std(splits["train"].images)
    return replace(
        data,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        preprocessing=replace(wanted, mean=mean, std=std),
    )


def size_pair(size_px: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a side or a pair."""
    return (size_px, size_px) if isinstance(size_px, int) else size_px


def _redrawn(images: Bytes, preprocessing: Preprocessing) -> Bytes:
    if images.shape[1] not in _USUAL_CHANNELS:
        raise DataError(f"images of {images.shape[1]} channels", "1 or 3 channels, to change their size")
    result = np.empty((len(images), *preprocessing.input_shape), dtype=np.uint8)
    for position, image in enumerate(images):
        pixels = (
            image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        )  # (H, W[, 3])
        result[position] = preprocessing.pixels(Image.fromarray(pixels))
    return result


def _lecture_split(split: Split, classes: int, channels: Channels) -> tuple[Floats, Floats]:
    images = split.images.astype(np.float32) / np.float32(255)
    ordered = np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if channels == "last" else images
    return ordered, np.eye(classes, dtype=np.float32)[split.labels]


def _split(name: str, pair: tuple[Any, Any], channels: Channels | None) -> Split:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise DataError(f"{name} data of type {type(pair).__name__}", "a pair (images, labels)")
    images = _images(name, _array(f"{name} images", pair[0]), channels)
    labels = _labels(name, _array(f"{name} labels", pair[1]))
    if len(images) != len(labels):
        raise DataError(f"{len(images)} {name} images and {len(labels)} labels", "one label an image")
    return Split(images, labels)


def _array(what: str, values: Any) -> np.ndarray[Any, Any]:
    """`values` as an array; torch tensors are recognised without importing torch."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise DataError(f"{what} of different sizes", "the same size for all", "Resize them first") from None


def _images(name: str, array: np.ndarray[Any, Any], channels: Channels | None) -> Bytes:
    if array.ndim not in (3, 4):
        raise DataError(
            f"{name} images of shape {array.shape}",
            "(N, H, W), (N, C, H, W) or (N, H, W, C)",
            "Add a first dimension for a single image: images[None]" if array.ndim == 2 else "",
        )
    if not array.size:
        raise DataError(f"{name} images of shape {array.shape}", "at least one image with at least one pixel")
    ordered = array[:, None] if array.ndim == 3 else _channels_first(name, array, channels)
    return _as_bytes(name, ordered)


def _channels_first(
    name: str, array: np.ndarray[Any, Any], channels: Channels | None
) -> np.ndarray[Any, Any]:
    where = channels or _guessed(name, array.shape)
    _check_channels(where)
    return array if where == "first" else array.transpose(0, 3, 1, 2)


def _guessed(name: str, shape: tuple[int, ...]) -> Channels:
    first, last = shape[1] in _USUAL_CHANNELS, shape[3] in _USUAL_CHANNELS
    if first == last:
        problem = "which may have its channels first or last" if first else "with neither 1 nor 3 channels"
        raise DataError(
            f"{name} images of shape {shape}, {problem}",
            fix='Say where they are: channels="first" or channels="last"',
        )
    return "first" if first else "last"


def _check_channels(channels: str) -> None:
    if channels not in ("first", "last"):
        raise DataError(f"channels={channels!r}", '"first" or "last"')


def _as_bytes(name: str, array: np.ndarray[Any, Any]) -> Bytes:
    """Whole numbers in [0, 255] or floats in [0, 1] as a fresh uint8 array."""
    if array.shape[1] > MAX_CHANNELS:
        raise DataError(f"{name} images of {array.shape[1]} channels", f"at most {MAX_CHANNELS}")
    if array.dtype.kind in "iu":
        _check_range(name, array, 255)
        return np.array(array, dtype=np.uint8, order="C")
    if array.dtype.kind != "f":
        fix = "Convert them with images.astype(numpy.uint8) or .astype(numpy.float32)"
        raise DataError(f"{name} images of type {array.dtype}", "uint8 in [0, 255] or floats in [0, 1]", fix)
    if not np.isfinite(array).all():
        where = "Find them with numpy.isfinite(images)"
        raise DataError(f"{name} images with NaN or infinite pixels", "finite numbers in [0, 1]", where)
    _check_range(name, array, 1)
    return np.array(np.rint(array * np.float32(255)), dtype=np.uint8, order="C")


def _check_range(name: str, array: np.ndarray[Any, Any], highest: int) -> None:
    low, high = array.min(), array.max()
    if low >= 0 and high <= highest:
        return
    fix = "Divide them by 255, or convert them to uint8" if highest == 1 and low >= 0 and high <= 255 else ""
    raise DataError(
        f"{name} images of type {array.dtype} from {low:g} to {high:g}", f"values in [0, {highest}]", fix
    )


def _labels(name: str, array: np.ndarray[Any, Any]) -> Labels:
    if array.ndim != 1:
        fix = "One-hot labels become numbers by labels.argmax(1)" if array.ndim == 2 else ""
        if array.ndim == 2 and array.shape[1] == 1:
            fix = "Take the column: labels[:, 0]"
        raise DataError(f"{name} labels of shape {array.shape}", "(N,), one number an image", fix)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{name} labels of type {array.dtype}",
            "whole numbers from 0",
            "Number the classes from 0, with labels.astype(int) if they are whole, and name them by class_names",
        )
    if array.size and array.min() < 0:
        raise DataError(f"{name} label {array.min()}", "whole numbers from 0", "Number the classes from 0")
    return array.astype(np.int64)


def _numbered(labels: Labels) -> tuple[str, ...]:
    """Names for classes 0, 1, …, when nobody gave any; then every one must occur."""
    present = np.unique(labels)
    low, high = int(present[0]), int(present[-1])
    if len(present) != high + 1:
        raise DataError(
            f"training labels with {len(present)} different values from {low} to {high}",
            "every number from 0 on",
            "Number the classes from 0, or pass class_names if a class has no image",
        )
    return tuple(str(label) for label in present)


def _empty_classes(labels: Labels, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MAX_CLASSES:
        raise DataError(f"{len(names)} classes", f"at most {MAX_CLASSES}")
    empty = [name for label, name in enumerate(names) if label not in set(labels.tolist())]
    return (
        (f"No training image for class {', '.join(empty[:5])}{' …' if len(empty) > 5 else ''}.",)
        if empty
        else ()
    )
