"""A recipe laid over data: how many steps, and where the epochs end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.errors import RecipeError

if TYPE_CHECKING:
    from convscope.training.recipe import Recipe


@dataclass(frozen=True)
class Course:
    """A recipe laid over a number of training images: how many steps, of which size, and where the epochs end.

    >>> from convscope.training import recipes
    >>> course = Course.of(recipes.get("lecture"), 60_000)
    >>> course.steps_per_epoch, course.steps, course.epochs
    (469, 2345, 5)
    """

    images: int
    batch_size: int
    steps_per_epoch: int
    steps: int
    evaluate_every_epochs: int
    images_per_epoch: int

    @classmethod
    def of(cls, recipe: Recipe, images: int) -> Course:
        """Lay `recipe` over `images` training images.

        Raises:
            RecipeError: one batch is larger than the training split.
        """
        if recipe.batch_size > images:
            raise RecipeError(
                f"batch size {recipe.batch_size:,}",
                f"at most the {images:,} images of the training split",
                f"Try --batch-size {max(1, min(32, images // 4))}",
            )
        whole_batches, rest = divmod(images, recipe.batch_size)
        per_epoch = whole_batches + (recipe.partial_batch and rest > 1)
        steps = recipe.steps or per_epoch * (recipe.epochs or 1)
        every = math.ceil(math.ceil(steps / per_epoch) / recipe.evaluations) if recipe.evaluations else 1
        used = images if recipe.partial_batch else whole_batches * recipe.batch_size
        return cls(images, recipe.batch_size, per_epoch, steps, every, used)

    @property
    def epochs(self) -> float:
        """The length in epochs: a whole number where it is one."""
        return self.epochs_at(self.steps)

    def epochs_at(self, step: int) -> float:
        """How many epochs `step` steps make."""
        return (
            step // self.steps_per_epoch
            if step % self.steps_per_epoch == 0
            else round(step / self.steps_per_epoch, 4)
        )

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 1, that made step number `step` (counted from 1)."""
        return (step - 1) // self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the training, ends with step number `step`."""
        return step > 0 and (step % self.steps_per_epoch == 0 or step == self.steps)

    def evaluates(self, step: int) -> bool:
        """Whether the epoch that ends with step number `step` is evaluated."""
        return step == self.steps or self.epoch_of(step) % self.evaluate_every_epochs == 0

    def images_at(self, step: int) -> int:
        """How many training images the first `step` steps process."""
        whole_epochs, rest = divmod(step, self.steps_per_epoch)
        return whole_epochs * self.images_per_epoch + rest * self.batch_size

    def batch_at(self, position: int) -> slice:
        """Where the batch number `position` (from 0) of an epoch lies in the epoch's order; the last takes the rest.

        >>> from convscope.training import recipes
        >>> Course.of(recipes.get("lecture"), 257).batch_at(1)
        slice(128, 257, None)
        """
        first = position * self.batch_size
        is_last = position == self.steps_per_epoch - 1
        return slice(first, self.images_per_epoch if is_last else first + self.batch_size)
