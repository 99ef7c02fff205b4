"""Where the threshold of "none of these" comes from: held-out pictures of known classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from convscope.errors import RecipeError
from convscope.transfer_learning.head import folds_of
from convscope.transfer_learning.logistic import principal
from convscope.unknown import Unknown, distance

MOST_AXES = 100
FEWEST_IMAGES = 20
"""Below so many held-out pictures no share of a few percent can be measured, and there is no rule."""


def axes_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of features (N, D) and the axes (R, D) along which they vary most; R is N/3 and at most 100."""
    mean = features.mean(0)
    wanted = max(1, min(MOST_AXES, len(features) // 3, features.shape[1] // 2))
    return mean, principal((features - mean).double(), wanted).directions.float().contiguous()


def unseen_distances(
    features: Tensor, labels: Tensor, seed: int, side_by_side: Callable[..., Iterable[Tensor]] = map
) -> Tensor:
    """The distance of each training picture to axes that were made without it, (N,); NaN where there is no fold.

    `side_by_side` is `map`, or that of a pool.
    """
    found = torch.full((len(features),), float("nan"))
    folds = folds_of(labels, seed)
    if folds is not None:
        outside = [folds == fold for fold in range(int(folds.max()) + 1)]
        for out, apart in zip(outside, side_by_side(_distances(features), outside), strict=True):
            found[out] = apart
    return found


def _distances(features: Tensor) -> Callable[[Tensor], Tensor]:
    """From a mask of pictures to their distances to the axes of all others."""
    return lambda out: distance(features[out], *axes_of(features[~out]))


def calibrated(
    axes_of_known: tuple[Tensor, Tensor],
    held_out_distances: Tensor,
    held_out_scores: Tensor,
    false_alarms: float,
) -> Unknown | None:
    """The rule that calls the stated share of the held-out pictures unknown, or None where they are too few.

    Args:
        axes_of_known: the mean and the axes of the training pictures, see `axes_of`.
        held_out_distances: of pictures that the axes had not seen, (M,); those that are NaN are left out.
        held_out_scores: the scores of the same pictures by a head that had not seen them, (M, K).
        false_alarms: in (0, 1).

    Raises:
        RecipeError: the rate is not in (0, 1).
    """
    require_rate(false_alarms)
    usable = held_out_distances.isfinite() & held_out_scores.isfinite().all(1)
    if int(usable.sum()) < FEWEST_IMAGES:
        return None
    energy, apart = held_out_scores[usable].logsumexp(1), held_out_distances[usable]
    mean, axes = axes_of_known
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


def require_rate(false_alarms: float) -> None:
    """Raises RecipeError where a rate of false alarms is not in (0, 1)."""
    if not 0 < false_alarms < 1:
        raise RecipeError(
            f"a rate of false alarms of {false_alarms!r}", "a number above 0 and below 1", "Try 0.05"
        )
