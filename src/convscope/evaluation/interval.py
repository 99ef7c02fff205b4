"""How sure an accuracy is: the Wilson score interval of a fraction."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds the true fraction with the given confidence, for `correct` of `n` independent trials.

    Unlike `p ± 1.96·s` it stays inside [0, 1] and keeps its width at 0 and at n right answers.

    Raises:
        ValueError: n is below 1, or correct is not in 0…n.
    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.

    >>> low, high = wilson_interval(9_893, 10_000)
    >>> f"{low:.4f} to {high:.4f}"
    '0.9871 to 0.9911'
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} right of {n}; expected 0 <= right <= n and n >= 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    fraction = correct / n
    scale = 1 + z * z / n
    centre = (fraction + z * z / (2 * n)) / scale
    half_width = z / scale * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    # At the two ends one bound is exactly 0 or 1 on paper; rounding must not move it.
    low = 0.0 if correct == 0 else max(0.0, centre - half_width)
    high = 1.0 if correct == n else min(1.0, centre + half_width)
    return low, high
