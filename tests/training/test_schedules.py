"""Schedules: bounds, ends, peaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.training.schedules import Constant, Cosine, OneCycle, Schedule, StepDown

shares = st.floats(0.05, 0.95)
schedules = st.one_of(
    st.just(Constant()),
    st.builds(StepDown, factor=shares),
    st.builds(Cosine, warmup=shares, final=shares),
    st.builds(
        OneCycle, start=shares, peak_at=shares, final=shares, down=st.sampled_from(["linear", "cosine"])
    ),
)


@given(schedule=schedules, steps=st.integers(1, 3000), at=st.floats(0, 1, exclude_max=True))
def test_every_multiplier_lies_between_0_and_1(schedule: Schedule, steps: int, at: float) -> None:
    assert 0.0 <= schedule.multiplier(int(at * steps), steps) <= 1.0 + 1e-12


@given(schedule=schedules, steps=st.integers(1, 100), scale=st.integers(2, 9), step=st.integers(0, 99))
def test_only_the_fraction_of_the_way_counts(schedule: Schedule, steps: int, scale: int, step: int) -> None:
    here, there = (
        schedule.multiplier(step % steps, steps),
        schedule.multiplier(step % steps * scale, steps * scale),
    )
    assert here == pytest.approx(there)


@given(st.builds(OneCycle, start=shares, peak_at=shares, final=shares))
def test_one_cycle_rises_to_its_peak_and_falls(schedule: OneCycle) -> None:
    values = [schedule.multiplier(step, 1000) for step in range(1000)]
    peak = values.index(max(values))
    assert peak == pytest.approx(schedule.peak_at * 1000, abs=1)
    assert values[0] == pytest.approx(schedule.start, abs=1e-9)
    assert max(values) == pytest.approx(1.0, abs=0.02)
    assert values[:peak] == sorted(values[:peak])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert values[-1] == pytest.approx(schedule.final, abs=0.03)


def test_no_step_is_made_at_rate_0() -> None:
    assert all(OneCycle(start=0.1, final=0.0).multiplier(step, 10) > 0 for step in range(10))


def test_steps_fall_where_they_are_told_to() -> None:
    values = [StepDown(at=(0.5, 0.75), factor=0.5).multiplier(step, 8) for step in range(8)]
    assert values == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
