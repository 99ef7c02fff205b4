"""How the user's images are prepared for training, and what a run says about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from convscope.data.preprocessing import Fit, Preprocessing
from convscope.training.augmentation import Augmentation
from convscope.training.augmentation_text import READY, augmentation_of, described, require_words
from convscope.training.settings import one_of, refuse

if TYPE_CHECKING:
    from convscope.training.recipe import Recipe

Size = int | tuple[int, int]

_FITTED = {"squash": "stretched", "crop": "cropped", "pad": "fitted with black bars"}
_BALANCED = {
    "weights": "An image counts as much in the loss as its class is rare",
    "sampler": "Every class has equally many turns in an epoch",
}


@dataclass(frozen=True)
class Preparation:
    """What the user gave; None is what was left open. See `train`."""

    size_px: Size | None = None
    fit: Fit | None = None
    augment: str | Augmentation | None = None
    hold_out: float | None = None
    limit_per_class: int | None = None
    balance: str | None = None

    def __post_init__(self) -> None:
        refuse(one_of("fit", self.fit, get_args(Fit)) if self.fit is not None else [])
        if isinstance(self.augment, str):
            require_words(self.augment)

    def adjusted(self, recipe: Recipe) -> Recipe:
        """The recipe with what was given, but for the augmentation."""
        return recipe.adjusted(
            hold_out=self.hold_out, limit_per_class=self.limit_per_class, balance=self.balance
        )

    def augmented(self, recipe: Recipe, input_shape: tuple[int, int, int], default: str | None) -> Recipe:
        """The recipe with the augmentation given, for images (C, H, W); `default` in words where it has none.

        Raises:
            RecipeError: it does not go with the recipe.
        """
        if isinstance(self.augment, Augmentation):
            return replace(recipe, augmentation=self.augment)
        words = self.augment if self.augment is not None or recipe.augmentation else default
        return recipe if words is None else replace(recipe, augmentation=augmentation_of(words, input_shape))


def usual_augmentation(input_shape: tuple[int, int, int]) -> str:
    """What is taken for pictures of the user's own, of this shape (C, H, W), where nothing is said.

    Photos are what they are when mirrored and moved. Gray pictures may be digits, letters or scans, which are something
    else in a mirror, so they are only moved a little. What does more (zoom, light, mixing) wants more epochs.
    """
    return "photos" if input_shape[0] == 3 else "light"


def sentences(recipe: Recipe, preprocessing: Preprocessing, are_pictures: bool) -> list[str]:
    """What is done to the images, a sentence each.

    Args:
        recipe: of the run.
        preprocessing: that made the images.
        are_pictures: whether they came from files of their own sizes.
    """
    found = []
    height, width = preprocessing.size_px
    if are_pictures:
        found.append(
            f"Pictures are {_FITTED[preprocessing.fit]} to {width}×{height} (--fit {preprocessing.fit})."
        )
    if recipe.augmentation and are_pictures:
        found.append(
            f"In training they are {described(recipe.augmentation)}; --augment none leaves them as they are."
        )
    elif recipe.augmentation:
        found.append(f"Training images are {described(recipe.augmentation)}.")
    if recipe.balance != "none":
        found.append(f"{_BALANCED[recipe.balance]} (--balance {recipe.balance}).")
    return found


__all__ = ["READY", "Preparation", "sentences", "usual_augmentation"]
