"""train on the command line: its JSON, its words, and what it refuses. The loop itself is tested in tests/training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NET = "maxpool(4), flatten, dense(classes)"
FIELDS = [
    "run", "model", "net", "data", "recipe", "seed", "device", "precision", "epochs", "steps", "resumed_from_step",
    "train_s", "wall_s", "images_per_s", "validation_accuracy", "test_loss", "test_accuracy",
    "validation_balanced_accuracy", "test_balanced_accuracy",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_json_is_the_contract_and_evaluate_agrees(convscope: Any) -> None:
    trained = convscope("train", "mnist-10k", "--net", NET, "--steps", 30, "--out", "runs/a", "--json")
    assert list(trained.document) == FIELDS
    assert trained.document["steps"] == 30
    assert trained.document["resumed_from_step"] is None
    report = convscope("evaluate", "runs/a", "--json").document
    assert report["split"] == "test"
    assert report["accuracy"] == trained.document["test_accuracy"]
    assert report["loss"] == trained.document["test_loss"]
    validation = convscope("evaluate", "runs/a", "mnist-10k", "--split", "validation", "--json").document
    assert validation["accuracy"] == trained.document["validation_accuracy"]


def test_people_are_told_what_happens_and_what_to_type_next(convscope: Any) -> None:
    outcome = convscope("train", "mnist-10k", "--net", NET, "--steps", 5, "--seed", 3)
    assert outcome.status == 0
    for text in ["mnist-10k", "5 steps", "seed 3", "It will take about", "Ctrl-C", "epoch 1: loss"]:
        assert text in outcome.err
    for text in ["test accuracy", "convscope evaluate runs/", "convscope predict runs/", "the first 10,000"]:
        assert text in outcome.out


def test_without_arguments_the_data_are_digits_and_the_output_says_which(convscope: Any) -> None:
    outcome = convscope("train", "--offline", "--net", NET, "--steps", 3)
    assert outcome.status == 0
    assert "mnist" in outcome.out
    assert Path("runs").is_dir()


def test_quiet_says_only_the_result(convscope: Any) -> None:
    outcome = convscope("train", "mnist-10k", "--net", NET, "--steps", 3, "--quiet")
    assert outcome.err == ""
    assert "test accuracy" in outcome.out


def test_finished_run_is_not_trained_again(convscope: Any) -> None:
    arguments = ("train", "mnist-10k", "--net", NET, "--steps", 3, "--out", "runs/a")
    assert convscope(*arguments).status == 0
    convscope(*arguments).refused("runs/a holds another run", "--resume", "--overwrite")
    before = Path("runs/a/model.safetensors").read_bytes()
    resumed = convscope("train", "--resume", "--out", "runs/a")
    assert resumed.status == 0
    assert "finished" in resumed.err
    assert Path("runs/a/model.safetensors").read_bytes() == before
    assert convscope(*arguments, "--overwrite").status == 0


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["mnst"], ["unknown data set 'mnst'", "Did you mean 'mnist'?"]),
        (["mnist-10k", "--net", "lectur"], ["unknown net 'lectur'", "Did you mean 'lecture'?"]),
        (["mnist-10k", "--recipe", "fats"], ["unknown recipe 'fats'", "Did you mean 'fast'?"]),
        (["mnist-10k", "--rate", "-1"], ["rate -1", "above 0"]),
        (["mnist-10k", "--rate", "nan"], ["rate nan", "finite"]),
        (["mnist-10k", "--epochs", "0"], ["epochs 0", "at least 1"]),
        (["mnist-10k", "--batch-size", "100000"], ["batch size 100,000"]),
        (["mnist-10k", "--net", "flatten, dense(7)"], ["7 scores", "10 classes"]),
        (["nowhere/"], ["nowhere"]),
        (["mnist-10k", "--resume"], ["--resume without --out"]),
        (["mnist-10k", "--device", "tpu"], ["device 'tpu'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    arguments: list[str], texts: list[str], convscope: Any, tmp_path: Path
) -> None:
    convscope("train", *arguments, "--json").refused(*texts)
    assert not list(tmp_path.iterdir())


def photos(folder: Path, per_class: int = 12) -> None:
    """Two classes of noisy colour pictures: one reddish, one bluish."""
    random = np.random.default_rng(0)
    for channel, name in [(0, "red"), (2, "blue")]:
        (folder / name).mkdir(parents=True)
        for k in range(per_class):
            pixels = random.integers(0, 100, (80, 100, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{k}.png")


def test_photos_get_a_residual_net_and_the_output_says_why(convscope: Any) -> None:
    photos(Path("photos"))
    outcome = convscope("train", "photos", "--steps", 2, "--out", "runs/p")
    assert outcome.status == 0
    assert "photos is a folder of pictures: a small residual net is chosen, because" in outcome.err
    document = convscope("inspect", "runs/p", "--json").document
    assert document["input_shape"] == [3, 64, 64]
    assert any(layer["kind"] == "residual" for layer in document["layers"])
    judged = convscope("evaluate", "runs/p", "--json").document
    assert judged["split"] == "validation"
    assert judged["n"] < 24
    named = convscope("train", "photos", "--net", NET, "--steps", 2, "--size", 16, "--out", "runs/q")
    assert "a small residual net" not in named.err
    assert convscope("inspect", "runs/q", "--json").document["input_shape"] == [3, 16, 16]


def test_a_missing_data_folder_does_not_matter_to_pictures(
    convscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(Path("photos"))
    monkeypatch.setenv("CONVSCOPE_DATA", "/nowhere")
    assert convscope("train", "photos", "--net", NET, "--steps", 1).status == 0
    convscope("train", "mnist").refused("CONVSCOPE_DATA, the data folder, /nowhere does not exist")


def test_one_of_something_is_in_the_singular(convscope: Any) -> None:
    outcome = convscope("train", "mnist-10k", "--net", NET, "--steps", 1)
    assert "trained             1 step, " in outcome.out
    assert "Recipe fast: 1 step of 128 images" in outcome.err


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to another process")
@pytest.mark.slow
def test_ctrl_c_keeps_model_and_history_and_the_run_goes_on(convscope: Any) -> None:
    line = ["train", "mnist-10k", "--net", NET, "--steps", "100000", "--out", "runs/a"]
    with subprocess.Popen(
        [sys.executable, "-m", "convscope", *line, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        history = Path("runs/a/history.jsonl")
        while not (history.exists() and history.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Stopped after step" in err
    assert "Traceback" not in err
    assert convscope("evaluate", "runs/a").status == 0
    assert Path("runs/a/checkpoint").exists()
