"""The head: logistic regression on features, its penalty chosen by cross-validation, folded into one dense layer.

Features are shifted to mean 0 and divided by one number for each group of them (those of the middle, those at the end),
which makes every group vary as much; dividing each feature by a deviation of its own, as is often done, was worse
(docs/log.md). Both are linear, so they are folded into the layer's weight and bias: the network needs no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convscope.engine.random import key
from convscope.errors import RecipeError
from convscope.transfer_learning.logistic import Axes, solve

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
TRIED_FIRST = 0.3
WITHOUT_CHOICE = 0.1
"""The penalty where every class has one image, so that nothing can be held out to choose it by."""
FOLDS = 5
MANY = 5_000
"""From so many images on one fold is enough to choose a penalty by."""
SPREAD = 30.0
"""The root of a group's summed variance after scaling: that of 900 features of deviation 1."""
CHOICE_TOLERANCE = 2e-4
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Head:
    """A dense layer and how it was chosen.

    Attributes:
        weight: (K, D), float32.
        bias: (K,), float32.
        penalty: λ.
        loss: mean cross-entropy of images that the fitting had not seen, or None.
        unseen_scores: (N, K): each training image's scores by a head that had not seen it; NaN where none was.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    loss: float | None
    unseen_scores: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Scores (N, K) of features (N, D)."""
        return features @ self.weight.T + self.bias

    def accuracy_unseen(self, labels: Tensor) -> float | None:
        """The share of right answers over images that the fitting had not seen, or None."""
        seen = self.unseen_scores.isfinite().all(1)
        if not bool(seen.any()):
            return None
        return float((self.unseen_scores[seen].argmax(1) == labels[seen]).double().mean())


@dataclass(frozen=True, eq=False)
class Scaling:
    """(z − mean)·factor, one mean and one factor a feature."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, features: Tensor, groups: Sequence[int]) -> Scaling:
        """Each group of features, of these widths from the left, scaled by one number to vary as much as the others."""
        exact = features.double()
        variance = exact.var(0, correction=0)
        factors = [
            part.new_full((len(part),), SPREAD / float(part.sum().sqrt().clamp_min(1e-12)))
            for part in torch.split(variance, list(groups))
        ]
        return cls(exact.mean(0), torch.cat(factors))

    def __call__(self, features: Tensor) -> Tensor:
        return (features.double() - self.mean) * self.factor

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (K, D) and bias (K,) that do the same to features as they come."""
        own = weight * self.factor
        return own.float(), (bias - own @ self.mean).float()


def fit_head(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    groups: Sequence[int] | None = None,
    class_weights: Tensor | None = None,
    penalty: float | None = None,
    seed: int = 0,
) -> Head:
    """Fit a head to features (N, D) and labels (N,), to convergence.

    Args:
        features: float32, finite.
        labels: int64, in [0, num_classes).
        num_classes: K.
        groups: widths of the groups of features that are scaled each by itself; None is one group.
        class_weights: how much an image of each class counts, (K,); None counts all the same.
        penalty: λ; None chooses among `PENALTIES` by cross-validation.
        seed: which images stand in which fold follows from it.

    Raises:
        RecipeError: the penalty is not a number above 0.

    >>> features = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    >>> fit_head(features, torch.tensor([0, 0, 1, 1]), 2).scores(features).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    return Fitting.of(
        features, labels, num_classes, groups=groups, class_weights=class_weights, penalty=penalty, seed=seed
    ).head()


@dataclass(frozen=True, eq=False)
class Fitting:
    """A head whose penalty is chosen and which is not fitted to all images yet: enough to compare it with another."""

    scaling: Scaling
    axes: Axes
    labels: Tensor
    counted: Tensor
    num_classes: int
    tried: Tried

    @classmethod
    def of(
        cls,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        *,
        groups: Sequence[int] | None = None,
        class_weights: Tensor | None = None,
        penalty: float | None = None,
        seed: int = 0,
    ) -> Fitting:
        """Choose the penalty; see `fit_head`."""
        require_penalty(penalty)
        scaling = Scaling.of(features, groups or [features.shape[1]])
        axes = Axes.of(scaling(features))
        counted = torch.ones(len(labels)) if class_weights is None else class_weights[labels]
        folds = folds_of(labels, seed)
        choices = (penalty,) if penalty is not None else PENALTIES
        unseen = torch.full((len(labels), num_classes), float("nan"))
        tried = Tried(penalty or WITHOUT_CHOICE, None, unseen, None)
        if folds is not None:
            tried = _cross_validated(axes.single(), labels, counted, folds, choices, num_classes)
        return cls(scaling, axes, labels, counted, num_classes, tried)

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy of images that the fitting had not seen."""
        return self.tried.loss

    def head(self) -> Head:
        """The head, fitted to all images."""
        tried = self.tried
        shares, penalties = self.counted[None, :], torch.tensor([tried.penalty])
        solution = solve(
            self.axes,
            self.labels,
            shares,
            penalties,
            self.num_classes,
            tolerance=TOLERANCE,
            start=tried.start,
        )
        weight, bias = self.scaling.folded(*self.axes.weights(solution[0]))
        return Head(weight, bias, tried.penalty, tried.loss, tried.scores)


