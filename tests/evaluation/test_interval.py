"""The Wilson interval against printed values and against its defining equation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.evaluation.interval import wilson_interval


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_printed_values(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_solve_the_score_equation(trial: tuple[int, int]) -> None:
    """Each bound p solves |p̂ − p| = z·√(p(1−p)/n): the equation the closed formula comes from."""
    correct, n = trial
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    z = 1.959963984540054
    for bound in (low, high):
        distance = z * math.sqrt(bound * (1 - bound) / n)
        assert abs(correct / n - bound) == pytest.approx(distance, abs=1e-9)


def test_ends_are_exact() -> None:
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 10)[1] == pytest.approx(1 - wilson_interval(10, 10)[0])


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} right of {n}"):
        wilson_interval(correct, n)
