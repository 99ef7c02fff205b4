"""Whatever a folder holds: few pictures or many classes, gray, huge, tiny or broken ones, and splits with gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import ImageData, from_arrays
from convscope.engine.plan import Plan
from convscope.errors import ConvscopeError
from convscope.evaluation import evaluate
from convscope.training import Run
from convscope.transfer_learning import transfer
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.extract import split_features
from convscope.transfer_learning.material import material

from .conftest import Transfer, gratings


def write(folder: Path, counts: dict[str, int], side: int = 40, gray: bool = False) -> Path:
    """A folder with so many pictures of each class, by path."""
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        images, labels = gratings(count * 4, 4, seed=place, side=side)
        for number, pixels in enumerate(images[labels == place % 4]):
            picture = Image.fromarray(pixels.transpose(1, 2, 0))
            (picture.convert("L") if gray else picture).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def extracted(trained_run: Path, tmp_path: Path) -> Transfer:
    def call(folder: Path) -> Run:
        return transfer(folder, trained_run, out=tmp_path / "run", cache=tmp_path / "kept")

    return call


def test_two_classes_of_three_pictures(extracted: Transfer, tmp_path: Path) -> None:
    run = extracted(write(tmp_path / "p", {"a": 3, "b": 3}))
    assert run.model().class_names == ("a", "b")
    assert run.model().unknown is None
    assert any("lies between" in note for note in run.messages)


def test_a_hundred_classes(extracted: Transfer, tmp_path: Path) -> None:
    run = extracted(write(tmp_path / "p", {f"kind{k:03}": 3 for k in range(100)}, side=16))
    assert len(run.model().class_names) == 100
    assert evaluate(run.folder).accuracy == run.result["validation_accuracy"]


def test_a_rare_class_of_one_picture(extracted: Transfer, tmp_path: Path) -> None:
    run = extracted(write(tmp_path / "p", {"a": 30, "b": 12, "rare": 1}))
    assert any("rare: one picture to learn from" in note for note in run.messages)
    assert any("has no picture of rare" in note for note in run.messages)
    assert read_penalty(run) is not None


def read_penalty(run: Run) -> float | None:
    accuracy: float | None = run.model().card["transfer"]["cross_validated_accuracy"]
    return accuracy


def test_huge_tiny_and_gray_pictures_together(extracted: Transfer, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", {"a": 4, "b": 4}, gray=True)
    rng = np.random.default_rng(0)
    for name, shape in (("a/huge.png", (900, 1400, 3)), ("b/tiny.png", (2, 3, 3)), ("b/line.png", (1, 60))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    run = extracted(folder)
    assert run.history[0]["images"] == 11


def test_a_class_without_a_readable_picture(extracted: Transfer, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", {"a": 8, "b": 8})
    (folder / "broken").mkdir()
    for number in range(2):
        (folder / "broken" / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(ConvscopeError, match="broken"):
        extracted(folder)


def test_only_train_and_test(extracted: Transfer, trained_run: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", {"train/a": 12, "train/b": 12, "test/a": 3, "test/b": 3})
    run = extracted(folder)
    assert run.result["validation_accuracy"] is None
    assert run.result["test_accuracy"] == evaluate(run.folder, split="test").accuracy
    tuned = transfer(
        folder, trained_run, "finetune", epochs=1, out=tmp_path / "tuned", cache=tmp_path / "kept"
    )
    assert tuned.result["validation_accuracy"] is not None  # a fifth of train/, to stop early by


def test_class_weights_reach_fine_tuning(run_transfer: Transfer, few: ImageData) -> None:
    for mode in ("finetune", "scratch"):
        run = run_transfer(mode=mode, epochs=1, class_weights="balanced", overwrite=True)
        assert run.model().card["recipe"]["balance"] == "weights"


def test_logits_by_the_net_and_by_kept_features_agree_for_a_published_architecture(
    plan: Plan, tmp_path: Path
) -> None:
    from convscope import nets
    from convscope.data import Preprocessing
    from convscope.transfer_learning.extract import extract

    torch.manual_seed(0)
    entry = nets.get("efficientnet-lite0")
    net = entry.net.bind(10)
    module = net.build((3, 64, 64)).eval()
    backbone = Backbone("lite", "lite", net, dict(module.state_dict()), Preprocessing((64, 64), 3), "")
    data = from_arrays(*gratings(16, 2, 1, side=64), test=gratings(8, 2, 2, side=64))
    ready = material(data, backbone, seed=0)
    done = extract(ready.data, backbone, plan, cache=tmp_path)
    kept = split_features(ready.data, backbone, plan, cache=tmp_path)
    assert kept.made.from_cache == 24
    columns = slice(0 if done.twice else kept.middle, None)
    assert ready.data.test is not None
    with torch.no_grad():
        images = ready.data.preprocessing.scale(torch.from_numpy(ready.data.test.images.copy()))
        in_model = done.model.module(images)
    assert (done.head.scores(kept.values["test"][:, columns]) - in_model).abs().max() <= 1e-4
