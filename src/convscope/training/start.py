"""`train`: from what a user asks for to a finished run.

Everything that can be wrong is found before anything is touched.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from convscope import nets
from convscope.data import load_data, sets
from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.data.watching import Watch
from convscope.engine.plan import Plan, make_plan, require_deterministic_products
from convscope.engine.trial import plan_for
from convscope.errors import OutOfMemoryError, RunError
from convscope.net import Net
from convscope.training import pretrained, recipes
from convscope.training.asked import Asked, Data
from convscope.training.augmentation import Augmentation
from convscope.training.configuration import Configuration, DataSource, versions
from convscope.training.course import Course
from convscope.training.events import Listener
from convscope.training.folder import RunFolder, claim_next
from convscope.training.going_on import go_on
from convscope.training.launch import folder_of, prepared, run_to_the_end, watch_of
from convscope.training.material import (
    Material,
    bound_net,
    make_material,
    require_batch_for_norms,
)
from convscope.training.memory import enough_memory
from convscope.training.preparation import Preparation, Size
from convscope.training.recipe import Recipe
from convscope.training.result import Run
from convscope.training.telling import Teller


def train(
    data: Data | None = None,
    net: Net | str | None = None,
    recipe: Recipe | str | None = None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    rate: float | None = None,
    seed: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    size_px: Size | None = None,
    salvage: bool | None = None,
    most_unreadable: float | None = None,
    fit: Fit | None = None,
    augment: str | Augmentation | None = None,
    balance: str | None = None,
    hold_out: float | None = None,
    limit_per_class: int | None = None,
    weights: str | None = None,
    auto_batch: bool = False,
    deterministic: bool = False,
    listeners: Sequence[Listener] = (),
) -> Run:
    """Train a network on images, judge it on the test split, and leave a run folder.

    What is not given has a default in a new run, and comes from `config.json` in a resumed one; what is given to a
    resumed run must agree with it.

    Args:
        data: what `load_data` takes; None for handwritten digits.
        net: a name, a `.net` file, text, or a Net; None for "lecture".
        recipe: a name or a Recipe; None for "fast".
        epochs, steps: the length, in place of the recipe's.
        batch_size, rate: in place of the recipe's.
        seed: every random number follows from it; None for 0.
        out: the run folder; None for runs/<data>-<net>-<number>.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
        device: "auto", "cpu", "cuda" …
        precision: "auto" takes bfloat16 where a short trial finds it clearly faster; "float32"; "bfloat16".
        data_dir, offline, size_px, fit: handed on to `load_data`.
        salvage: read what damaged picture files still hold; None for no.
        most_unreadable: a larger share of picture files that cannot be read stops the run; None for 0.5.
        augment: what happens to training images: words (see `augmentation_text`) or an Augmentation; None for the
            recipe's, or for pictures of the user's own and no named recipe "photos", and "light" where all are gray.
        balance: "none", "weights" or "sampler"; None for the recipe's, which is none.
        hold_out: the share of training images to validate on, where the data bring no validation split.
        limit_per_class: at most so many training images of each class.
        weights: "imagenet" starts from published weights, for the nets in `nets.weights.names()`; a model file or run
            folder of the same net starts from those.
        auto_batch: where the memory is not enough, halve the batch until it is.
        deterministic: on a GPU, only arithmetic that gives the same bits each time; on the CPU that is always so.
        listeners: called with every event, in order. One that raises KeyboardInterrupt asks to stop.

    Raises:
        ConvscopeError: something the user can mend; nothing was lost.
        Interrupted: training was stopped and everything saved.
    """
    asked = Asked(
        data,
        net,
        recipe,
        epochs,
        steps,
        batch_size,
        rate,
        seed,
        out,
        device,
        precision,
        data_dir,
        offline,
        Preparation(size_px, fit, augment, hold_out, limit_per_class, balance),
        salvage,
        most_unreadable,
        weights,
        auto_batch,
        deterministic,
    )
    teller = Teller(listeners)
    began_at = time.perf_counter()
    if resume and overwrite:
        raise RunError(
            "both --resume and --overwrite",
            "one of the two",
            "--resume goes on with the run, --overwrite replaces it",
        )
    if resume:
        return go_on(asked, teller, began_at)
    return _begin(asked, overwrite, teller, began_at)


def _begin(asked: Asked, overwrite: bool, teller: Teller, began_at: float) -> Run:
    recipe = asked.adjusted(recipes.get("fast" if asked.recipe is None else asked.recipe))
    asked = _with_what_it_was_made_for(asked, recipe, teller)
    label, net = nets.resolve("lecture" if asked.net is None else asked.net)
    make_plan(asked.device, precision=asked.precision)  # raises where there is no such device
    if asked.out is not None:
        folder_of(asked.out).require_free(overwrite)
    if asked.weights is not None:
        pretrained.prepare(asked.weights, label, offline=asked.offline, say=teller.note)
        given = asked.preparation
        size_px = pretrained.photo_size(asked.weights, asked.data, given.size_px)
        asked = replace(asked, preparation=replace(given, size_px=size_px))
    watch = watch_of(asked.data)
    data = load_data(
        asked.data,
        data_dir=asked.data_dir,
        offline=asked.offline,
        size_px=asked.preparation.size_px,
        channels=pretrained.channels(asked.weights),
        salvage=bool(asked.salvage),
        most_unreadable=MOST_UNREADABLE if asked.most_unreadable is None else asked.most_unreadable,
        fit=asked.preparation.fit,
        like=pretrained.like(asked.weights),
        progress=teller.note,
    )
    recipe = asked.augmented(recipe, data)
    if asked.weights is not None:
        data = pretrained.scaled(data, asked.weights, label)
    net = bound_net(net, data)
    seed = asked.seed or 0
    material = make_material(data, recipe, seed)
    recipe = _fitting(recipe, asked, len(material.data.train), teller)
    begin = _Beginning(asked, net, label, seed, material, _source(asked, data), watch, teller, began_at)
    while True:
        try:
            return begin.run(recipe, overwrite)
        except OutOfMemoryError as error:
            recipe = begin.halved(recipe, error)


@dataclass
class _Beginning:
    """A new run, ready but for its batch size."""

    asked: Asked
    net: Net
    label: str
    seed: int
    material: Material
    source: DataSource
    watch: Watch | None
    teller: Teller
    began_at: float
    ours: RunFolder | None = None

    def run(self, recipe: Recipe, overwrite: bool) -> Run:
        """Train; what an attempt with larger batches left here is written over."""
        asked, net, material = self.asked, self.net, self.material
        require_batch_for_norms(net, material.data.input_shape, recipe.batch_size)
        with enough_memory(recipe.batch_size, material.data.input_shape):
            plan = _plan(asked, net, recipe, material)
        if asked.deterministic and plan.device == "cpu":
            self.teller.note("On the CPU every run is deterministic; --deterministic changes nothing.")
        configuration = Configuration(
            self.source, net, self.label, recipe, self.seed, plan, versions(), asked.weights
        )
        with _new_folder(asked, material.data.name, self.label, self.ours) as folder:
            folder.require_free(overwrite or self.ours is not None)
            with enough_memory(recipe.batch_size, material.data.input_shape):
                loop = prepared(
                    configuration, material, folder, self.teller, self.began_at, None, asked.offline
                )
            self.ours = folder
            try:
                folder.clear()
                folder.write_config(configuration.to_json())
                folder.write_skipped(material.data.skipped, self.teller.note)
            except OSError as error:
                raise folder.cannot_write(error, "Mend that, or give another --out") from error
            return run_to_the_end(loop, self.teller, self.watch)

    def halved(self, recipe: Recipe, error: OutOfMemoryError) -> Recipe:
        """The recipe with half the batch, where that was asked for and nothing would be lost; else the error."""
        smaller = recipe.batch_size // 2
        if not self.asked.auto_batch or error.is_saved or smaller < 1:
            raise error
        for failed in (error, error.__cause__):  # their frames hold the images and maps that were too many
            traceback.clear_frames(failed.__traceback__ if failed else None)
        gc.collect()
        torch.cuda.empty_cache()
        self.teller.note(
            f"Batches of {smaller:,} instead of {recipe.batch_size:,}, because the memory was not enough. "
            "The learning rate stays what it was."
        )
        return replace(recipe, batch_size=smaller)


def _plan(asked: Asked, net: Net, recipe: Recipe, material: Material) -> Plan:
    """How this machine is best used for this training."""
    course = Course.of(recipe, len(material.data.train))
    if asked.deterministic:
        require_deterministic_products()
    plan = plan_for(
        net,
        material.data.input_shape,
        recipe.batch_size,
        asked.device,
        precision=asked.precision,
        images=course.images_at(course.steps),
    )
    return replace(plan, deterministic=asked.deterministic and plan.device != "cpu")


def _with_what_it_was_made_for(asked: Asked, recipe: Recipe, teller: Teller) -> Asked:
    """The recipe's own net and data where none are named, and a sentence that says so."""
    own = {name: getattr(recipe, name) for name in ("net", "data")}
    taken = {name: value for name, value in own.items() if value and getattr(asked, name) is None}
    if taken:
        said = " and ".join(f"--{name} {value}" if name == "net" else value for name, value in taken.items())
        teller.note(f"The recipe {recipe.name} comes with {said}, as nothing else is named.")
    return replace(asked, **taken)


