"""Dark ink on light paper, given to a model that has only seen light digits on a dark ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from convscope.model_file import Model

DIGITS = tuple("0123456789")
LIGHT = 128  # of 255: a border brighter than this is paper, not ground


def expects_light_on_dark(model: Model) -> bool:
    """Whether the model reads digits as MNIST has them: one channel, light ink on a dark ground."""
    preprocessing = model.preprocessing
    is_dark_on_average = preprocessing.mean[0] < 0.5  # also where the recipe subtracts no mean and it is 0
    return tuple(sorted(model.class_names)) == DIGITS and preprocessing.channels == 1 and is_dark_on_average


def looks_dark_on_light(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether the border of a picture (1, H, W) is light and brighter than the picture as a whole.

    >>> page = np.full((1, 28, 28), 255, np.uint8)
    >>> page[:, 8:20, 12:16] = 0
    >>> looks_dark_on_light(page), looks_dark_on_light(255 - page)
    (True, False)
    """
    plane = pixels[0]
    border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    return bool(np.median(border) > LIGHT and np.median(border) > plane.mean())


def hint(num_inverted: int, num_pictures: int, was_inverted: bool) -> str:
    """The sentence that says what looks wrong and what to try."""
    try_again = "without --invert" if was_inverted else "with --invert"
    return (
        f"{num_inverted} of {num_pictures} pictures look like dark ink on light paper, and this model has learned"
        f" light digits on a dark ground. Try again {try_again}."
    )
