"""compare: extract, finetune and scratch at several numbers of pictures a class, on the same draws of the same folder.

Each number is drawn several times; every way learns from the same pictures and is judged on the same ones, which none
has seen. Ways that cost much are made as often as the time allows, cheapest first, and what was left out is said.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from convscope.data.image_data import ImageData, Split
from convscope.engine.plan import Plan, make_plan
from convscope.engine.random import key
from convscope.errors import DataError
from convscope.evaluation.interval import wilson_interval
from convscope.model_file import Model, save_model, write_text
from convscope.training import Recipe, train
from convscope.training.events import Listener
from convscope.training.folder import RunFolder, claim_next
from convscope.training.telling import Teller
from convscope.transfer_learning import backbones
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.comparison_text import Cell, Comparison
from convscope.transfer_learning.events import Progress
from convscope.transfer_learning.extract import SplitFeatures, chosen_fitting, small_work, split_features
from convscope.transfer_learning.finetune import finetune_recipe, fitting, freezing, scratch_recipe
from convscope.transfer_learning.material import Data, material

PER_CLASS = (5, 10, 20, 50, 100, 200, 500)
DRAWS = 5
BUDGET_MINUTES = 20.0
# 97.5 % points of Student's t for 1, 2, … degrees of freedom.
STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL = 1.96


@dataclass(frozen=True, eq=False)
class Study:
    """What every cell of a comparison shares; `judged` is the split `judged_name`, `folder` where its files go."""

    data: ImageData
    judged: Split
    judged_name: str
    backbone: Backbone
    plan: Plan
    features: SplitFeatures
    seed: int
    device: str
    folder: Path
    teller: Teller

    def drawn(self, per_class: int, draw: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which training pictures a draw takes: so many of every class, or all of a class that has fewer; ascending."""
        labels = self.data.train.labels
        generator = torch.Generator().manual_seed(key(self.seed, "draw", per_class, draw) >> 1)
        shuffled = torch.randperm(len(labels), generator=generator).numpy()
        taken = [shuffled[labels[shuffled] == label][:per_class] for label in np.unique(labels)]
        return np.sort(np.concatenate(taken))

    def subset(self, places: np.ndarray[Any, np.dtype[np.int64]]) -> ImageData:
        """The data with only these training pictures, and the judged ones as the test split."""
        return replace(
            self.data, train=self.data.train.take(places), validation=None, test=self.judged, notes=()
        )

    def head(self, places: np.ndarray[Any, np.dtype[np.int64]], draw: int) -> tuple[Model, float]:
        """The extracted model of a draw, and its accuracy on the judged pictures."""
        rows, features = torch.from_numpy(places), self.features
        with small_work() as pool:
            fitting, twice = chosen_fitting(
                features.values["train"][rows],
                features.labels["train"][rows],
                features.middle,
                len(self.data.class_names),
                pool,
                seed=draw,
            )
            head = pool.submit(fitting.head).result()
        columns = slice(0 if twice else features.middle, None)
        scores = head.scores(features.values[self.judged_name][:, columns])
        right = (scores.argmax(1) == features.labels[self.judged_name]).double().mean()
        return self.backbone.assembled(self.data, head, twice, {}), float(right)

    def head_at_the_end(self, places: np.ndarray[Any, np.dtype[np.int64]], draw: int) -> tuple[Model, float]:
        """The same on the features at the end alone, so that the net is the backbone's own."""
        at_the_end = {
            name: values[:, self.features.middle :] for name, values in self.features.values.items()
        }
        alone = replace(self, features=replace(self.features, values=at_the_end, middle=0))
        return alone.head(places, draw)

    def trained(
        self,
        places: np.ndarray[Any, np.dtype[np.int64]],
        recipe: Recipe,
        start: Model | None,
        epochs: int | None,
    ) -> float:
        """The accuracy on the judged pictures after training on a draw, from an extracted model or from nothing."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            weights = Path(place) / "head.safetensors"
            if start is not None:
                save_model(start, weights)
            run = train(
                self.subset(places),
                start.net if start else self.backbone.with_classes(False),
                fitting(
                    replace(recipe, early_stopping=None, hold_out=0.0, evaluations=1), len(places), epochs
                ),
                seed=self.seed,
                out=Path(place) / "run",
                device=self.device,
                weights=str(weights) if start else None,
            )
        return float(run.result["test_accuracy"])


def compare(
    data: Data,
    backbone: str | os.PathLike[str] | Model | None = None,
    *,
    per_class: Sequence[int] | None = None,
    draws: int | None = None,
    budget_minutes: float | None = None,
    ways: Sequence[str] = ("extract", "finetune", "scratch"),
    epochs: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    size_px: int | tuple[int, int] | None = None,
    cache: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
) -> Comparison:
    """The three ways side by side, and which of them to use for this folder.

    Args:
        data, backbone, seed, out, overwrite, device, data_dir, offline, size_px, cache: as `transfer` has them.
        per_class: how many pictures of each class to learn from; None for 5, 10, 20, 50 … and all.
        draws: how often to draw them anew; None for 5.
        budget_minutes: about how long it may take; None for 20. What does not fit is left out and said.
        ways: which to compare.
        epochs: the length of fine-tuning and training in place of their recipes'.
        listeners: called with every event.

    Returns:
        The comparison; its folder holds `comparison.json` and `comparison.svg`.

    Raises:
        ConvscopeError: something the user can mend.
    """
    study, folder, clock = _begun(
        data, backbone, "compare", seed, out, overwrite, device, data_dir, offline, size_px, cache,
        listeners, budget_minutes,
    )  # fmt: skip
    wanted = _counts(per_class, study.data)
    size = study.data.preprocessing.size_px
    recipes = {
        "finetune": finetune_recipe(
            size, freezing(study.backbone, study.data.input_shape, None), epochs=epochs
        ),
        "scratch": scratch_recipe(size, epochs=epochs),
    }
    results: dict[tuple[str, int], list[float]] = {(way, n): [] for n in wanted for way in ways}
    spent: dict[tuple[str, int], float] = {}
    for way, count, draw in _in_order(ways, wanted, draws or DRAWS):
        if way != "extract" and not clock.has_room(_expected_s(way, count, spent)):
            continue
        began_at = time.perf_counter()
        places = study.drawn(count, draw)
        start, accuracy = study.head(places, draw) if way != "scratch" else (None, 0.0)
        if way != "extract":
            accuracy = study.trained(places, recipes[way], start, epochs)
        spent[way, count] = time.perf_counter() - began_at
        results[way, count].append(accuracy)
        study.teller(_told(way, count, draw, accuracy, clock))
    cells = tuple(
        cell(way, count, accuracies, len(study.judged), spent.get((way, count)))
        for (way, count), accuracies in results.items()
    )
    comparison = Comparison(
        folder=str(folder.path),
        data=study.data.name,
        backbone=study.backbone.name,
        classes=len(study.data.class_names),
        judged_images=len(study.judged),
        cells=cells,
        seconds=clock.spent_s,
        budget_s=clock.budget_s,
    )
    _write(folder, study, comparison)
    return comparison


def _begun(
    data: Data,
    backbone: str | os.PathLike[str] | Model | None,
    what: str,
    seed: int,
    out: str | os.PathLike[str] | None,
    overwrite: bool,
    device: str,
    data_dir: str | os.PathLike[str] | None,
    offline: bool,
    size_px: int | tuple[int, int] | None,
    cache: str | os.PathLike[str] | None,
    listeners: Sequence[Listener],
    budget_minutes: float | None,
) -> tuple[Study, RunFolder, Clock]:
    """Everything up to the features, with everything checked that can be."""
    clock, teller = Clock.of(budget_minutes), Teller(listeners)
    if out is not None:
        RunFolder(Path(out).expanduser()).require_free(overwrite)
    plan = make_plan(device)
    found = backbones.find(backbone, data_dir=data_dir, offline=offline, say=teller.note)
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    ready = material(
        data, found, seed=seed, size_px=size, data_dir=data_dir, offline=offline, say=teller.note
    )
    for note in ready.notes:
        teller.note(note)
    name = "test" if ready.data.test is not None else "validation"
    if name not in ready.data.splits:
        raise DataError(
            f"{ready.data.name} has one picture a class, so there is nothing to judge on",
            "two or more pictures of some class, or a folder val/ or test/",
            "Add pictures",
        )
    place = out if out is not None else claim_next(ready.data.name, f"{found.label}-{what}")
    folder = RunFolder(Path(place).expanduser())
    folder.path.mkdir(parents=True, exist_ok=True)
    kept = Path(cache).expanduser() if cache is not None else None
    features = split_features(ready.data, found, plan, tell=teller, cache=kept)
    judged = ready.data.splits[name]
    study = Study(ready.data, judged, name, found, plan, features, seed, device, folder.path, teller)
    return study, folder, clock


@dataclass(frozen=True)
class Clock:
    """The time a study may take."""

    began_at: float
    budget_s: float

    @classmethod
    def of(cls, budget_minutes: float | None) -> Clock:
        """Raises DataError when the budget is no number above 0."""
        minutes = BUDGET_MINUTES if budget_minutes is None else budget_minutes
        if not 0 < minutes < float("inf"):
            raise DataError(f"--budget {minutes!r}", "minutes, a number above 0", "Try --budget 20")
        return cls(time.perf_counter(), 60 * minutes)

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self.began_at

    def has_room(self, expected_s: float) -> bool:
        """Whether something that takes so long still fits."""
        return self.spent_s + expected_s <= self.budget_s


def _counts(per_class: Sequence[int] | None, data: ImageData) -> tuple[int, ...]:
    """The numbers of pictures a class, ascending; the last by default is all that the largest class has."""
    largest = int(np.bincount(data.train.labels).max())
    if per_class is None:
        return (*(count for count in PER_CLASS if count < largest), largest)
    if not per_class or min(per_class) < 1:
        raise DataError(f"--per-class {tuple(per_class)}", "numbers of at least 1", "Try --per-class 5,10,20")
    return tuple(sorted({min(count, largest) for count in per_class}))


def _in_order(ways: Sequence[str], counts: Sequence[int], draws: int) -> Iterator[tuple[str, int, int]]:
    """What to do first: every cell of the cheap way, then a draw of the others from few pictures to many, and so on."""
    if "extract" in ways:
        yield from (("extract", count, draw) for count in counts for draw in range(draws))
    for draw in range(draws):
        yield from ((way, count, draw) for count in counts for way in ways if way != "extract")


def _expected_s(way: str, count: int, spent: dict[tuple[str, int], float]) -> float:
    """About how long a cell takes, from the nearest one that was made: in proportion to its pictures; 0 at first."""
    known = [
        (abs(other - count), seconds * max(1.0, count / other))
        for (name, other), seconds in spent.items()
        if name == way
    ]
    return min(known)[1] if known else 0.0


def _told(way: str, count: int, draw: int, accuracy: float, clock: Clock) -> Progress:
    text = f"{way} with {count} a class, draw {draw + 1}: {accuracy:.4f}"
    return Progress(text, round(clock.spent_s), round(max(clock.budget_s, clock.spent_s)))


def cell(way: str, count: int, accuracies: Sequence[float], judged: int, seconds: float | None) -> Cell:
    """The mean of some draws and its 95 % interval; of one draw, that of its judged pictures."""
    if not accuracies:
        return Cell(way, count, (), None, None, None)
    return Cell(way, count, tuple(accuracies), mean(accuracies), interval(accuracies, judged), seconds)


def interval(accuracies: Sequence[float], judged: int) -> tuple[float, float]:
    """Where the mean over draws lies, with 95 % confidence, by Student's t; for one draw Wilson's interval.

    >>> low, high = interval([0.80, 0.82, 0.84], 100)
    >>> f"{low:.3f} to {high:.3f}"
    '0.770 to 0.870'
    """
    if len(accuracies) == 1:
        return wilson_interval(round(accuracies[0] * judged), judged)
    freedom = len(accuracies) - 1
    factor = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    half = factor * stdev(accuracies) / math.sqrt(len(accuracies))
    return max(0.0, mean(accuracies) - half), min(1.0, mean(accuracies) + half)


def _write(folder: RunFolder, study: Study, comparison: Any, name: str = "comparison") -> None:
    import json

    folder.write_config({"format_version": 1, "data": {"name": study.data.name}, "transfer": {"mode": name}})
    write_text(folder.path / f"{name}.json", json.dumps(comparison.to_json(), indent=2) + "\n")
    write_text(folder.path / f"{name}.svg", comparison.svg())
