"""What training makes small: a loss of the scores, and of each training-only output with its weight.

    loss            of scores s and the true class c
    cross_entropy   −s_c + log Σ_k e^{s_k}
    map             −s_c + log(e^{−j} + Σ_k e^{s_k}), with a constant j > 0: LeNet-5's

With LeNet-5's output the scores are minus the distances y_k to each class's code, so `map` is the paper's
y_c + log(e^{−j} + Σ_k e^{−y_k}) (LeCun et al. 1998, eq. 9). It is the cross-entropy beside one more class of "rubbish"
whose score is always −j: that keeps pulling y_c down, and stops pushing away classes that are further than j.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LOSSES = ("cross_entropy", "map")


@dataclass(frozen=True)
class Target:
    """What the scores of a batch should say.

    Attributes:
        labels: (N,), int64, the class of each image; of a mixed one that of its larger part.
        others: (N,), int64, the class of each image's smaller part, or None where none is mixed.
        share: (N,), float32, the larger part's share, likewise.
        weights: (K,), float32, what an image of each class counts, or None where all count 1.
    """

    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None
    weights: Tensor | None = None

    def loss(self, scores: Tensor, label_smoothing: float) -> Tensor:
        """The mean cross-entropy over the images; of a mixed one that of both classes, each by its share."""
        if self.others is None and self.weights is None:
            return functional.cross_entropy(scores, self.labels, label_smoothing=label_smoothing)
        each = self._each(scores, self.labels, label_smoothing)
        if self.others is not None and self.share is not None:
            each = self.share * each + (1 - self.share) * self._each(scores, self.others, label_smoothing)
        return each.mean()

    def _each(self, scores: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """The cross-entropy of each image (N,), times its class's weight."""
        each = functional.cross_entropy(scores, labels, label_smoothing=label_smoothing, reduction="none")
        return each if self.weights is None else each * self.weights[labels]


def objective(
    scores: Tensor,
    extra: Iterable[tuple[float, Tensor]],
    target: Tensor | Target,
    label_smoothing: float = 0.0,
    *,
    loss: str = "cross_entropy",
    map_constant: float = 0.0,
) -> Tensor:
    """Mean loss of `scores` plus weight times that of each training-only output.

    Args:
        scores: (N, K) float, before any softmax.
        extra: (weight, scores (N, K)) of each training-only output.
        target: labels (N,) int64 in [0, K), or a `Target`.
        label_smoothing: the share of the target spread evenly over all K classes, in [0, 1).
        loss: one of `LOSSES`.
        map_constant: the constant j of the loss `map`.

    Returns:
        A scalar tensor.
    """

    wanted = target if isinstance(target, Target) else Target(target)

    def one(given: Tensor) -> Tensor:
        whole = _beside_rubbish(given, map_constant) if loss == "map" else given
        return wanted.loss(whole, label_smoothing)

    total = one(scores)
    for weight, more in extra:
        total = total + weight * one(more)
    return total


def _beside_rubbish(scores: Tensor, constant: float) -> Tensor:
    """The scores (N, K) and one more class whose score is always −constant, (N, K + 1)."""
    return torch.cat([scores, scores.new_full((len(scores), 1), -constant)], dim=1)
