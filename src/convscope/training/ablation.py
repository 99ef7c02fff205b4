"""What each trick of a recipe buys: the recipe as it is, and without one trick at a time, on the same seeds."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.data import load_data
from convscope.data.image_data import ImageData
from convscope.errors import RecipeError
from convscope.net import Net
from convscope.training import recipes
from convscope.training.events import Listener
from convscope.training.optimizers import SGD, Muon
from convscope.training.recipe import Recipe
from convscope.training.schedules import Constant
from convscope.training.seeds import chosen_seeds
from convscope.training.start import train

if TYPE_CHECKING:
    from convscope.training.asked import Data

WHOLE = "everything"


@dataclass(frozen=True)
class Row:
    """A recipe with everything, or without one trick, over the seeds.

    Attributes:
        trick: what was left out, and what stands in its place; "everything" for the recipe as it is.
        accuracies: test accuracy of each seed, in [0, 1]; validation accuracy where the data have no test split.
        accuracy, spread: their mean, and their standard deviation (None for one seed).
        difference: mean over the seeds of this accuracy minus that of everything; below 0 where the trick helps.
        difference_spread: the standard deviation of that difference over the seeds (None for one seed).
        train_s: median time of training.
        failed: why a seed gave no accuracy, or None.
    """

    trick: str
    accuracies: tuple[float, ...]
    accuracy: float | None
    spread: float | None
    difference: float | None
    difference_spread: float | None
    train_s: float | None
    failed: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON."""
        return {**asdict(self), "accuracies": list(self.accuracies)}


@dataclass(frozen=True)
class Ablation:
    """The rows of one study, the recipe as it is first, then the tricks in the order in which a recipe names them."""

    recipe: str
    data: str
    net: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON."""
        return {
            "recipe": self.recipe,
            "data": self.data,
            "net": self.net,
            "seeds": list(self.seeds),
            "rows": [row.to_json() for row in self.rows],
        }

    def text(self) -> str:
        """The rows as a table; accuracies and differences in percent."""
        seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        width = max(len(row.trick) for row in self.rows) + len("without ")
        head = f"{'':<{width}}  {'accuracy, %':>14}  {'difference':>14}  {'train, s':>9}"
        lines = [f"{self.recipe}: {self.net} on {self.data}, {seeds}", "", head]
        return "\n".join([*lines, *(_line(row, width) for row in self.rows)])


def tricks(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe without each of its tricks, by what is left out; what it does not use is no trick.

    >>> list(tricks(recipes.get("fast")))
    ['label smoothing', 'schedule (a constant rate)']
    """
    return {name: changed for name, changed in _without(recipe) if changed != recipe}


def ablate(
    recipe: str | Recipe,
    data: Data | None = None,
    net: Net | str | None = None,
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int | None = None,
    steps: int | None = None,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
) -> Ablation:
    """Train with a recipe as it is and without each of its tricks, and compare.

    Args:
        recipe: a name or a Recipe with at least one trick.
        data, net: as `train` takes them; None for the recipe's own.
        seeds: how many, from 0; or which.
        epochs, steps: a length in place of the recipe's.
        device, data_dir, offline, listeners: as `train` takes them.

    Raises:
        RecipeError: the recipe has no trick, or the seeds are none.
        ConvscopeError: what `train` refuses.
    """
    chosen = recipes.get(recipe).adjusted(epochs=epochs, steps=steps)
    which = chosen_seeds(seeds, 1, "Try --seeds 3")
    variants = tricks(chosen)
    if not variants:
        raise RecipeError(
            f"the recipe {chosen.name}, which has no trick to leave out",
            "a recipe with at least one",
            "Try mnist99",
        )
    source = chosen.data if data is None else data
    images = (
        source
        if isinstance(source, ImageData)
        else load_data(source, data_dir=data_dir, offline=offline, size_px=None)
    )
    how = {"net": net, "device": device, "listeners": listeners}
    runs = {name: _runs(images, each, which, how) for name, each in {WHOLE: chosen, **variants}.items()}
    rows = tuple(_row(name, done, runs[WHOLE]) for name, done in runs.items())
    label = net if isinstance(net, str) else "custom" if net is not None else chosen.net or "lecture"
    return Ablation(chosen.name, images.name, label, which, rows)


