"""What `compare` and `layers` share: draws of the same pictures, judged on the same ones, inside a budget of time."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

import numpy as np
import torch

from convscope.data.image_data import ImageData, Split
from convscope.engine.random import key
from convscope.errors import DataError
from convscope.evaluation.interval import wilson_interval
from convscope.model_file import Model, save_model, write_text
from convscope.training import Recipe, train
from convscope.training.events import EpochEnd, Event, Started
from convscope.training.folder import RunFolder
from convscope.training.spread import student_t
from convscope.training.telling import Teller
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.events import Progress
from convscope.transfer_learning.extract import SplitFeatures, chosen_fitting, small_work, split_features
from convscope.transfer_learning.finetune import BALANCE, fitting, freezing
from convscope.transfer_learning.opening import opened
from convscope.transfer_learning.start import run_folder
from convscope.transfer_learning.wish import Wish

BUDGET_MINUTES = 20.0

Places = np.ndarray[Any, np.dtype[np.int64]]


class Report(Protocol):
    """What a study leaves: as plain values and as a plot."""

    def to_json(self) -> dict[str, Any]: ...
    def svg(self) -> str: ...


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


@dataclass(frozen=True, eq=False)
class Study:
    """What every cell of a study shares; `judged` is the split `judged_name`, which nothing learns from."""

    wish: Wish
    data: ImageData
    judged: Split
    judged_name: str
    backbone: Backbone
    features: SplitFeatures
    folder: RunFolder
    teller: Teller
    clock: Clock

    @classmethod
    def begun(cls, wish: Wish, teller: Teller, budget_minutes: float | None) -> Study:
        """Everything up to the features, with everything checked that can be; its folder is there.

        Raises:
            ConvscopeError: something the user can mend.
        """
        clock = Clock.of(budget_minutes)
        found = opened(wish, teller)
        data = found.ready.data
        name = "test" if data.test is not None else "validation"
        if name not in data.splits:
            raise DataError(
                f"{data.name} has one picture a class, so there is nothing to judge on",
                "two or more pictures of some class, or a folder val/ or test/",
                "Add pictures",
            )
        freezing(found.backbone, data.input_shape, wish.freeze_until)  # raises where that cannot be
        folder = run_folder(wish, found, f"-{wish.mode}")
        folder.path.mkdir(parents=True, exist_ok=True)
        features = split_features(data, found.backbone, found.plan, tell=teller, cache=wish.cache)
        return cls(wish, data, data.splits[name], name, found.backbone, features, folder, teller, clock)

    def drawn(self, per_class: int, draw: int) -> Places:
        """Which training pictures a draw takes: so many of every class, or all of a class that has fewer; ascending."""
        labels = self.data.train.labels
        generator = torch.Generator().manual_seed(key(self.wish.seed, "draw", per_class, draw) >> 1)
        shuffled = torch.randperm(len(labels), generator=generator).numpy()
        taken = [shuffled[labels[shuffled] == label][:per_class] for label in np.unique(labels)]
        return np.sort(np.concatenate(taken))

    def subset(self, places: Places) -> ImageData:
        """The data with only these training pictures, and the judged ones as the test split."""
        return replace(
            self.data, train=self.data.train.take(places), validation=None, test=self.judged, notes=()
        )

    def head(self, places: Places, draw: int) -> tuple[Model, float]:
        """The extracted model of a draw, and its accuracy on the judged pictures."""
        rows, features = torch.from_numpy(places), self.features
        with small_work() as pool:
            fitting, twice = chosen_fitting(
                features.values["train"][rows],
                features.labels["train"][rows],
                features.middle,
                len(self.data.class_names),
                pool,
                class_weights=self.wish.class_weights,
                penalty=self.wish.penalty,
                seed=draw,
            )
            head = pool.submit(fitting.head).result()
        columns = slice(0 if twice else features.middle, None)
        scores = head.scores(features.values[self.judged_name][:, columns])
        right = (scores.argmax(1) == features.labels[self.judged_name]).double().mean()
        return self.backbone.assembled(self.data, head, twice, {}), float(right)

    def head_at_the_end(self, places: Places, draw: int) -> tuple[Model, float]:
        """The same on the features at the end alone, so that the net is the backbone's own."""
        at_the_end = {
            name: values[:, self.features.middle :] for name, values in self.features.values.items()
        }
        alone = replace(self, features=replace(self.features, values=at_the_end, middle=0))
        return alone.head(places, draw)

    def trained(
        self, places: Places, recipe: Recipe, start: Model | None, what: str, share: float = 1.0
    ) -> float | None:
        """The accuracy on the judged pictures after training on a draw, from an extracted model or from nothing.

        None where the training would not fit the budget, which is known as soon as it is about to begin.

        Args:
            what: what is trained, for the line after each epoch.
            share: the work of a step as a share of one in which every layer learns.
        """
        once = replace(recipe, early_stopping=None, hold_out=0.0, evaluations=1)
        balanced = replace(once, balance=BALANCE[self.wish.class_weights])
        with tempfile.TemporaryDirectory(dir=self.folder.path) as place:
            weights = Path(place) / "head.safetensors"
            if start is not None:
                save_model(start, weights)
            try:
                run = train(
                    self.subset(places),
                    start.net if start else self.backbone.with_classes(False),
                    fitting(balanced, len(places), self.wish.epochs),
                    seed=self.wish.seed,
                    out=Path(place) / "run",
                    device=self.wish.device,
                    augment=self.wish.augment,
                    weights=str(weights) if start else None,
                    listeners=[_Watching(self, what, share)],
                )
            except _OutOfTime:
                return None
        return float(run.result["test_accuracy"])

    def tell(self, what: str, per_class: int, draw: int, accuracy: float) -> None:
        """One draw is done; how much of the budget is spent."""
        self.say(f"{label(what, per_class, draw)}: {accuracy:.4f}")

    def say(self, text: str) -> None:
        """Something for people, and how much of the budget is spent."""
        spent_s = self.clock.spent_s
        self.teller(Progress(text, round(spent_s), round(max(self.clock.budget_s, spent_s))))

    def write(self, report: Report, name: str) -> None:
        """The report's values and plot under this name, and what the folder is of."""
        self.folder.write_config(
            {"format_version": 1, "data": {"name": self.data.name}, "transfer": {"mode": name}}
        )
        self.folder.write_skipped(self.data.skipped, self.teller.note)
        write_text(self.folder.path / f"{name}.json", json.dumps(report.to_json(), indent=2) + "\n")
        write_text(self.folder.path / f"{name}.svg", report.svg())