@contextmanager
def _new_folder(asked: Asked, data: str, net: str, ours: RunFolder | None) -> Iterator[RunFolder]:
    """The folder of a new run, locked; one that was made for it goes again if nothing was written there."""
    if ours is None:
        ours = folder_of(asked.out) if asked.out is not None else RunFolder(claim_next(data, net))
    was_there = asked.out is not None and ours.path.exists()
    with ours.lock():
        try:
            yield ours
        finally:
            if not was_there:
                ours.remove_if_empty()


def _fitting(recipe: Recipe, asked: Asked, images: int, teller: Teller) -> Recipe:
    """A ready recipe's batch made smaller where the data are few; a batch size that the user chose is not touched."""
    if asked.batch_size is not None or isinstance(asked.recipe, Recipe) or recipe.batch_size <= images // 4:
        Course.of(recipe, images)
        return recipe
    batch_size = min(images, 2 ** max(1, (images // 4).bit_length() - 1))  # norms need two images
    teller.note(
        f"Batches of {batch_size} instead of {recipe.batch_size}, because there are only {images:,} "
        "images to learn from."
    )
    return replace(recipe, batch_size=batch_size)


def _source(asked: Asked, data: ImageData) -> DataSource:
    """How to find the data again: a name, or a folder's full path; data from Python cannot be found again."""
    size_px = asked.preparation.size_px
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    where = None if isinstance(asked.data, ImageData) else _lasting(asked.data, data)
    data_dir = str(Path(asked.data_dir).expanduser().resolve()) if asked.data_dir is not None else None
    made = data.preprocessing.fit
    fit = asked.preparation.fit or (made if made != "squash" else None)
    most = MOST_UNREADABLE if asked.most_unreadable is None else asked.most_unreadable
    return DataSource(
        data.name, where, data.digest, len(data.class_names), size, data_dir, bool(asked.salvage), most, fit
    )


def _lasting(given: str | os.PathLike[str] | None, data: ImageData) -> str:
    if given is None:
        return data.name
    if isinstance(given, str) and given in sets.BY_NAME:
        return given
    return str(Path(given).expanduser().resolve())
