"""How far apart the accuracies of one configuration lie when nothing but the seed changes."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.data import load_data
from convscope.errors import RecipeError
from convscope.net import Net
from convscope.training.events import Listener
from convscope.training.recipe import Recipe
from convscope.training.seeds import chosen_seeds
from convscope.training.start import train

if TYPE_CHECKING:
    from convscope.training.asked import Data

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 0.975 for 1 to 10 degrees of freedom."""


@dataclass(frozen=True)
class Spread:
    """Accuracies over seeds.

    Attributes:
        data, net, recipe: what was trained.
        split: what it was judged on, "test" or "validation".
        seeds: which.
        accuracies: one a seed, in [0, 1].
        mean, deviation: of the accuracies; the deviation is that of a sample.
        interval: 95 % for the mean over all seeds there are, by Student's t; needs accuracies that are about normal.
        train_s: median time of training.
    """

    data: str
    net: str
    recipe: str
    split: str
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    mean: float
    deviation: float
    interval: tuple[float, float]
    train_s: float

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON."""
        return {
            "data": self.data,
            "net": self.net,
            "recipe": self.recipe,
            "split": self.split,
            "seeds": list(self.seeds),
            "accuracies": list(self.accuracies),
            "mean": self.mean,
            "deviation": self.deviation,
            "interval": list(self.interval),
            "least": min(self.accuracies),
            "most": max(self.accuracies),
            "train_s": self.train_s,
        }

    def text(self) -> str:
        """The values for people."""
        low, high = self.interval
        each = ", ".join(f"{accuracy:.4f}" for accuracy in self.accuracies)
        return "\n".join(
            [
                f"{self.net} on {self.data}, recipe {self.recipe}, {len(self.seeds)} seeds:"
                f" {self.split} accuracy",
                "",
                f"mean                {self.mean:.4f}",
                f"standard deviation  {self.deviation:.4f}",
                f"95 % interval       {low:.4f} to {high:.4f}, of the mean",
                f"least and most      {min(self.accuracies):.4f} and {max(self.accuracies):.4f}",
                f"each seed           {each}",
                f"training            {self.train_s:.1f} s, the median",
            ]
        )


def spread(
    data: Data | None = None,
    net: Net | str | None = None,
    recipe: Recipe | str | None = None,
    *,
    seeds: int | Sequence[int] = 5,
    epochs: int | None = None,
    steps: int | None = None,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
) -> Spread:
    """Train the same with several seeds and say how far apart the accuracies lie.

    Args:
        data, net, recipe, epochs, steps, device, data_dir, offline, listeners: as `train` takes them.
        seeds: how many, from 0; or which. At least two.

    Raises:
        RecipeError: fewer than two seeds, or nothing to judge on.
        ConvscopeError: what `train` refuses.
    """
    which = chosen_seeds(seeds, 2, "Try --seeds 5: one seed has no spread")
    images = load_data(data, data_dir=data_dir, offline=offline)
    results = []
    for seed in which:
        with tempfile.TemporaryDirectory() as folder:
            run = train(images, net, recipe, epochs=epochs, steps=steps, device=device, seed=seed,
                        out=Path(folder) / "run", listeners=listeners)  # fmt: skip
        results.append(run.result)
    split = "test" if results[0]["test_accuracy"] is not None else "validation"
    accuracies = tuple(result[f"{split}_accuracy"] for result in results)
    if None in accuracies:
        raise RecipeError(
            f"the data {images.name}, of which nothing is left to judge on",
            "a test or validation split",
            "Add a folder test/, or take a recipe that holds some images out",
        )
    mean, deviation = statistics.fmean(accuracies), statistics.stdev(accuracies)
    half = student_t(len(which) - 1) * deviation / len(which) ** 0.5
    return Spread(
        data=results[0]["data"],
        net=results[0]["net"],
        recipe=results[0]["recipe"],
        split=split,
        seeds=which,
        accuracies=accuracies,
        mean=mean,
        deviation=deviation,
        interval=(max(0.0, mean - half), min(1.0, mean + half)),
        train_s=statistics.median(result["train_s"] for result in results),
    )


def student_t(degrees: int) -> float:
    """Student's t at 0.975: by a table, above ten degrees by Cornish and Fisher's expansion, to 0.001.

    >>> student_t(4), round(student_t(30), 3)
    (2.776, 2.042)
    """
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
