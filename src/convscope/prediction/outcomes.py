"""Predictions for picture files, in batches, a bad file never stopping the others."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from convscope.data import pictures
from convscope.data.decoding import MANY, Decoder
from convscope.data.files import File
from convscope.data.picture_kernels import PictureKernels
from convscope.engine.folding import Folded
from convscope.engine.plan import Plan, make_plan
from convscope.engine.scoring import images_at_once, scored_views, workers
from convscope.errors import ConvscopeError
from convscope.model_file import Model, load_model
from convscope.prediction.files import picture_files
from convscope.prediction.inversion import expects_light_on_dark, hint, looks_dark_on_light
from convscope.unknown import LABEL, Watcher

if TYPE_CHECKING:
    from convscope.data import Preprocessing

Answer = tuple[tuple[tuple[str, float], ...], bool]
"""The likeliest classes with their probabilities, and whether the picture shows none of them."""

FILES_AT_FIRST = 16  # so that answers come soon, and a few files are shared among the threads
FIRST_PARTS = 16
FILES_AT_ONCE = 64  # so many give a small network's weights enough to do each time they are read
PARTS_AHEAD = 16  # for the reading to go on while whoever asked does something else


@dataclass(frozen=True)
class Prediction:
    """What one picture shows: the likeliest class, its probability, and the likeliest few.

    Where the model has a rule for it and the picture shows none of its classes, the label is "unknown"; the probability
    is still that of the likeliest class.
    """

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
        paths: files, folders and zip or tar archives; folders and archives are searched recursively.
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
    plan = make_plan(device)
    plan.apply()
    return _outcomes(_Reader(loaded.preprocessing, invert), _Classifier(loaded, top, plan), listed, notice)


class _Reader:
    """Reads one file as the model wants it: uint8 (C, H, W), or the failure. Only inside `pictures.refusing_bombs`."""

    def __init__(self, preprocessing: Preprocessing, invert: bool) -> None:
        self._preprocessing, self.invert = preprocessing, invert
        self._decode, self._numbers = Decoder(preprocessing), count(1)

    def __call__(self, path: File) -> npt.NDArray[np.uint8] | Failure:
        if next(self._numbers) == MANY:
            self._decode = Decoder(self._preprocessing, kernels=PictureKernels())
        try:
            pixels = self._decode(path)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files
            return Failure(str(path), pictures.reason(error, path))
        return 255 - pixels if self.invert else pixels


class _Classifier:
    """Runs the network on a stack of pictures and names the likeliest classes."""

    def __init__(self, model: Model, top: int, plan: Plan) -> None:
        self.model, self.plan, self._top = model, plan, min(top, len(model.class_names))
        self._form = Folded(model.module, plan.device)
        self._watcher = Watcher(model.unknown, self._form, plan.device)

    @torch.inference_mode()
    def __call__(self, stack: list[npt.NDArray[np.uint8]]) -> list[Answer]:
        images = torch.from_numpy(np.stack(stack)).to(self.plan.device)  # (N, C, H, W)
        scores = scored_views(self._form, images, self.model.preprocessing)  # (N, K)
        best = scores.softmax(1).cpu().double().topk(self._top, dim=1)
        names = self.model.class_names
        tops = [
            tuple((names[k], p) for k, p in zip(indices, values, strict=True))
            for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return list(zip(tops, self._watcher.unknown(scores), strict=True))


@dataclass(frozen=True)
class _Batch:
    """What became of some files, in their order; how many are pictures, and how many of those look inverted."""

    outcomes: list[Prediction | Failure]
    num_pictures: int
    num_inverted: int


def _outcomes(
    read: _Reader,
    classify: _Classifier,
    paths: Iterable[str | os.PathLike[str]],
    notice: Callable[[str], None] | None,
) -> Iterator[Prediction | Failure]:
    """Each thread reads and classifies a few files of its own; they come out in the order of the files."""
    may_be_inverted = notice is not None and expects_light_on_dark(classify.model)
    at_once = min(FILES_AT_ONCE, images_at_once(classify.model.module, classify.plan))
    num_pictures = num_inverted = 0
    with pictures.refusing_bombs(), workers(classify.plan) as pool:
        judge = partial(_judged, read, classify, may_be_inverted)
        for batch in _in_order(pool, judge, _parts(picture_files(paths), at_once)):
            num_pictures += batch.num_pictures
            num_inverted += batch.num_inverted
            yield from batch.outcomes
    if notice is not None and 2 * num_inverted > num_pictures:
        notice(hint(num_inverted, num_pictures, read.invert))


def _judged(read: _Reader, classify: _Classifier, may_be_inverted: bool, files: list[File]) -> _Batch:
    """Read and classify some files, in the thread that calls."""
    read_files = [(path, read(path)) for path in files]
    stack = [outcome for _, outcome in read_files if not isinstance(outcome, Failure)]
    tops = iter(classify(stack) if stack else [])
    outcomes = [
        outcome if isinstance(outcome, Failure) else _prediction(path, next(tops))
        for path, outcome in read_files
    ]
    return _Batch(outcomes, len(stack), sum(map(looks_dark_on_light, stack)) if may_be_inverted else 0)


def _parts(files: Iterator[File], size: int) -> Iterator[list[File]]:
    """The files, `size` at a time, at first fewer."""
    first = repeat(min(FILES_AT_FIRST, size), FIRST_PARTS)
    for number in chain(first, repeat(size)):
        part = list(islice(files, number))
        if not part:
            return
        yield part


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[list[File]], _Batch], parts: Iterator[list[File]]
) -> Iterator[_Batch]:
    """`work` on every part in the pool's threads, in order. Few are under way at a time, so memory stays the same."""
    under_way: deque[Future[_Batch]] = deque()
    for part in parts:
        under_way.append(pool.submit(work, part))
        if len(under_way) > PARTS_AHEAD:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _prediction(path: File, answer: Answer) -> Prediction:
    top, is_unknown = answer
    label, probability = top[0]
    return Prediction(str(path), LABEL if is_unknown else label, probability, top)
