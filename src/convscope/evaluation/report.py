"""The outcome of an evaluation: numbers, intervals, the confusion matrix, the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.evaluation.interval import wilson_interval

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """How one class fared. A fraction that has nothing to count is None, not zero.

    recall = right among the images *of* the class; precision = right among the images *called* the class.
    """

    label: str
    n: int
    correct: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Mistake:
    """One image that was called something else. `index` counts from 0 within the split."""

    index: int
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Report:
    """What a model does on a split it was not trained on.

    `accuracy_interval` is the 95 % Wilson interval; `confusion[i][j]` counts images of class i (row = true class)
    that were called class j; `loss` is the mean cross-entropy in nats; fractions are in [0, 1]. `balanced_accuracy` is
    the mean recall of the classes that have images, None where they are of about equal size (less than 2 to 1).
    """

    model: str
    data: str
    origin: str
    split: str
    n: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    class_names: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    worst: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    balanced_accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        return asdict(self)

    def render(self) -> str:
        """The report as plain text, a few lines for the totals and a table for the rest."""
        from convscope.evaluation.text import render_report

        return render_report(self)


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int) -> Matrix:
    """Counts (K, K): row = true class, column = what it was called.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    cell = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predicted, dtype=np.int64)  # (N,)
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Matrix, class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Recall, precision and F1 of each class from a confusion matrix (K, K)."""
    of_class, called, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    return tuple(
        ClassScore(
            label=name,
            n=int(of_class[k]),
            correct=int(right[k]),
            recall=_ratio(right[k], of_class[k]),
            precision=_ratio(right[k], called[k]),
            # F1 = 2·right / (images of the class + images called it): the harmonic mean without dividing by 0 twice.
            f1=_ratio(2 * right[k], of_class[k] + called[k]),
        )
        for k, name in enumerate(class_names)
    )


def worst_mistakes(
    probabilities: npt.NDArray[np.float32], labels: Matrix, class_names: Sequence[str], most: int = 10
) -> tuple[Mistake, ...]:
    """The mistakes the model was surest of, surest first; equals in the order of their index.

    `probabilities` (N, K), `labels` (N,).
    """
    predicted = probabilities.argmax(axis=1)  # (N,)
    sureness = probabilities.max(axis=1)  # (N,)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:most]
    return tuple(
        Mistake(int(i), class_names[labels[i]], class_names[predicted[i]], float(sureness[i])) for i in surest
    )


def accuracy_with_interval(correct: int, n: int) -> tuple[float, tuple[float, float]]:
    """The fraction of right answers and its 95 % Wilson interval."""
    return correct / n, wilson_interval(correct, n)


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
