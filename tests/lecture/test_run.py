"""The lecture's run: its own numbers, the verdict with its band, and no judgement on other data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.data import ImageData, from_arrays
from convscope.lecture import LectureRun, render, run
from convscope.lecture.run import (
    LECTURE,
    Epoch,
    Numbers,
    SeedRun,
    is_full_mnist,
    judged,
    row_of,
)
from convscope.training import EpochEnd, Run


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.engine.plan.available_cores", lambda: 1)


@pytest.fixture
def small() -> ImageData:
    """40 pictures of the lecture's size in ten classes, 20 to test on."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 1, 28, 28)).astype(np.uint8)
    labels = np.arange(60) % 10
    return from_arrays(noise[:40], labels[:40], test=(noise[40:], labels[40:]), name="mnist")


@dataclasses.dataclass
class FullSize:
    """What the verdict asks of data, in MNIST's sizes."""

    name: str = "mnist"
    origin: str = "somewhere"
    train: Any = range(60_000)
    splits: Any = dataclasses.field(default_factory=lambda: {"train": range(60_000), "test": range(10_000)})


def seed_run(accuracy: float, epochs: int = 5) -> SeedRun:
    rows = tuple(Epoch(i + 1, LECTURE[min(i, 4)], LECTURE[i] if i < 5 else None) for i in range(epochs))
    return SeedRun(0, Run(Path("runs/x"), {"test_accuracy": accuracy}), rows)


def test_the_lecture_s_lines_are_those_of_its_notebook() -> None:
    assert len(LECTURE) == 5
    assert LECTURE[0] == Numbers(0.2594, 0.9199, 0.0536, 0.9821)
    assert LECTURE[4].validation_accuracy == 0.9893


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [([0.9893], "holds"), ([0.9922], "holds"), ([0.9924], "does not hold"), ([0.9862], "does not hold"),
     ([0.985, 0.9936], "holds")],
)  # fmt: skip
def test_the_verdict_uses_the_mean_and_its_band(accuracies: list[float], verdict: str) -> None:
    outcome = judged(FullSize(), [seed_run(accuracy) for accuracy in accuracies])  # type: ignore[arg-type]
    assert outcome.verdict == verdict
    assert outcome.band == (0.9863, 0.9923)
    assert "0.9893 ± 0.003 (0.9863 to 0.9923)" in outcome.reason


def test_another_length_is_not_judged() -> None:
    outcome = judged(FullSize(), [seed_run(0.9893, epochs=2)])  # type: ignore[arg-type]
    assert outcome.verdict is None
    assert "trained for 5 epochs, this run did not" in outcome.reason


def test_full_mnist_is_told_by_name_and_sizes(small: ImageData) -> None:
    assert is_full_mnist(FullSize())  # type: ignore[arg-type]
    assert not is_full_mnist(small)
    assert not is_full_mnist(FullSize(name="fashion-mnist"))  # type: ignore[arg-type]


def test_a_run_on_other_data_is_shown_and_not_judged(small: ImageData, tmp_path: Path) -> None:
    events = []
    outcome = run(small, seeds=(0, 1), epochs=1, out=tmp_path / "lecture", listeners=[events.append])
    assert isinstance(outcome, LectureRun)
    assert outcome.verdict is None
    assert "40 training images" in outcome.reason
    assert "nothing is judged" in outcome.reason
    assert [each.run.folder.name for each in outcome.runs] == ["seed-0", "seed-1"]
    assert outcome.mean_test_accuracy == pytest.approx(
        sum(each.run.result["test_accuracy"] for each in outcome.runs) / 2)  # fmt: skip
    assert outcome.runs[0].epochs[0].ours.validation_accuracy == outcome.runs[0].test_accuracy
    assert outcome.runs[0].epochs[0].lecture == LECTURE[0]
    json.dumps(outcome.to_json())
    text = render(outcome)
    for part in (
        "seed 0",
        "seed 1",
        "0.2594",
        "0.9821",
        "36.8 %",
        "72.6 %",
        "rate 0.001",
        "dropout on",
        outcome.reason,
    ):
        assert part in text
    assert sum(event.kind == "epoch_end" for event in events) == 2


def test_a_single_seed_lies_in_the_folder_itself_and_can_be_resumed(small: ImageData, tmp_path: Path) -> None:
    first = run(small, epochs=1, out=tmp_path / "one")
    again = run(small, epochs=1, out=tmp_path / "one", resume=True)
    assert first.runs[0].run.folder == tmp_path / "one"
    assert again.runs[0].run.result == first.runs[0].run.result
    assert again.runs[0].epochs == first.runs[0].epochs


def test_rows_can_be_shown_while_it_trains() -> None:
    row = row_of(EpochEnd(7, 70, 0.25, 0.9, None, None, 1.0, 0.0, 1.0))
    assert row is not None
    assert row.split() == ["7", "0.2500", "–", "0.9000", "–", "–", "–", "–", "–"]
