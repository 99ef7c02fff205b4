"""A model's accuracy again, without the pictures it could have learned by heart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data.checking import DataReport
from convscope.engine.plan import make_plan
from convscope.engine.scoring import score
from convscope.errors import DataError, did_you_mean
from convscope.evaluation.report import accuracy_with_interval
from convscope.model_file import Model, load_model

PICTURES_AT_ONCE = 512


@dataclass(frozen=True)
class Restated:
    """The accuracy on a split, and on what is left of it without leakage.

    Args:
        split: the one that was judged: test, else validation.
        n, correct, accuracy, accuracy_interval: over every readable picture of it.
        leaked: how many of these an earlier split holds too.
        n_without, correct_without, accuracy_without, accuracy_interval_without: over the others; None where
            none is left.
    """

    split: str
    n: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    leaked: int
    n_without: int
    correct_without: int
    accuracy_without: float | None
    accuracy_interval_without: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def render(self) -> str:
        """One sentence."""
        line = f"Accuracy on {self.split}: {_text(self.accuracy, self.accuracy_interval)} of {self.n:,}"
        if not self.leaked:
            return f"{line}; none of them is in an earlier split."
        if self.accuracy_without is None or self.accuracy_interval_without is None:
            return f"{line}; every one of them is in an earlier split too, so this says nothing."
        without = _text(self.accuracy_without, self.accuracy_interval_without)
        return f"{line}; without the {self.leaked:,} that an earlier split holds too, {without} of {self.n_without:,}."


def accuracy_without_leaks(
    model: Model | str | os.PathLike[str],
    report: DataReport,
    *,
    device: str = "auto",
    progress: Callable[[str], None] = lambda line: None,
) -> Restated:
    """Judge a model on the test split (else validation) of checked data, with and without what leaked into it.

    Args:
        model: a model, its file, or a run folder.
        report: of `check_data`, for the data in question.
        device: "auto", "cpu" or "cuda".
        progress: receives a line before the judging.

    Raises:
        ModelFileError: the model cannot be read.
        DataError: the data have neither split, or a class the model does not know.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    split = next((name for name in ("test", "validation") if name in report.splits), None)
    if split is None:
        raise DataError(
            f"{report.source.name} has neither a test nor a validation split",
            "one that the model can be judged on",
            "Leave --model out, or add a folder test/ or val/ beside train/",
        )
    chosen = [k for k, item in enumerate(report.source.items) if item.split == split]
    positions = [k for k in chosen if report.glances["is_read"][k]]
    progress(f"Judging the model on {len(positions):,} pictures of {split}.")
    is_correct = _predicted(loaded, report, positions, device) == _labels(loaded, report, positions)
    leaked_paths = {leak.item.path for leak in report.leakage}
    is_leaked = np.array([report.source.items[k].path in leaked_paths for k in positions])
    return _restated(split, is_correct, is_leaked)


def _labels(model: Model, report: DataReport, positions: list[int]) -> npt.NDArray[np.int64]:
    """(N,), in the model's numbering; classes are matched by name."""
    number = {name: k for k, name in enumerate(model.class_names)}
    for name in report.source.class_names:
        if name not in number:
            raise DataError(
                f"class {name!r} of {report.source.name}, which the model does not know",
                "classes among the model's: " + ", ".join(list(number)[:10]),
                did_you_mean(name, number) or "Judge it on data with the same class names",
            )
    return np.array([number[report.source.items[k].class_name] for k in positions], dtype=np.int64)


def _predicted(model: Model, report: DataReport, positions: list[int], device: str) -> npt.NDArray[np.int64]:
    """(N,), decoded and scored some hundreds at a time."""
    plan = make_plan(device)
    plan.apply()
    module = model.module.to(plan.device).eval()
    found = []
    for start in range(0, len(positions), PICTURES_AT_ONCE):
        part = positions[start : start + PICTURES_AT_ONCE]
        pixels = np.stack([report.pixels(position, model.preprocessing) for position in part])  # (n, C, H, W)
        scores = score(module, pixels, model.preprocessing, plan)  # (n, K)
        found.append(scores.argmax(dim=1).numpy())
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _restated(split: str, is_correct: npt.NDArray[np.bool_], is_leaked: npt.NDArray[np.bool_]) -> Restated:
    rest = is_correct[~is_leaked]
    accuracy, interval = accuracy_with_interval(int(is_correct.sum()), len(is_correct))
    without = accuracy_with_interval(int(rest.sum()), len(rest)) if len(rest) else (None, None)
    return Restated(
        split=split,
        n=len(is_correct),
        correct=int(is_correct.sum()),
        accuracy=accuracy,
        accuracy_interval=interval,
        leaked=int(is_leaked.sum()),
        n_without=len(rest),
        correct_without=int(rest.sum()),
        accuracy_without=without[0],
        accuracy_interval_without=without[1],
    )


def _text(accuracy: float, interval: tuple[float, float]) -> str:
    return f"{accuracy:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"
