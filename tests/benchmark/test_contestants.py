"""Turns, the listener that paces training, and each contestant for a step or two. No timing is asserted."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from convscope.benchmark import contestants
from convscope.benchmark.contestants import CONTESTANTS, Pacer, Task, Turn, random_images
from convscope.benchmark.worker import work
from convscope.engine import make_plan
from convscope.net import Net
from convscope.training.events import Note, Step

NET = Net.parse("conv(2, 3), relu, flatten, dense(3)")
TASK = Task(NET, (1, 8, 8), 4, make_plan("cpu", threads=1))


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few dozen instead of 60,000."""
    monkeypatch.setattr(contestants, "MOST_IMAGES", 64)


class Clock:
    """`time.perf_counter` under control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(contestants.time, "perf_counter", lambda: self.now)


def step(number: int) -> Step:
    return Step(step=number, epoch=1, loss=1.0, accuracy=0.5, images_per_s=0.0, seconds_left=0.0)


def test_the_pacer_measures_steps_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rates = Clock(monkeypatch), []
    pacer = Pacer(10, iter([Turn(2.0), Turn(2.0)]), rates.append)
    for number, now in ((1, 5.0), (3, 6.0), (7, 7.5)):
        clock.now = now
        pacer(step(number))
    assert rates == [(7 - 1) * 10 / 2.5]
    clock.now = 10.0
    with pytest.raises(KeyboardInterrupt):
        pacer(step(12))
    assert rates[1] == 5 * 10 / 2.5


def test_what_is_no_step_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rates = Clock(monkeypatch), []
    pacer = Pacer(1, iter([Turn(2.0), Turn(1.0)]), rates.append)
    pacer(step(1))
    clock.now = 1.0
    pacer(step(2))
    pacer(Note("an evaluation of 100 s"))
    clock.now = 101.0
    pacer(step(3))
    clock.now = 102.0
    pacer(step(4))
    assert rates == [1.0]


def test_a_turn_may_end_by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rates = Clock(monkeypatch), []
    pacer = Pacer(1, iter([Turn(math.inf, steps=3), Turn(1.0)]), rates.append)
    for number in range(1, 4):
        clock.now += 0.5
        pacer(step(number))
    assert rates == []
    clock.now += 0.5
    pacer(step(4))
    assert rates == [2.0]


@pytest.mark.parametrize("name", [pytest.param("ours", marks=pytest.mark.slow), "plain", "judge"])
def test_every_contestant_answers_every_turn(name: str) -> None:
    rates: list[float] = []
    CONTESTANTS[name](TASK, iter([Turn(0.01), Turn(0.01)]), rates.append)
    assert len(rates) == 2
    assert all(rate > 0 and math.isfinite(rate) for rate in rates)


def test_the_limit_is_measured_once_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope.benchmark.limit import Clock as LimitClock

    monkeypatch.setattr(LimitClock, "_best_s", lambda self, operation: 0.5)
    rates: list[float] = []
    CONTESTANTS["limit"](TASK, iter([Turn(1.0), Turn(1.0)]), rates.append)
    # conv forward and weights, dense forward, input and weights; images and optimizer: seven parts
    assert rates == [4 / 3.5, 4 / 3.5]


def test_noise_is_the_same_each_time_and_has_every_class() -> None:
    one, two = random_images(TASK), random_images(TASK)
    assert np.array_equal(one.train.images, two.train.images)
    assert set(one.train.labels) == {0, 1, 2}
    assert len(one.train) == 64


def test_there_are_some_batches_of_noise_however_large_they_are() -> None:
    assert len(random_images(Task(NET, (1, 8, 8), 32, TASK.plan)).train) == 8 * 32


def test_a_task_survives_json() -> None:
    assert Task.from_json(json.loads(json.dumps(TASK.to_json()))) == TASK


def test_the_worker_answers_a_line_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(task: Task, turns: Iterator[Turn], report: contestants.Report) -> None:
        assert task == TASK
        for turn in turns:
            report(turn.seconds * 2)

    monkeypatch.setitem(CONTESTANTS, "counts", counts)
    order = json.dumps({"contestant": "counts", "task": TASK.to_json()})
    answers = io.StringIO()
    work(io.StringIO(f'{order}\n{{"seconds": 1.5}}\n{{"seconds": 2.0}}\n'), answers)
    assert [json.loads(line) for line in answers.getvalue().splitlines()] == [
        {"images_per_s": 3.0},
        {"images_per_s": 4.0},
    ]
