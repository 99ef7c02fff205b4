"""When a picture looks like ink on paper to a model that has learned light digits on a dark ground."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.data import load_data
from convscope.prediction.inversion import hint, looks_dark_on_light


def test_digits_are_told_from_their_negatives() -> None:
    digits = load_data("mnist-10k").test
    assert digits is not None
    assert not any(map(looks_dark_on_light, digits.images))
    assert all(map(looks_dark_on_light, 255 - digits.images))


@pytest.mark.parametrize("brightness", [0, 255])
def test_an_empty_picture_says_nothing(brightness: int) -> None:
    assert not looks_dark_on_light(np.full((1, 28, 28), brightness, np.uint8))


def test_hint_says_what_to_try() -> None:
    assert hint(9, 10, was_inverted=False).endswith("Try again with --invert.")
    assert hint(9, 10, was_inverted=True).endswith("Try again without --invert.")
