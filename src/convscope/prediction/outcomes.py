"""Predictions for picture files, in batches, a bad file never stopping the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from convscope.data import read_image
from convscope.engine.plan import make_plan
from convscope.errors import ConvscopeError, DataError
from convscope.model_file import Model, load_model
from convscope.prediction.files import picture_files
from convscope.prediction.inversion import expects_light_on_dark, hint, looks_dark_on_light

if TYPE_CHECKING:
    from convscope.data import Preprocessing

FILES_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """What one picture shows: the likeliest class, its probability, and the likeliest few."""

    path: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """`path, label, probability, top[[label, probability]]`."""
        top = [[label, probability] for label, probability in self.top]
        return {"path": self.path, "label": self.label, "probability": self.probability, "top": top}


@dataclass(frozen=True)
class Failure:
    """A file that could not be read, and why."""

    path: str
    error: str

    def to_json(self) -> dict[str, str]:
        """`path, error`."""
        return {"path": self.path, "error": self.error}


def predict(
    model: Model | str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    invert: bool = False,
    top: int = 3,
    device: str = "auto",
    notice: Callable[[str], None] | None = None,
) -> Iterator[Prediction | Failure]:
    """One outcome for each picture file, in the order of `paths`, what is below a folder sorted.

    Args:
        model: a model, its file, or a run folder.
        paths: files and folders; folders are searched recursively.
        invert: swap dark and light first, for scans of dark ink on light paper.
        top: how many classes each prediction lists; all of them where there are fewer.
        notice: gets at most one sentence, when the pictures look inverted to what the model has learned.

    Raises:
        ConvscopeError: top is below 1.
        ModelFileError: the model cannot be read.
    """
    if not isinstance(top, int) or top < 1:
        raise ConvscopeError(f"top {top}", "a whole number of at least 1", "Try --top 3")
    loaded = model if isinstance(model, Model) else load_model(model)
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    return _outcomes(_Reader(loaded.preprocessing, invert), _Classifier(loaded, top, device), listed, notice)


class _Reader:
    """Reads one file as the model wants it: uint8 (C, H, W), or the failure."""

    def __init__(self, preprocessing: Preprocessing, invert: bool) -> None:
        self._preprocessing, self.invert = preprocessing, invert

    def __call__(self, path: Path) -> npt.NDArray[np.uint8] | Failure:
        try:
            pixels = read_image(path, self._preprocessing)
        except DataError as error:
            return Failure(str(path), _reason(error, path))
        return 255 - pixels if self.invert else pixels


class _Classifier:
    """Runs the network on a stack of pictures and names the likeliest classes."""

    def __init__(self, model: Model, top: int, device: str) -> None:
        self.model, self._top = model, min(top, len(model.class_names))
        self._plan = make_plan(device)
        self._plan.apply()
        self._module = model.module.to(self._plan.device).eval()

    @torch.inference_mode()
    def __call__(self, pictures: list[npt.NDArray[np.uint8]]) -> list[list[tuple[str, float]]]:
        images = torch.from_numpy(np.stack(pictures)).to(self._plan.device)  # (N, C, H, W)
        probabilities = self._module.probabilities(self.model.preprocessing.scale(images))  # (N, K)
        best = probabilities.cpu().double().topk(self._top, dim=1)
        names = self.model.class_names
        return [
            [(names[k], p) for k, p in zip(indices, values, strict=True)]
            for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def _outcomes(
    read: _Reader,
    classify: _Classifier,
    paths: Iterable[str | os.PathLike[str]],
    notice: Callable[[str], None] | None,
) -> Iterator[Prediction | Failure]:
    files = picture_files(paths)
    may_be_inverted = notice is not None and expects_light_on_dark(classify.model)
    num_pictures = num_inverted = 0
    while batch := list(islice(files, FILES_AT_ONCE)):
        read_files = [(path, read(path)) for path in batch]
        pictures = [outcome for _, outcome in read_files if not isinstance(outcome, Failure)]
        num_pictures += len(pictures)
        num_inverted += sum(map(looks_dark_on_light, pictures)) if may_be_inverted else 0
        tops = iter(classify(pictures) if pictures else [])
        for path, outcome in read_files:
            yield outcome if isinstance(outcome, Failure) else _prediction(path, next(tops))
    if notice is not None and 2 * num_inverted > num_pictures:
        notice(hint(num_inverted, num_pictures, read.invert))


def _prediction(path: Path, top: list[tuple[str, float]]) -> Prediction:
    label, probability = top[0]
    return Prediction(str(path), label, probability, tuple(top))


def _reason(error: DataError, path: Path) -> str:
    """What came, without the path in front, which the outcome carries anyway."""
    return error.received.removeprefix(f"cannot read {path}: ")
