"""lecture run on the command line; its numbers are tested in tests/lecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convscope.cli.lecture import beside_the_lecture
from convscope.training.events import EpochEnd


def test_epoch_stands_beside_the_lectures_own() -> None:
    lines = beside_the_lecture(EpochEnd(1, 469, 0.26, 0.92, 0.05, 0.982, 60.0, 2.0, 1000.0)).splitlines()
    assert lines[0].startswith(
        "epoch 1: loss 0.2600  accuracy 0.9200  validation loss 0.0500  accuracy 0.9820"
    )
    assert lines[1] == " lecture: loss 0.2594  accuracy 0.9199  validation loss 0.0536  accuracy 0.9821"
    assert beside_the_lecture(EpochEnd(6, 1, 0.1, 0.9, None, None, 60.0, 2.0, 1000.0)).count("\n") == 0


@pytest.mark.slow
def test_run_prints_the_comparison(convscope: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = convscope("lecture", "run", "mnist-10k", "--epochs", 1, "--out", "runs/l")
    assert outcome.status == 0
    assert "0.9199" in outcome.out  # the lecture's first training accuracy
    assert "36.8 %" in outcome.out
    again = convscope(
        "lecture", "run", "mnist-10k", "--epochs", 1, "--out", "runs/l", "--resume", "--json"
    ).document
    assert again["verdict"] is None
    assert again["runs"][0]["by_epoch"][0]["lecture"]["validation_accuracy"] == 0.9821


def test_run_refuses(convscope: Any) -> None:
    convscope("lecture", "run", "mnst", "--json").refused("unknown data set 'mnst'", "Did you mean 'mnist'?")
    convscope("lecture", "run", "mnist-10k", "--epochs", 0).refused("epochs 0")
