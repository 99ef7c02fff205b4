"""ImageData: what it refuses, its digest, and what is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data import ImageData, Split, from_arrays, load_data
from convscope.data.sampling import stratified_pick
from convscope.errors import DataError


def data_of(labels: list[int], classes: int = 2) -> ImageData:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    return from_arrays(images, labels, class_names=[f"c{k}" for k in range(classes)])


@settings(deadline=None)  # machines differ
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=300).filter(
        lambda labels: len(set(labels)) < len(labels)
    ),
    st.floats(0.01, 0.99),
    st.integers(0, 2**63),
)
def test_every_class_gives_its_share(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels)
    picked = stratified_pick(array, fraction, seed)
    assert (np.diff(picked) > 0).all()
    for label in set(labels):
        count, given_up = (array == label).sum(), (array[picked] == label).sum()
        assert given_up == min(max(1, round(count * fraction)), count - 1)


def test_hold_out_is_a_function_of_the_seed_alone() -> None:
    data = load_data("mnist-10k")
    first, again, other = data.hold_out(0.1, 0), data.hold_out(0.1, 0), data.hold_out(0.1, 1)
    assert first.digest == again.digest != other.digest
    assert first.validation is not None
    assert len(first.train) + len(first.validation) == len(data.train)
    assert first.hold_out(0.5, 3) is first
    assert "held out for validation (seed 0)" in first.notes[-1]
    # Pinned: the same images on every machine and NumPy.
    assert stratified_pick(np.zeros(20, dtype=np.int64), 0.2, 0).tolist() == PICKED


PICKED = [2, 4, 6, 18]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_hold_out_refuses_other_shares(fraction: float) -> None:
    with pytest.raises(DataError, match="a number between 0 and 1"):
        data_of([0, 0, 1, 1]).hold_out(fraction, 0)


def test_hold_out_needs_a_class_of_two() -> None:
    with pytest.raises(DataError, match="one image in every class"):
        data_of([0, 1]).hold_out(0.5, 0)


def test_digest_sees_pixels_labels_and_names() -> None:
    data = data_of([0, 1])
    assert data.digest == data_of([0, 1]).digest
    assert data.digest != data_of([1, 0]).digest
    assert data.digest != replace(data, class_names=("x", "y")).digest
    assert data.digest != replace(data, test=data.train).digest
    assert data.digest == replace(data, name="other", notes=("n",)).digest


def test_splits_that_disagree_are_refused() -> None:
    data = data_of([0, 0, 1])
    images, labels = data.train.images, data.train.labels
    for change, message in [
        ({"class_names": ("one",)}, "only one class, 'one'"),
        ({"class_names": ("a", "a")}, "the class name 'a' twice"),
        ({"train": Split(images, labels[:2])}, "3 train images and 2 labels"),
        ({"train": Split(images[:0], labels[:0])}, "no train image"),
        ({"train": Split(images, labels + 1)}, "label 2 in the train labels. Expected 0 to 1"),
        ({"train": Split(images, labels - 1)}, "label -1 in the train labels"),
        ({"train": Split(images.astype(np.float32), labels)}, "Expected uint8"),  # type: ignore[arg-type]
        ({"test": Split(images[:, :, :2], labels)}, "test images of shape (1, 2, 4)"),
        (
            {"train": Split(images, labels * 0), "test": Split(images, labels)},
            "class 'c1' is in the test split but",
        ),
    ]:
        with pytest.raises(DataError) as caught:
            replace(data, **change)  # type: ignore[arg-type]
        assert message in str(caught.value)