class Tried(NamedTuple):
    """A penalty, the mean loss of images by heads that had not seen them, their scores (N, K), the heads' mean."""

    penalty: float
    loss: float | None
    scores: Tensor
    start: Tensor | None


def folds_of(labels: Tensor, seed: int) -> Tensor | None:
    """The fold of each image, (N,), int64, every class spread evenly; None where every class has a single image.

    The single image of a class stands in no fold (−1), and is always learned from. From `MANY` images on, one fifth is
    fold 0 and the others stand in no fold.

    >>> folds_of(torch.tensor([0, 0, 1, 1, 2]), 0).sort().values.tolist()
    [-1, 0, 0, 1, 1]
    """
    counts = torch.bincount(labels)
    folds = min(FOLDS, int(counts.max()))
    if folds < 2:
        return None
    # Each class begins with another fold, so that many small ones fill all of them.
    place = (_rank_in_class(labels, seed) + labels) % folds
    place = place.where(counts[labels] > 1, -1)
    return place if len(labels) < MANY else place.where(place == 0, -1)


def _rank_in_class(labels: Tensor, seed: int) -> Tensor:
    """How many images of its class come before each image in a shuffled order, (N,), int64."""
    generator = torch.Generator().manual_seed(key(seed, "folds") >> 1)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels[by_class]]
    rank = torch.empty_like(labels)
    rank[by_class] = torch.arange(len(labels)) - starts
    return rank


def _cross_validated(
    axes: Axes,
    labels: Tensor,
    counted: Tensor,
    folds: Tensor,
    penalties: Sequence[float],
    num_classes: int,
) -> Tried:
    """The penalty with which unseen images fit best: from a usual one to weaker ones until it gets worse, or else to
    stronger ones.

    The solutions for one penalty are where the search for the next begins, and weak ones, which take long, are only
    tried where they may win.
    """

    def tried(penalty: float, start: Tensor | None) -> tuple[Tried, Tensor]:
        each = torch.full((len(shares),), penalty)
        found = solve(axes, labels, shares, each, num_classes, tolerance=CHOICE_TOLERANCE, start=start)
        scores = torch.full((len(labels), num_classes), float("nan"))
        for fold in range(len(shares)):
            scores[folds == fold] = axes.positions[folds == fold] @ found[fold]
        loss = _mean_loss(scores[folds >= 0], labels[folds >= 0], counted[folds >= 0])
        return Tried(penalty, loss, scores, found.mean(0, keepdim=True).double()), found

    numbers = torch.arange(int(folds.max()) + 1)
    shares = counted * (folds != numbers[:, None])  # (folds, N)
    first = penalties.index(TRIED_FIRST) if TRIED_FIRST in penalties else 0
    begun = best, solutions = tried(penalties[first], None)
    for way in (penalties[first + 1 :], penalties[:first][::-1]):
        for penalty in way:
            other, solutions = tried(penalty, solutions)
            if not _is_better(other, best):
                break
            best = other
        if best is not begun[0]:
            break
        solutions = begun[1]
    return best


def _is_better(one: Tried, other: Tried) -> bool:
    assert one.loss is not None
    assert other.loss is not None
    return one.loss <= other.loss


def _mean_loss(scores: Tensor, labels: Tensor, counted: Tensor) -> float:
    losses = torch.nn.functional.cross_entropy(scores.double(), labels, reduction="none")
    return float((losses * counted).sum() / counted.sum())


def balanced(labels: Tensor, num_classes: int) -> Tensor:
    """Class weights (K,) with which every class counts as much, and an image on average 1; an absent class counts 0.

    >>> balanced(torch.tensor([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(labels, minlength=num_classes).float()
    present = counts > 0
    return torch.where(present, len(labels) / (counts.clamp_min(1) * present.sum()), 0.0)


def require_penalty(penalty: float | None) -> None:
    """Raises RecipeError where a penalty is not a finite number above 0."""
    if penalty is not None and not 0 < penalty < float("inf"):
        raise RecipeError(f"penalty {penalty!r}", "a finite number above 0", "Leave it out, and it is chosen")
