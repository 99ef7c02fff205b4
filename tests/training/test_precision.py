"""Runs under a plan chosen by a trial: bfloat16 and compiled kernels, resumed, refused, and without a compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convscope.engine.kernels import library
from convscope.errors import Interrupted, RunError
from convscope.training import SGD, Adadelta, Recipe

from .test_resume import interrupted_and_resumed, same_bits

NET = """conv(32, 3), batchnorm, relu, residual(conv(32, 3, padding=1), batchnorm), relu, maxpool(2),
         dropout(0.25), flatten, dense(32), relu, dropout(0.5), dense(classes)"""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training is worth a trial, however short."""
    monkeypatch.setattr("convscope.engine.trial.WORTH_A_TRIAL", 0.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", [Adadelta(), SGD()], ids=lambda each: each.kind)
def test_a_tried_run_resumes_to_the_same_bits(
    tried: None, run_train: Any, stopper: Any, tmp_path: Path, precision: str, optimizer: Any
) -> None:
    given = {"net": NET, "precision": precision, "batch_size": None}
    given |= {"recipe": Recipe("mine", optimizer, batch_size=16, epochs=3)}
    straight = run_train(out=tmp_path / "straight", **given)
    broken = interrupted_and_resumed(run_train, stopper, (1, 4, 6), **given)
    same_bits(straight.folder, broken.folder)
    plan = json.loads((straight.folder / "config.json").read_text())["plan"]
    assert (plan["precision"], plan["compiled"]) == (precision, library.load().library is not None)
    assert straight.result["precision"] == precision
    assert {trial["precision"] for trial in plan["trials"]} == {"float32", "bfloat16"}


def test_bfloat16_learns_what_float32_learns(tried: None, run_train: Any, tmp_path: Path) -> None:
    runs = {
        precision: run_train(
            net=NET, precision=precision, epochs=25, out=tmp_path / precision, overwrite=True
        )
        for precision in ("float32", "bfloat16")
    }
    assert min(run.result["test_accuracy"] for run in runs.values()) > 0.9


def test_another_precision_than_the_run_was_started_with(run_train: Any, stopper: Any) -> None:
    with pytest.raises(Interrupted):
        run_train(precision="bfloat16", listeners=[stopper(1)])
    with pytest.raises(
        RunError, match="precision float32, and the run in .* was started with precision bfloat16"
    ):
        run_train(resume=True, batch_size=None, precision="float32")
    assert run_train(resume=True, batch_size=None).result["precision"] == "bfloat16"


def test_going_on_without_the_compiler_is_said(
    tried: None, run_train: Any, stopper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library.load().library is None:
        pytest.skip("no kernels here")
    with pytest.raises(Interrupted):
        run_train(net=NET, listeners=[stopper(1)])
    monkeypatch.setattr(library, "load", lambda name="": library.Built(None, "no C++ compiler is here"))
    run = run_train(resume=True, batch_size=None, net=None)
    assert any(
        "compiled kernels, and no C++ compiler is here: it goes on without" in note for note in run.messages
    )


def test_unknown_precision_is_refused_before_anything_is_touched(run_train: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="precision 'half'. Expected one of auto, float32, bfloat16"):
        run_train(precision="half")
    assert not (tmp_path / "run").exists()