class _OutOfTime(Exception):
    """A training would not end within the budget."""


@dataclass(frozen=True, eq=False)
class _Watching:
    """Listens to one training of a study: ends it at once where it would take too long, and tells of its epochs."""

    study: Study
    what: str
    share: float

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started) and not self.study.clock.has_room(self.share * event.estimated_s):
            raise _OutOfTime
        if isinstance(event, EpochEnd):
            self.study.say(f"{self.what}: epoch {event.epoch}")


def label(what: str, per_class: int, draw: int) -> str:
    """Which training of a study this is.

    >>> label("finetune", 10, 0)
    'finetune with 10 a class, draw 1'
    """
    return f"{what} with {per_class} a class, draw {draw + 1}"


def interval(accuracies: Sequence[float], judged: int) -> tuple[float, float]:
    """Where the mean over draws lies, with 95 % confidence, by Student's t; for one draw Wilson's interval.

    >>> low, high = interval([0.80, 0.82, 0.84], 100)
    >>> f"{low:.3f} to {high:.3f}"
    '0.770 to 0.870'
    """
    if len(accuracies) == 1:
        return wilson_interval(round(accuracies[0] * judged), judged)
    half = student_t(len(accuracies) - 1) * stdev(accuracies) / math.sqrt(len(accuracies))
    return max(0.0, mean(accuracies) - half), min(1.0, mean(accuracies) + half)
