"""compare: extract, finetune and scratch at several numbers of pictures a class, on the same draws of the same folder.

Each number is drawn several times; every way learns from the same pictures and is judged on the same ones, which none
has seen. Ways that cost much are made as often as the time allows, cheapest first, and what was left out is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean

import numpy as np

from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.errors import DataError
from convscope.model_file import Model
from convscope.training import Recipe
from convscope.training.augmentation import Augmentation
from convscope.training.events import Listener
from convscope.training.telling import Teller
from convscope.transfer_learning.comparison_text import Cell, Comparison
from convscope.transfer_learning.finetune import finetune_recipe, freezing, scratch_recipe
from convscope.transfer_learning.material import Data
from convscope.transfer_learning.study import Study, interval, label
from convscope.transfer_learning.wish import Wish, pair, place

PER_CLASS = (5, 10, 20, 50, 100, 200, 500)
DRAWS = 5


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
    fit: Fit | None = None,
    augment: str | Augmentation | None = None,
    salvage: bool = False,
    most_unreadable: float = MOST_UNREADABLE,
    class_weights: str = "equal",
    penalty: float | None = None,
    freeze_until: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
) -> Comparison:
    """The three ways side by side, and which of them to use for this folder.

    Args:
        data, backbone, seed, out, overwrite, device, data_dir, offline, size_px, fit, augment, salvage,
            most_unreadable, class_weights, penalty, freeze_until, cache: as `transfer` has them.
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
    wish = Wish(
        data=data,
        backbone=backbone,
        mode="compare",
        seed=seed,
        out=out,
        overwrite=overwrite,
        device=device,
        data_dir=data_dir,
        offline=offline,
        size_px=pair(size_px),
        fit=fit,
        augment=augment,
        salvage=salvage,
        most_unreadable=most_unreadable,
        class_weights=class_weights,
        penalty=penalty,
        freeze_until=freeze_until,
        epochs=epochs,
        cache=place(cache),
    )
    study = Study.begun(wish, Teller(listeners), budget_minutes)
    wanted = _counts(per_class, study.data)
    made = _Made.nothing(ways, wanted)
    recipes = _recipes(study)
    for way, count, draw in _in_order(ways, wanted, draws or DRAWS):
        if way == "extract" or study.clock.has_room(made.expected_s(way, count)):
            began_at = time.perf_counter()
            accuracy = _accuracy(study, way, count, draw, recipes)
            if accuracy is not None:
                made.add(way, count, accuracy, time.perf_counter() - began_at)
                study.tell(way, count, draw, accuracy)
    comparison = _comparison(study, made)
    study.write(comparison, "comparison")
    return comparison


def _recipes(study: Study) -> dict[str, Recipe]:
    """How the ways that train are trained."""
    size, epochs = study.data.preprocessing.size_px, study.wish.epochs
    until = freezing(study.backbone, study.data.input_shape, study.wish.freeze_until)
    return {"finetune": finetune_recipe(size, until, epochs), "scratch": scratch_recipe(size, epochs)}


def _accuracy(study: Study, way: str, count: int, draw: int, recipes: dict[str, Recipe]) -> float | None:
    """The accuracy of one way on one draw; None where there is no time for it."""
    places, what = study.drawn(count, draw), label(way, count, draw)
    if way == "scratch":
        return study.trained(places, recipes[way], None, what)
    start, accuracy = study.head(places, draw)
    return study.trained(places, recipes[way], start, what) if way == "finetune" else accuracy


@dataclass(frozen=True)
class _Made:
    """What was made so far: accuracies, and the seconds that the last draw took, by way and pictures a class."""

    accuracies: dict[tuple[str, int], list[float]]
    spent_s: dict[tuple[str, int], float] = field(default_factory=dict)

    @classmethod
    def nothing(cls, ways: Sequence[str], counts: Sequence[int]) -> _Made:
        return cls({(way, count): [] for count in counts for way in ways})

    def add(self, way: str, count: int, accuracy: float, seconds: float) -> None:
        self.accuracies[way, count].append(accuracy)
        self.spent_s[way, count] = seconds

    def expected_s(self, way: str, count: int) -> float:
        """About how long a cell takes, by the nearest one that was made, in proportion to its pictures; 0 at first."""
        known = [
            (abs(other - count), seconds * max(1.0, count / other))
            for (name, other), seconds in self.spent_s.items()
            if name == way
        ]
        return min(known)[1] if known else 0.0


def _comparison(study: Study, made: _Made) -> Comparison:
    cells = tuple(
        cell(way, count, accuracies, len(study.judged), made.spent_s.get((way, count)))
        for (way, count), accuracies in made.accuracies.items()
    )
    return Comparison(
        folder=str(study.folder.path),
        data=study.data.name,
        backbone=study.backbone.name,
        classes=len(study.data.class_names),
        judged_images=len(study.judged),
        cells=cells,
        seconds=study.clock.spent_s,
        budget_s=study.clock.budget_s,
    )


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


def cell(way: str, count: int, accuracies: Sequence[float], judged: int, seconds: float | None) -> Cell:
    """The mean of some draws and its 95 % interval; of one draw, that of its judged pictures."""
    if not accuracies:
        return Cell(way, count, (), None, None, None)
    return Cell(way, count, tuple(accuracies), mean(accuracies), interval(accuracies, judged), seconds)
