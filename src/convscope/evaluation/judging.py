"""evaluate: a model and data in, a Report out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope.data import ImageData, load_data, sets
from convscope.data.arrays import resized
from convscope.data.reader import MOST_UNREADABLE
from convscope.engine.plan import make_plan
from convscope.engine.scoring import Scoring, measure
from convscope.errors import DataError
from convscope.evaluation.report import (
    Report,
    accuracy_with_interval,
    class_scores,
    confusion_matrix,
    worst_mistakes,
)
from convscope.evaluation.split import Chosen, chosen_split, labels_for
from convscope.model_file import Model, load_model, parse_json

Source = ImageData | str | os.PathLike[str] | None


def evaluate(
    model: Model | str | os.PathLike[str],
    data: Source = None,
    *,
    split: str | None = None,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Judge a model on images it was not trained on.

    Args:
        model: a model, its file, or a run folder.
        data: a data set's name, a folder, or images in memory; None is what the model was trained on.
        split: "test", "validation" or "train"; None is test, else validation.
        device: "auto", "cpu" or "cuda".
        data_dir, offline, progress: as `load_data` has them.

    Returns:
        The report. Its numbers come from the same function that training uses, so they are the same numbers.

    Raises:
        ModelFileError: the model cannot be read.
        DataError: the data cannot be read, have no such split, or have a class the model does not know.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    source: Source = data
    most_unreadable = MOST_UNREADABLE
    if data is None:
        own = _OwnData.of(loaded, model)
        source, data_dir, most_unreadable = own.source, data_dir or own.data_dir, own.most_unreadable
    images = _prepared(
        loaded, source, data_dir=data_dir, offline=offline, progress=progress, most_unreadable=most_unreadable
    )
    chosen = chosen_split(images, split, loaded.card)
    labels = labels_for(loaded, images, chosen.split)
    plan = make_plan(device)
    plan.apply()
    scoring = measure(loaded.module, chosen.split.images, labels, loaded.preprocessing, plan)
    name = "the model" if isinstance(model, Model) else os.fspath(model)
    return _report(scoring, labels, name, loaded.class_names, images, chosen)


@dataclass(frozen=True)
class _OwnData:
    """Where a model's own data came from, for when no data are named."""

    source: str
    data_dir: str | None = None
    most_unreadable: float = MOST_UNREADABLE

    @classmethod
    def of(cls, model: Model, where: Model | str | os.PathLike[str]) -> _OwnData:
        """What the run's configuration says, else the name on the model's card."""
        document = {} if isinstance(where, Model) else _configured(Path(where))
        own = {**_object(model.card.get("data")), **_object(document.get("data"))}
        source, name = own.get("source"), own.get("name")
        if source is None and name in sets.BY_NAME:
            source = name
        if not isinstance(source, str):
            raise DataError(
                "the model does not say where its data came from"
                + (f", only their name {name!r}" if name else ""),
                "data to judge it on",
                "Name a data set or a folder, or hand over ImageData",
            )
        return cls(source, own.get("data_dir"), float(own.get("most_unreadable", MOST_UNREADABLE)))


def _configured(run: Path) -> dict[str, Any]:
    """The configuration beside a run's model, or nothing where there is none."""
    try:
        return _object(parse_json(((run if run.is_dir() else run.parent) / "config.json").read_bytes()))
    except OSError:
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _prepared(model: Model, source: Source, **how: Any) -> ImageData:
    """The data as the model wants its pictures: size, channels and fit; salvaged where the model's own were."""
    wanted = model.preprocessing
    salvage = _object(model.card.get("data")).get("salvage") is True
    if isinstance(source, ImageData):
        return resized(source, None, None, like=wanted)
    return load_data(source, like=wanted, salvage=salvage, **how)


def _report(
    scoring: Scoring,
    labels: np.ndarray[Any, np.dtype[np.int64]],
    model: str,
    class_names: tuple[str, ...],
    data: ImageData,
    chosen: Chosen,
) -> Report:
    predicted = scoring.scores.argmax(dim=1).numpy()  # (N,)
    probabilities = torch.softmax(scoring.scores, dim=1).numpy()  # (N, K)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    accuracy, interval = accuracy_with_interval(scoring.correct, scoring.n)
    return Report(
        model=model,
        data=data.name,
        origin=data.origin,
        split=chosen.name,
        n=scoring.n,
        correct=scoring.correct,
        accuracy=accuracy,
        accuracy_interval=interval,
        loss=scoring.loss,
        class_names=class_names,
        per_class=class_scores(confusion, class_names),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        worst=worst_mistakes(probabilities, labels, class_names),
        notes=chosen.notes,
        balanced_accuracy=scoring.balanced_accuracy,
    )
