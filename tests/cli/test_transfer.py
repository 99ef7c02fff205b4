"""convscope transfer on the command line: what it prints, what it leaves, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.cli.transfer import counts, result_text
from convscope.data import Preprocessing
from convscope.model_file import Model, save_model
from convscope.net import Net

from .conftest import CommandLine


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures in each of two classes: dark on the left, dark on the right."""
    generator = np.random.default_rng(0)
    for name, dark in (("left", slice(0, 12)), ("right", slice(12, 24))):
        place = tmp_path / "photos" / name
        place.mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(120, 256, (24, 24, 3), dtype=np.uint8)
            pixels[:, dark] //= 4
            Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """A small net with torch's starting weights."""
    torch.manual_seed(0)
    net = Net.parse("conv(8, 5, stride=4), relu, flatten, dense(4)")
    names = ("a", "b", "c", "d")
    model = Model(net, net.build((3, 24, 24)).eval(), (3, 24, 24), names, Preprocessing((24, 24), 3), {})
    save_model(model, tmp_path / "backbone.safetensors")
    return tmp_path / "backbone.safetensors"


def test_it_says_what_came_out_and_what_to_type_next(
    convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = convscope("transfer", photos, "--from", backbone, "--out", run)
    assert outcome.status == 0
    assert "validation accuracy 1.0000" in outcome.out
    assert f"convscope predict {run} PICTURE.jpg" in outcome.out
    assert "95 % interval" in outcome.err
    assert convscope("evaluate", run).status == 0
    predicted = convscope("predict", run, photos / "left" / "0.png", "--json").document
    assert [label for label, _ in predicted["top"]] == ["left", "right"]


def test_json(convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path) -> None:
    outcome = convscope(
        "transfer", photos, "--from", backbone, "--out", tmp_path / "run", "--json", "--quiet"
    )
    assert outcome.err == ""
    assert outcome.document["mode"] == "extract"
    assert outcome.document["backbone"] == str(backbone)
    assert outcome.document["features_s"] >= 0
    assert outcome.document["steps"] is None


def test_without_an_out_it_takes_the_next_name(
    convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = convscope("transfer", photos, "--from", backbone, "--json")
    assert outcome.document["run"] == "runs/photos-backbone-1"


def test_what_is_refused(convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path) -> None:
    convscope("transfer", photos, "--from", backbone, "--mode", "extrct").refused(
        "mode 'extrct'", "Did you mean"
    )
    convscope("transfer", photos, "--from", "resnet81").refused("no backbone 'resnet81'", "resnet18")
    convscope("transfer", tmp_path / "absent", "--from", backbone).refused("does not exist")
    convscope("transfer", photos, "--from", photos).refused("has no model.safetensors")
    compared = convscope("transfer", photos, "--from", backbone, "--mode", "compare", "--per-class", "5,x")
    compared.refused("--per-class '5,x'", "Try 5,10,20")


def test_counts_and_text() -> None:
    assert counts("20, 5,5") == (5, 20)
    assert counts(None) is None
    result = {
        "data": "photos", "backbone": None, "mode": "scratch", "validation_accuracy": 0.5, "test_accuracy": None,
        "features_s": None, "head_s": None, "wall_s": 75.0, "run": "runs/my run",
    }  # fmt: skip
    text = result_text(result)
    assert text.startswith("photos, scratch\n")
    assert "1 min 15 s" in text
    assert "convscope predict 'runs/my run' PICTURE.jpg" in text
