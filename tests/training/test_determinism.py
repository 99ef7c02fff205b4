"""The same configuration gives the same bits: in another process, and however many images are judged at a time."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from convscope.engine import plan as plans
from convscope.engine.plan import Plan, make_plan
from convscope.errors import RunError

from .test_resume import same_bits, started


@pytest.mark.slow
def test_two_processes_give_the_same_bits(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    processes = [started(folder, 0.0) for folder in folders]
    for process in processes:
        _, errors = process.communicate(timeout=250)
        assert process.returncode == 0, errors
    same_bits(*folders)


def test_how_many_are_judged_at_a_time_leaves_no_trace(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run_train(epochs=3, out=tmp_path / "one")
    monkeypatch.setattr(plans, "EVALUATION_BATCH_CPU", 7)
    other = run_train(epochs=3)
    weights = [safetensors.torch.load_file(run.folder / "model.safetensors") for run in (one, other)]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    for name in ("validation_accuracy", "test_accuracy"):
        assert one.result[name] == other.result[name]
    assert one.result["test_loss"] == pytest.approx(other.result["test_loss"], rel=1e-5)
    plan = [run.folder.joinpath("config.json").read_text() for run in (one, other)]
    assert '"evaluation_batch": 7' in plan[1]
    assert '"evaluation_batch": 7' not in plan[0]


def test_deterministic_is_said_to_change_nothing_on_the_cpu(
    run_train: Any, tmp_path: Path, stopper: Any
) -> None:
    listener = stopper()
    one = run_train(steps=3, deterministic=True, device="cpu", listeners=[listener], out=tmp_path / "one")
    assert "On the CPU every run is deterministic; --deterministic changes nothing." in [
        note.text for note in listener.of("note")
    ]
    same_bits(one.folder, run_train(steps=3, device="cpu").folder)


def test_on_a_gpu_it_is_part_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be seen of it without one: what is stored, and what is asked of torch."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    plain = dataclasses.replace(make_plan("cpu"), device="cuda")
    strict = dataclasses.replace(plain, deterministic=True)
    assert "deterministic" not in plain.to_json()  # as in the first config.json files
    assert strict.to_json()["deterministic"] is True
    assert (Plan.from_json(plain.to_json()), Plan.from_json(strict.to_json())) == (plain, strict)
    before = torch.get_deterministic_debug_mode()
    try:
        plain.apply()
        assert torch.get_deterministic_debug_mode() == 0
        strict.apply()
        assert torch.get_deterministic_debug_mode() == 2
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.set_deterministic_debug_mode(before)


def test_a_step_without_a_deterministic_form_is_explained(
    run_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convscope.training.loop import Loop

    def next_turns(loop: Loop) -> Any:
        loop.plan = dataclasses.replace(loop.plan, deterministic=True)
        raise RuntimeError(
            "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"
        )

    monkeypatch.setattr(Loop, "next_turns", next_turns)
    with pytest.raises(RunError, match=(
        r"--deterministic, and on cpu torch says: adaptive_avg_pool2d.*Leave it out, or try --device cpu"
    )):  # fmt: skip
        run_train(steps=3)
