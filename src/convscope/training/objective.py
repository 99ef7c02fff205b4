"""What training makes small: cross-entropy on the scores, and on each training-only output with its weight."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional


def objective(
    scores: Tensor, extra: Iterable[tuple[float, Tensor]], labels: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of `scores` plus weight times that of each training-only output.

    Args:
        scores: (N, K) float, before any softmax.
        extra: (weight, scores (N, K)) of each training-only output.
        labels: (N,) int64 in [0, K).
        label_smoothing: the share of the target spread evenly over all K classes, in [0, 1).

    Returns:
        A scalar tensor.
    """
    total = functional.cross_entropy(scores, labels, label_smoothing=label_smoothing)
    for weight, more in extra:
        total = total + weight * functional.cross_entropy(more, labels, label_smoothing=label_smoothing)
    return total
