"""A fine-tuning that was stopped goes on as if it had not been; a feature pass that was killed goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from convscope.data import ImageData
from convscope.errors import DivergedError, Interrupted, OutOfMemoryError, RunError
from convscope.training import SGD
from convscope.training.events import Event
from convscope.training.folder import RunFolder
from convscope.training.memory import too_little
from convscope.transfer_learning import finetune, transfer
from convscope.transfer_learning.begun import told_how_to_go_on

from .conftest import Transfer


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs of small batches."""
    for name in ("FINETUNE", "FINETUNE_SMALL", "SCRATCH"):
        recipe = replace(getattr(finetune, name), epochs=3, batch_size=8, early_stopping=None)
        monkeypatch.setattr(finetune, name, recipe)
    monkeypatch.setattr(finetune, "LEAST_STEPS", 1)


def stopped_after_an_epoch(event: Event) -> None:
    if event.kind == "epoch_end":
        raise KeyboardInterrupt


@pytest.mark.parametrize(("mode", "photo_px"), [("finetune", 96), ("finetune", 32), ("scratch", 96)])
def test_a_stopped_run_goes_on_to_the_same_bits(
    run_transfer: Transfer,
    few: ImageData,
    tmp_path: Path,
    mode: str,
    photo_px: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a small picture's run (32 px) and as a photo's, whose model lies half way."""
    monkeypatch.setattr(finetune, "PHOTO_PX", photo_px)
    whole = run_transfer(mode=mode, out=tmp_path / "whole", class_weights="balanced")
    with pytest.raises(Interrupted, match=r"Stopped after step .*convscope transfer --resume --out"):
        run_transfer(mode=mode, listeners=[stopped_after_an_epoch], class_weights="balanced")
    resumed = transfer(few, out=tmp_path / "run", resume=True)
    assert resumed.result["resumed_from_step"] > 0
    assert (resumed.result["mode"], resumed.result["test_accuracy"]) == (mode, whole.result["test_accuracy"])
    files = [run.folder / "model.safetensors" for run in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (resumed.model().unknown is not None) == (mode == "finetune")
    assert json.loads((resumed.folder / "config.json").read_text())["transfer"]["mode"] == mode
    again = transfer(few, out=tmp_path / "run", resume=True)
    assert any("is finished" in note and "nothing was changed" in note for note in again.messages)
    assert files[1].read_bytes() == files[0].read_bytes()


def test_what_cannot_go_on(run_transfer: Transfer, trained_run: Path, few: ImageData, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume without --out.*Add --out FOLDER"):
        transfer(few, resume=True)
    with pytest.raises(RunError, match="both --resume and --overwrite"):
        transfer(few, resume=True, overwrite=True, out=tmp_path)
    with pytest.raises(RunError, match="there is no run .* to resume"):
        transfer(few, resume=True, out=tmp_path / "absent")
    with pytest.raises(RunError, match="no data. Expected a folder of class folders"):
        transfer(backbone=trained_run)
    extracted = run_transfer().folder
    expected = (
        "holds no fine-tuning or training from scratch.*extract needs no --resume: type its command again"
    )
    with pytest.raises(RunError, match=expected):
        transfer(few, resume=True, out=extracted)


def test_another_backbone_or_a_damaged_note_is_refused(
    run_transfer: Transfer, few: ImageData, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run_transfer(mode="finetune", listeners=[stopped_after_an_epoch])
    other = run_transfer(out=tmp_path / "other").folder
    with pytest.raises(RunError, match=r"began from other weights .*Name it with --from .*or begin anew"):
        transfer(few, other, out=tmp_path / "run", resume=True)
    (tmp_path / "run" / "transfer.json").write_text('{"mode": 3')
    with pytest.raises(RunError, match=r"transfer.json is damaged.*Begin again with --overwrite"):
        transfer(few, out=tmp_path / "run", resume=True)


def test_it_ends_early_where_held_out_pictures_get_no_better(
    run_transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = finetune.EarlyStopping(patience=2, metric="accuracy")
    still = replace(
        finetune.FINETUNE, optimizer=SGD(rate=1e-9), epochs=9, evaluations=9, early_stopping=stopping
    )
    monkeypatch.setattr(finetune, "FINETUNE_SMALL", still)
    run = run_transfer(mode="finetune")
    assert run.history[-1]["reason"] == "early stopping"
    assert run.result["epochs"] == 3  # the first, and two that were no better


def test_what_training_says_names_the_options_of_transfer(
    run_transfer: Transfer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wild = replace(finetune.SCRATCH, optimizer=SGD(rate=1e30))
    monkeypatch.setattr(finetune, "SCRATCH", wild)
    with pytest.raises(DivergedError, match="Try another --seed, or --mode extract.$") as refused:
        run_transfer(mode="scratch", out=tmp_path / "wild")
    assert "--rate" not in str(refused.value)
    left = "The checkpoint of step 5 is whole; go on with: convscope train --resume --out runs/a"
    with (
        pytest.raises(OutOfMemoryError, match=r"Try a smaller --size, or a smaller backbone. The") as short,
        told_how_to_go_on(RunFolder(tmp_path)),
    ):
        raise too_little(32, (3, 224, 224), left=left)
    assert short.value.is_saved
    assert str(short.value).endswith("is whole; go on with: convscope transfer --resume --out runs/a.")


KILLED = """
import sys, time
from convscope.transfer_learning import features, transfer
features.PART = 4
def slowly(event):
    if event.kind == "progress" and event.done >= 8:
        print("two parts", flush=True)
        time.sleep(60)
transfer(sys.argv[1], sys.argv[2], out=sys.argv[3], cache=sys.argv[4], listeners=[slowly])
"""


@pytest.mark.slow
def test_a_killed_feature_pass_goes_on_where_it_was(trained_run: Path, photos: Path, tmp_path: Path) -> None:
    places = [str(place) for place in (photos, trained_run, tmp_path / "run", tmp_path / "kept")]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *places], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "two parts\n", process.stderr and process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = transfer(photos, trained_run, out=tmp_path / "run", cache=tmp_path / "kept")
    assert run.history[0]["from_cache"] == 8
    alone = transfer(photos, trained_run, out=tmp_path / "alone", cache=tmp_path / "other")
    assert alone.result["validation_accuracy"] == run.result["validation_accuracy"]
