"""What a run works on, made ready: the splits, scaled and with a validation part, and the network with weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convscope.data.batches import Scaler, chosen
from convscope.data.image_data import ImageData, Split
from convscope.data.mapped import as_tensor
from convscope.data.preprocessing import Preprocessing
from convscope.engine.plan import Plan
from convscope.engine.random import key, order
from convscope.errors import DataError, RecipeError, ShapeError
from convscope.net import Net
from convscope.reference import Network
from convscope.training.initialisation import initialise, set_identities
from convscope.training.rates import head_of
from convscope.training.recipe import Recipe
from convscope.training.whitening import whiten

_NOTEBOOK = (
    "The test split also serves as validation, because the lecture's notebook did so; "
    "anything chosen by it would be chosen on the test split."
)


@dataclass(frozen=True)
class Material:
    """The images of one run as the loop sees them, and sentences about them for the user.

    `validation_split` is the name of the split that validation uses: "validation", "test" or None.
    """

    data: ImageData
    validation_split: str | None
    notes: tuple[str, ...]

    @property
    def validation(self) -> Split | None:
        return self.data.splits.get(self.validation_split or "")


def make_material(data: ImageData, recipe: Recipe, seed: int) -> Material:
    """Apply the recipe's scaling and its way to validate.

    Raises:
        RecipeError: early stopping without anything to validate on.
    """
    if recipe.scaling == "unscaled":
        data = replace(data, preprocessing=data.preprocessing.unscaled())
    if recipe.views != "one":
        data = replace(data, preprocessing=replace(data.preprocessing, views=recipe.views))
    if recipe.augmentation:
        recipe.augmentation.require_fits(data.input_shape)
    if recipe.validation == "test" and data.test is not None:
        data = prepared_splits(data, replace(recipe, hold_out=0.0), seed)
        return Material(data, "test", (*data.notes, _NOTEBOOK))
    data = prepared_splits(data, recipe, seed)
    if data.validation is None and recipe.early_stopping:
        raise RecipeError(
            "early stopping without a validation split",
            "a validation split",
            "Set hold_out above 0, or early_stopping=None",
        )
    return Material(data, "validation" if data.validation is not None else None, data.notes)


def prepared_splits(data: ImageData, recipe: Recipe, seed: int) -> ImageData:
    """The data with a validation split, where one can be held out, and then no more training images than wanted.

    What is held out does not depend on the limit, so that runs with different limits are validated on the same images.
    """
    if data.validation is None and recipe.hold_out > 0:
        try:
            data = data.hold_out(recipe.hold_out, seed)
        except DataError as error:
            note = f"Nothing is held out for validation: {error.received}."
            data = replace(data, notes=(*data.notes, note))
    return data.limited(recipe.limit_per_class, seed) if recipe.limit_per_class else data


def bound_net(net: Net, data: ImageData) -> Net:
    """The net with the data's number of classes in the place of `classes`.

    Raises:
        ShapeError: it ends in another number of scores.
    """
    bound = net.bind(len(data.class_names))
    scores = bound.output_classes(data.input_shape)
    if scores != len(data.class_names):
        raise ShapeError(
            f"the net ends in {scores} scores, and {data.name} has {len(data.class_names)} classes",
            f"{len(data.class_names)} scores, one for each class",
            "Write dense(classes) for the last layer, and the data decide",
        )
    return bound


def require_batch_for_norms(net: Net, input_shape: tuple[int, int, int], batch_size: int) -> None:
    """A norm over the batch needs two numbers a channel, and a vector gives one an image.

    Raises:
        RecipeError: steps of one image with such a norm.
    """
    if batch_size > 1:
        return
    for step in net.infer(input_shape).steps:
        if step.kind == "batchnorm" and math.prod(step.input_shape[1:]) == 1:
            raise RecipeError(
                f"steps of 1 image with {step.name}, which gets one number a channel from each image",
                "at least 2 images a step, for the norm measures how they differ",
                "Try --batch-size 32, or leave the batchnorm out",
            )


def make_network(
    net: Net,
    input_shape: tuple[int, int, int],
    recipe: Recipe,
    seed: int,
    plan: Plan,
    data: ImageData | None = None,
) -> Network:
    """Build the reference and set its starting weights, a pure function of net, recipe and seed, and with whitening
    also of the training images of `data`.

    Raises:
        RecipeError: the recipe's whitening does not fit the first convolution, or there are no images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "build") >> 1)
        module = net.build(input_shape)
    initialise(module, recipe.initialisation, seed)
    if recipe.identity_filters:
        set_identities(module)
    if recipe.head_gain != 1.0:
        with torch.no_grad():
            module.get_parameter(f"{head_of(module)}.weight").mul_(recipe.head_gain)
    if recipe.whitening:
        whiten(module, recipe.whitening, _some_images(data, recipe.whitening.images, seed))
    return module.to(plan.device)


def _some_images(data: ImageData | None, most: int, seed: int) -> Tensor:
    """Up to `most` training images, picked at random, as the network gets them, float32 (N, C, H, W), on the CPU."""
    if data is None:
        raise RecipeError("whitening without images", "training images to take patches from")
    picked = order(seed, 0, len(data.train))[:most]
    return data.preprocessing.scale(chosen(as_tensor(data.train.images), picked))


def resident(split: Split, plan: Plan) -> tuple[Any, Tensor]:
    """Images uint8 (N, C, H, W) and labels (N,) on the device; images that half of a GPU cannot hold stay."""
    images, labels = as_tensor(split.images), as_tensor(split.labels).to(plan.device)
    if plan.device == "cuda" and images.nbytes > torch.cuda.mem_get_info()[0] // 2:
        return images, labels
    return images.to(plan.device), labels


def scaler(preprocessing: Preprocessing, plan: Plan) -> Callable[[Tensor], Tensor]:
    """From gathered uint8 images (B, C, H, W) to float32 on the device; on the CPU the next call writes over them."""
    if plan.device == "cpu":
        return Scaler(preprocessing)
    return lambda images: preprocessing.scale(images.to(plan.device))


@contextmanager
def weights_of(module: nn.Module, tensors: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Let `module` hold other weights for a while; None changes nothing. Its own come back bit for bit."""
    if tensors is None:
        yield
        return
    own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    copy_into(module.state_dict(), tensors)
    try:
        yield
    finally:
        copy_into(module.state_dict(), own)


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    """Copy values into existing tensors of the same names; their device and layout in memory stay."""
    for name, target in targets.items():
        target.copy_(sources[name])
