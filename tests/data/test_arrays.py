"""from_arrays and lecture_arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convscope.data import from_arrays, lecture_arrays, load_data
from convscope.errors import DataError

bytes_ = hnp.arrays(np.uint8, st.tuples(st.integers(2, 6), st.integers(4, 9), st.integers(4, 9)))
IMAGES = np.zeros((4, 8, 8), dtype=np.uint8)
LABELS = [0, 1, 0, 1]


@settings(deadline=None)  # machines differ
@given(bytes_, st.sampled_from(["uint8", "int64", "float32", "float64", "torch", "first", "last", "list"]))
def test_every_form_gives_the_same_bytes(images: np.ndarray[Any, Any], form: str) -> None:
    forms = {
        "uint8": lambda: images,
        "int64": lambda: images.astype(np.int64),
        "float32": lambda: images.astype(np.float32) / 255,
        "float64": lambda: images / 255,
        "torch": lambda: torch.from_numpy(images.copy()),
        "first": lambda: images[:, None],
        "last": lambda: images[..., None],
        "list": images.tolist,
    }
    data = from_arrays(forms[form](), np.arange(len(images)) % 2, class_names=["a", "b"])
    assert (data.train.images[:, 0] == images).all()
    assert data.input_shape == (1, *images.shape[1:])


def test_arrays_are_copied() -> None:
    images = IMAGES.copy()
    data = from_arrays(images, LABELS)
    images += 1
    assert data.train.images.max() == 0


def test_colour_and_channels_keyword() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 3), dtype=np.uint8)
    assert from_arrays(pixels, LABELS, channels="first").input_shape == (3, 8, 3)
    assert from_arrays(pixels, LABELS, channels="last").input_shape == (3, 3, 8)
    assert from_arrays(np.zeros((4, 8, 8, 5)), LABELS, channels="last").input_shape == (5, 8, 8)
    assert from_arrays(np.zeros((4, 8, 6, 3)), LABELS).input_shape == (3, 8, 6)


def test_splits_names_and_statistics() -> None:
    images = np.stack([np.zeros((8, 8)), np.ones((8, 8))])
    data = from_arrays(images, [0, 1], validation=(images, [1, 0]), test=(images[:1], [1]), name="mine")
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.class_names == ("0", "1")
    assert (data.name, data.preprocessing.mean, data.preprocessing.std) == ("mine", (0.5,), (0.5,))


def test_a_class_without_image_is_a_note_when_it_is_named() -> None:
    data = from_arrays(IMAGES, LABELS, class_names=["a", "b", "c"])
    assert data.notes == ("No training image for class c.",)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (IMAGES, [0, 1, 0], {}, "4 training images and 3 labels"),
        (IMAGES[:0], [], {}, "training images of shape (0, 8, 8). Expected at least one image"),
        (IMAGES[0], [0], {}, "Expected (N, H, W), (N, C, H, W) or (N, H, W, C). Add a first dimension"),
        (IMAGES, [0, 2, 0, 1], {"class_names": ["a", "b"]}, "label 2 in the train labels. Expected 0 to 1"),
        (IMAGES, [0, -1, 0, 1], {"class_names": ["a", "b"]}, "label -1"),
        (
            IMAGES,
            [0, 2, 0, 2],
            {},
            "Expected every number from 0 on. Number the classes from 0, or pass class_names",
        ),
        (IMAGES, [0, -1, 0, 1], {}, "training label -1. Expected whole numbers from 0"),
        (IMAGES, [[0], [1], [0], [1]], {}, "Take the column: labels[:, 0]"),
        (IMAGES, [0, 10**12, 0, 1], {}, "from 0 to 1000000000000"),
        (IMAGES, [0, 0, 0, 0], {}, "only one class"),
        (IMAGES, [0.0, 1.0, 0.0, 1.0], {}, "training labels of type float64. Expected whole numbers"),
        (IMAGES, ["a", "b", "a", "b"], {}, "name them by class_names"),
        (IMAGES, np.eye(4)[:, :2], {}, "labels.argmax(1)"),
        (np.full((4, 8, 8), np.nan), LABELS, {}, "training images with NaN or infinite pixels"),
        (np.full((4, 8, 8), np.inf), LABELS, {}, "NaN or infinite"),
        (
            np.full((4, 8, 8), 200.0),
            LABELS,
            {},
            "from 200 to 200. Expected values in [0, 1]. Divide them by 255",
        ),
        (np.full((4, 8, 8), -0.5), LABELS, {}, "Expected values in [0, 1]"),
        (np.full((4, 8, 8), 256), LABELS, {}, "Expected values in [0, 255]"),
        (np.zeros((4, 8, 8), dtype=bool), LABELS, {}, "training images of type bool. Expected uint8"),
        (np.zeros((4, 8, 8), dtype=complex), LABELS, {}, "of type complex128"),
        ([[[0]], [[0, 1]]], [0, 1], {}, "training images of different sizes"),
        (np.zeros((4, 3, 8, 3)), LABELS, {}, 'channels="first" or channels="last"'),
        (np.zeros((4, 8, 8, 5)), LABELS, {}, "with neither 1 nor 3 channels"),
        (np.zeros((4, 8, 8, 1)), LABELS, {"channels": "left"}, '"first" or "last"'),
        (np.zeros((4, 8, 8, 65)), LABELS, {"channels": "last"}, "at most 64"),
        (IMAGES, LABELS, {"test": IMAGES}, "test data of type ndarray. Expected a pair (images, labels)"),
        (IMAGES, LABELS, {"test": (IMAGES[:, :4], LABELS)}, "test images of shape (1, 4, 8)"),
        (IMAGES, LABELS, {"test": (IMAGES[:1], [2])}, "label 2 in the test labels"),
        (
            IMAGES,
            [0, 0, 0, 1],
            {"class_names": "abc", "test": (IMAGES[:1], [2])},
            "class 'c' is in the test split",
        ),
    ],
)
def test_bad_arrays_get_one_clear_message(
    images: Any, labels: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        from_arrays(images, labels, **options)
    assert message in str(caught.value)


def test_the_lectures_preparation() -> None:
    data = load_data("mnist-10k")
    (x_train, y_train), (x_test, y_test) = lecture_arrays(data)
    assert (x_train.shape, y_train.shape) == ((9000, 28, 28, 1), (9000, 10))
    assert (x_test.shape, y_test.shape) == ((1000, 28, 28, 1), (1000, 10))
    assert x_train.dtype == y_train.dtype == np.float32
    assert x_train.min() == 0
    assert x_train.max() == 1
    assert (y_train.argmax(1) == data.train.labels).all()
    assert (y_train.sum(1) == 1).all()
    first = lecture_arrays(data, "first")[0][0]
    assert first.shape == (9000, 1, 28, 28)
    assert (first[:, 0] == x_train[..., 0]).all()
    assert (np.rint(first * 255) == data.train.images).all()


def test_the_lectures_preparation_needs_a_test_split() -> None:
    with pytest.raises(DataError, match="arrays has no test split"):
        lecture_arrays(from_arrays(IMAGES, LABELS))
    with pytest.raises(DataError, match='"first" or "last"'):
        lecture_arrays(load_data("mnist-10k"), "middle")  # type: ignore[arg-type]
