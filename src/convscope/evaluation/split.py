"""Which images a model is judged on, and their labels in the model's own numbering."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data import ImageData, Split
from convscope.errors import DataError, did_you_mean
from convscope.model_file import Model

SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class Chosen:
    """One split, its name, and what should be said about the choice."""

    name: str
    split: Split
    notes: tuple[str, ...] = ()


def chosen_split(data: ImageData, wanted: str | None, card: Mapping[str, Any]) -> Chosen:
    """The split to judge: the one that was asked for, else test, else validation, else every image of other data.

    A validation split that training held out is taken again exactly as it was, when these are the data of the
    model's card.

    Raises:
        DataError: there is no split of that name, or the data have none to judge this model on.
    """
    if wanted is not None and wanted not in SPLITS:
        raise DataError(f"split {wanted!r}", "test, validation or train", did_you_mean(str(wanted), SPLITS))
    whole, data = data, _held_out_again(data, card)
    there = data.splits
    if wanted is None:
        wanted = next((name for name in ("test", "validation") if name in there), None)
    if wanted is None:
        return _every_image(whole, card)
    if wanted not in there:
        known = ", ".join(there)
        raise DataError(
            f"{data.name} has no {wanted} split",
            f"one of its splits: {known}",
            f"Try --split {next(iter(there))}",
        )
    notes = (
        ("These are images the model has learned from.",)
        if wanted == "train" and _is_own(whole, card)
        else ()
    )
    return Chosen(wanted, there[wanted], notes)


def labels_for(model: Model, data: ImageData, split: Split) -> npt.NDArray[np.int64]:
    """The labels (N,) in the model's numbering; classes are matched by name.

    Raises:
        DataError: the data have a class the model does not know.
    """
    number = {name: k for k, name in enumerate(model.class_names)}
    unknown = [name for name in data.class_names if name not in number]
    if unknown:
        raise DataError(
            f"{data.name} has {_listed('class', 'classes', unknown)} that the model does not know",
            "classes among the model's: " + _listed("", "", list(model.class_names)).strip(),
            did_you_mean(unknown[0], number) or "Judge it on data with the same class names",
        )
    translation = np.array([number[name] for name in data.class_names], dtype=np.int64)
    return translation[split.labels]


def _held_out_again(data: ImageData, card: Mapping[str, Any]) -> ImageData:
    """The data as training split them: with the validation images it held out, and no more than it learned from."""
    recipe = card.get("recipe")
    if not isinstance(recipe, Mapping) or not _is_own(data, card):
        return data
    held_out, limit, seed = recipe.get("hold_out"), recipe.get("limit_per_class"), int(card["seed"])
    if held_out and recipe.get("validation") == "hold_out" and data.validation is None:
        with suppress(DataError):  # one image in every class: training could hold out none
            data = data.hold_out(float(held_out), seed)
    return data.limited(int(limit), seed) if limit else data


def _every_image(data: ImageData, card: Mapping[str, Any]) -> Chosen:
    if _is_own(data, card):
        raise DataError(
            f"{data.name} has only training images, and the model has learned from them",
            "data with a test or validation split",
            "Name other images, or judge these all the same with --split train",
        )
    return Chosen("train", data.train, ("These data are not split: every image is judged.",))


def _is_own(data: ImageData, card: Mapping[str, Any]) -> bool:
    own = card.get("data")
    return isinstance(own, Mapping) and own.get("digest") == data.digest


def _listed(one: str, many: str, names: list[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most]) + (" …" if len(names) > most else "")
    return f"{one if len(names) == 1 else many} {shown}"