# ---- which tricks there are -----------------------------------------------------------------------------------------


def _without(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Every trick that there is, and the recipe without it; where it has none, the very same recipe."""
    if recipe.augmentation:
        augmentation = recipe.augmentation
        if augmentation.flip == "alternating":
            yield "alternating flip (random)", _with(recipe, replace(augmentation, flip="random"))
        for change in fields(augmentation):
            name = change.name.removesuffix("_px").removesuffix("_deg")
            without: dict[str, Any] = {change.name: change.default}
            yield name, _with(recipe, replace(augmentation, **without))
    yield "whitening", replace(recipe, whitening=None)
    yield "identity filters", replace(recipe, identity_filters=False)
    yield "label smoothing", replace(recipe, label_smoothing=0.0)
    yield "averaging", replace(recipe, averaging=None)
    yield "rate factors", replace(recipe, rate_factors=None, head_gain=1.0)
    yield "schedule (a constant rate)", replace(recipe, schedule=Constant())
    yield from _other_optimizers(recipe)
    yield "views", replace(recipe, views="one")


def _with(recipe: Recipe, augmentation: Any) -> Recipe:
    return replace(recipe, augmentation=augmentation)


def _other_optimizers(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    used = recipe.optimizer
    if isinstance(used, Muon):
        plain = SGD(rate=used.other_rate, momentum=used.other_momentum, weight_decay=used.weight_decay)
        yield "Muon (SGD everywhere)", replace(recipe, optimizer=plain)
    if isinstance(used, SGD) and used.nesterov:
        yield "Nesterov's momentum", replace(recipe, optimizer=replace(used, nesterov=False))


# ---- training and counting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Done:
    """One training: its accuracy in [0, 1] and how long it took."""

    accuracy: float
    train_s: float


def _runs(data: ImageData, recipe: Recipe, seeds: Sequence[int], how: dict[str, Any]) -> list[_Done] | str:
    """One training a seed; or, where the recipe without its trick stops learning, the sentence that says so."""
    from convscope.errors import DivergedError

    done = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = train(data, recipe=recipe, seed=seed, out=Path(folder) / "run", **how)
            except DivergedError as error:
                return f"seed {seed}: {error.received}"
        accuracy = run.result["test_accuracy"]
        accuracy = run.result["validation_accuracy"] if accuracy is None else accuracy
        if accuracy is None:
            raise RecipeError(
                f"the data {data.name}, of which nothing is left to judge on",
                "a test or validation split",
                "Set hold_out above 0",
            )
        done.append(_Done(accuracy, run.result["train_s"]))
    return done


def _row(trick: str, done: list[_Done] | str, whole_recipe: list[_Done] | str) -> Row:
    if isinstance(done, str):
        return Row(trick, (), None, None, None, None, None, failed=done)
    accuracies = tuple(each.accuracy for each in done)
    differences: list[float] = []
    if not isinstance(whole_recipe, str):
        differences = [each.accuracy - other.accuracy for each, other in zip(done, whole_recipe, strict=True)]
    return Row(
        trick,
        accuracies,
        statistics.fmean(accuracies),
        _spread(accuracies),
        statistics.fmean(differences) if differences else None,
        _spread(differences),
        statistics.median(each.train_s for each in done),
    )


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _line(row: Row, width: int) -> str:
    name = row.trick if row.trick == WHOLE else f"without {row.trick}"
    if row.accuracy is None:
        return f"{name:<{width}}  {row.failed}"
    accuracy = _percent(row.accuracy, row.spread, "")
    difference = (
        ""
        if row.trick == WHOLE or row.difference is None
        else _percent(row.difference, row.difference_spread, "+")
    )
    return f"{name:<{width}}  {accuracy:>14}  {difference:>14}  {row.train_s:>9.1f}"


def _percent(value: float, spread: float | None, sign: str) -> str:
    """12.34 ± 0.05, without the second number where it is not known."""
    return f"{100 * value:{sign}.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}")
