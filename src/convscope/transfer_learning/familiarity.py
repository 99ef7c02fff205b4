"""Where the threshold of "none of these" comes from: held-out pictures of known classes."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope.errors import RecipeError
from convscope.transfer_learning.head import folds_of
from convscope.transfer_learning.logistic import Axes
from convscope.unknown import Unknown, distance

MOST_AXES = 100
FEWEST_IMAGES = 20
"""Below so many held-out pictures no share of a few percent can be measured, and there is no rule."""


def axes_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of features (N, D) and the axes (R, D) along which they vary most; R is N/3 and at most 100."""
    mean = features.mean(0)
    wanted = max(1, min(MOST_AXES, len(features) // 3, features.shape[1] // 2))
    return mean, Axes.of(features - mean).directions[-wanted:].float().contiguous()  # the longest come last


def unseen_distances(features: Tensor, labels: Tensor, seed: int) -> Tensor:
    """The distance of each training picture to axes that were made without it, (N,); NaN where there is no fold."""
    found = torch.full((len(features),), float("nan"))
    folds = folds_of(labels, seed)
    if folds is not None:
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            found[out] = distance(features[out], *axes_of(features[~out]))
    return found


def calibrated(
    features: Tensor, held_out_distances: Tensor, held_out_scores: Tensor, false_alarms: float
) -> Unknown | None:
    """The rule that calls the stated share of the held-out pictures unknown, or None where they are too few.

    Args:
        features: of the training pictures, (N, D).
        held_out_distances: of pictures that the axes had not seen, (M,); those that are NaN are left out.
        held_out_scores: the scores of the same pictures by a head that had not seen them, (M, K).
        false_alarms: in (0, 1).

    Raises:
        RecipeError: the rate is not in (0, 1).
    """
    if not 0 < false_alarms < 1:
        raise RecipeError(
            f"a rate of false alarms of {false_alarms!r}", "a number above 0 and below 1", "Try 0.05"
        )
    usable = held_out_distances.isfinite() & held_out_scores.isfinite().all(1)
    if int(usable.sum()) < FEWEST_IMAGES:
        return None
    energy, apart = held_out_scores[usable].logsumexp(1), held_out_distances[usable]
    mean, axes = axes_of(features)
    rule = Unknown(
        false_alarms=float(false_alarms),
        threshold=0.0,
        energy_mean=float(energy.mean()),
        energy_std=max(float(energy.std()), 1e-6),
        distance_mean=float(apart.mean()),
        distance_std=max(float(apart.std()), 1e-6),
        mean=mean,
        axes=axes,
    )
    familiarity = (energy - rule.energy_mean) / rule.energy_std
    familiarity = familiarity - (apart - rule.distance_mean) / rule.distance_std
    threshold = float(familiarity.double().quantile(false_alarms))
    return Unknown(**{**rule.to_json(), "threshold": threshold}, mean=mean, axes=axes)
