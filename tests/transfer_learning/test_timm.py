"""timm's networks as features, with a small stand-in for timm: its own weights come from a network we do not have."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.data import ImageData
from convscope.errors import DataError, MissingExtraError, ModelFileError, RunError
from convscope.evaluation import evaluate
from convscope.model_file import load_model, read_card
from convscope.prediction import predict
from convscope.transfer_learning.backbones import find

from .conftest import Transfer


class Tiny(torch.nn.Module):
    """What timm.create_model gives: features, their number, and where it was made for."""

    num_features = 12

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = torch.nn.Conv2d(3, 12, 5, stride=4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images).relu().mean((2, 3))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module named timm that knows one network, `tiny`."""
    fake: Any = types.ModuleType("timm")
    fake.data = types.ModuleType("timm.data")
    fake.__version__, fake.seed = "9.9", 0

    def create_model(name: str, pretrained: bool, num_classes: int, **more: Any) -> Tiny:
        fake.asked = more
        assert pretrained
        assert num_classes == 0
        if name == "offline":
            raise FileNotFoundError("no connection")
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})")
        return Tiny(fake.seed)

    fake.create_model = create_model
    fake.list_models = lambda pretrained: ["tiny"]
    fake.data.resolve_model_data_config = lambda module: {
        "input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
    }  # fmt: skip
    fake.get_pretrained_cfg = lambda name: (
        types.SimpleNamespace(hf_hub_id=f"timm/{name}") if name in ("tiny", "offline") else None
    )
    hub: Any = types.ModuleType("huggingface_hub")
    hub.try_to_load_from_cache = lambda hub_id, file: fake.kept
    fake.kept = None
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "timm", fake)
    monkeypatch.setitem(sys.modules, "timm.data", fake.data)
    return fake


def test_the_result_says_that_it_needs_timm(
    timm: Any, run_transfer: Transfer, few: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_transfer(backbone="timm/tiny")
    assert "The backbone is tiny of timm 9.9; the result needs timm to run." in run.messages
    kept = read_card(run.folder)["card"]["timm"]
    assert (kept["name"], kept["version"]) == ("tiny", "9.9")
    assert evaluate(run.folder, few, split="test").accuracy == run.result["test_accuracy"]
    model = load_model(run.folder)
    images = model.preprocessing.scale(torch.from_numpy(few.train.images.copy()))
    with torch.no_grad():
        head = load_model(run.folder).module.get_submodule("dense1")
        torch.testing.assert_close(model.module(images), head(Tiny()(images)))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        MissingExtraError, match=r'timm/tiny needs timm to run.*pip install "convscope\[timm\]"'
    ):
        load_model(run.folder)


def test_predict_names_what_is_unknown(timm: Any, run_transfer: Transfer, photos: Path) -> None:
    run = run_transfer(backbone="timm/tiny")
    outcomes = list(predict(run.folder, photos))
    assert len(outcomes) == 36
    assert {outcome.label for outcome in outcomes} <= {"0", "1", "2", "unknown"}  # type: ignore[union-attr]


def test_other_weights_of_the_same_name_are_refused(timm: Any, run_transfer: Transfer) -> None:
    run = run_transfer(backbone="timm/tiny")
    timm.seed = 1
    with pytest.raises(
        ModelFileError, match=r"has other weights for tiny than this model was made with \(timm 9.9\)"
    ):
        load_model(run.folder)


def test_only_its_features_can_be_used(timm: Any, run_transfer: Transfer, tmp_path: Path) -> None:
    for mode in ("finetune", "scratch"):
        with pytest.raises(RunError, match="fine-tuning or training of timm/tiny, whose layers are timm's"):
            run_transfer(backbone="timm/tiny", mode=mode)
    with pytest.raises(RunError, match=r"pictures of 3 channels and \(40, 40\) px for timm/tiny"):
        run_transfer(backbone="timm/tiny", size_px=40)
    assert not (tmp_path / "run").exists()


def test_names_that_timm_does_not_know(timm: Any) -> None:
    with pytest.raises(ModelFileError, match="no backbone 'timm/tinny': timm 9.9 says .*Did you mean 'tiny'"):
        find("timm/tinny")
    with pytest.raises(
        DataError, match="the weights of timm/offline are not at hand and timm cannot fetch them"
    ):
        find("timm/offline")


def test_offline_only_kept_weights_are_taken(timm: Any) -> None:
    with pytest.raises(
        DataError, match="the weights of timm/tiny are not at hand, and --offline fetches nothing"
    ):
        find("timm/tiny", offline=True)
    with pytest.raises(DataError, match="--offline fetches nothing"):
        find("timm/hf-hub:someone/tiny", offline=True)
    assert not hasattr(timm, "asked")
    timm.kept = "/cache/model.safetensors"
    for offline in (True, False):
        find("timm/tiny", offline=offline)
        assert timm.asked == {"pretrained_cfg_overlay": {"file": "/cache/model.safetensors"}}


def test_pictures_are_fitted_as_asked(timm: Any, run_transfer: Transfer, photos: Path) -> None:
    run = run_transfer(backbone="timm/tiny", data=photos, fit="crop")
    assert load_model(run.folder).preprocessing.fit == "crop"
    assert evaluate(run.folder).accuracy == run.result["validation_accuracy"]


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="timm/resnet50 needs timm to run, and it is not installed"):
        find("timm/resnet50")
