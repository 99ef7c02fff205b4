"""What a user asks `train` for."""

from __future__ import annotations

import os
from dataclasses import dataclass

from convscope.data import sets
from convscope.data.image_data import ImageData
from convscope.net import Net
from convscope.training.preparation import Preparation, usual_augmentation
from convscope.training.recipe import Recipe
from convscope.training.settings import refuse, whole

Data = ImageData | str | os.PathLike[str]


@dataclass(frozen=True)
class Asked:
    """What the user gave; None is what was left open."""

    data: Data | None
    net: Net | str | None
    recipe: Recipe | str | None
    epochs: int | None
    steps: int | None
    batch_size: int | None
    rate: float | None
    seed: int | None
    out: str | os.PathLike[str] | None
    device: str
    precision: str
    data_dir: str | os.PathLike[str] | None
    offline: bool
    preparation: Preparation
    salvage: bool | None
    most_unreadable: float | None
    weights: str | None
    auto_batch: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        refuse(
            whole("seed", self.seed, least=0, most=2**63 - 1, fix="Try --seed 0")
            if self.seed is not None
            else []
        )

    def adjusted(self, recipe: Recipe) -> Recipe:
        """The recipe with the values given."""
        return self.preparation.adjusted(
            recipe.adjusted(epochs=self.epochs, steps=self.steps, batch_size=self.batch_size, rate=self.rate)
        )

    @property
    def are_pictures(self) -> bool:
        """Whether the data are the user's own pictures, and no data set or arrays."""
        return isinstance(self.data, str | os.PathLike) and self.data not in sets.BY_NAME

    def augmented(self, recipe: Recipe, data: ImageData) -> Recipe:
        """The recipe with the augmentation wanted for these images."""
        usual = usual_augmentation(data.input_shape) if self.are_pictures and self.recipe is None else None
        return self.preparation.augmented(recipe, data.input_shape, usual)
