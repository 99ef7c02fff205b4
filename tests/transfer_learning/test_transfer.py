"""`transfer` from end to end on tiny pictures: what it leaves, that its numbers agree, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import ImageData, from_arrays
from convscope.engine.plan import Plan
from convscope.errors import DataError, ModelFileError, RecipeError, RunError
from convscope.evaluation import evaluate
from convscope.explanation import explain
from convscope.inspection import inspect
from convscope.model_file import load_model, read_card
from convscope.prediction import Prediction, predict
from convscope.training.events import Event
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.extract import extract
from convscope.transfer_learning.material import material

from .conftest import Transfer, gratings


def test_extract_leaves_a_normal_run(run_transfer: Transfer, few: ImageData, tmp_path: Path) -> None:
    events: list[Event] = []
    run = run_transfer(listeners=[events.append])
    assert run.result["validation_accuracy"] > 0.8
    assert {"mode", "backbone", "features_s", "head_s", "train_s", "test_accuracy"} <= run.result.keys()
    assert (run.result["mode"], run.result["epochs"]) == ("extract", None)
    names = {path.name for path in run.folder.iterdir() if not path.name.startswith(".")}
    assert names == {"model.safetensors", "config.json", "history.jsonl"}
    assert [line["event"] for line in run.history] == ["features_made", "head_fitted"]
    assert json.loads((run.folder / "config.json").read_text())["transfer"]["mode"] == "extract"
    assert {event.kind for event in events} == {"note", "progress", "features_made", "head_fitted"}
    model = run.model()
    assert model.class_names == few.class_names
    assert read_card(run.folder)["card"]["transfer"]["penalty"] > 0


def test_the_numbers_are_those_of_evaluate(run_transfer: Transfer, few: ImageData) -> None:
    run = run_transfer()
    for split in ("validation", "test"):
        report = evaluate(run.folder, few, split=split)
        assert report.accuracy == run.result[f"{split}_accuracy"]
        if split == "test":
            assert report.loss == pytest.approx(run.result["test_loss"], abs=1e-5)


def test_cached_and_in_model_logits_agree(
    backbone: Backbone, few: ImageData, plan: Plan, tmp_path: Path
) -> None:
    ready = material(few, backbone, seed=0)
    for attempt in ("computed", "from the cache"):
        done = extract(ready.data, backbone, plan, cache=tmp_path)
        assert done.made.from_cache == (0 if attempt == "computed" else 90)
        images = ready.data.preprocessing.scale(torch.from_numpy(ready.data.test.images.copy()))  # type: ignore[union-attr]
        with torch.no_grad():
            in_model = done.model.module.eval()(images)
        from convscope.transfer_learning.extract import split_features

        cached = split_features(ready.data, backbone, plan, cache=tmp_path)
        columns = slice(0 if done.twice else cached.middle, None)
        scores = done.head.scores(cached.values["test"][:, columns])
        assert (scores - in_model).abs().max() <= 1e-4


def test_the_same_twice_is_the_same_bytes(run_transfer: Transfer, tmp_path: Path) -> None:
    first = run_transfer(out=tmp_path / "a")
    second = run_transfer(out=tmp_path / "b")
    models = [(run.folder / "model.safetensors").read_bytes() for run in (first, second)]
    assert models[0] == models[1]


def test_a_folder_of_photos(trained_run: Path, photos: Path, tmp_path: Path) -> None:
    from convscope.transfer_learning import transfer

    run = transfer(photos, trained_run, out=tmp_path / "run", cache=tmp_path / "kept")
    said = " ".join(run.messages)
    assert "6 of 36 training images are held out for validation" in said or "held out" in said
    assert "95 % interval" in said
    report = evaluate(run.folder)
    assert report.accuracy == run.result["validation_accuracy"]
    [outcome] = predict(run.folder, next(photos.glob("*/*.png")))
    assert isinstance(outcome, Prediction)
    assert len(outcome.top) == 3
    assert inspect(str(run.folder)).to_json()["output_shape"] == [3]
    assert explain(run.folder, next(photos.glob("*/*.png"))).to_json()


def test_pictures_smaller_than_the_backbone_takes_are_enlarged_and_it_is_said(
    run_transfer: Transfer,
) -> None:
    small = from_arrays(*gratings(18, 3, 5, side=20), test=gratings(9, 3, 6, side=20))
    run = run_transfer(data=small)
    assert any("The pictures are 20×20" in note and "they are enlarged" in note for note in run.messages)
    assert run.model().input_shape == (3, 32, 32)


@pytest.mark.parametrize("channels", [1, 5])
def test_gray_and_odd_channels(run_transfer: Transfer, channels: int) -> None:
    data = from_arrays(
        *gratings(30, 3, 7, channels), test=gratings(30, 3, 8, channels), channels="first", name="odd"
    )
    run = run_transfer(data=data)
    assert run.model().input_shape[0] == (3 if channels == 1 else 5)
    assert run.result["test_accuracy"] > 0.6
    assert evaluate(run.folder, data).accuracy == run.result["test_accuracy"]


def test_one_image_a_class(run_transfer: Transfer) -> None:
    data = from_arrays(*gratings(3, 3, 1), test=gratings(30, 3, 2))
    run = run_transfer(data=data)
    said = " ".join(run.messages)
    assert "0, 1, 2: one picture to learn from, so nothing can be held out to choose the penalty by" in said
    assert "Test: " in said
    assert "95 % interval" in said
    assert run.model().unknown is None
    alone = run_transfer(data=from_arrays(*gratings(3, 3, 1)), out=run.folder.parent / "alone")
    assert (alone.result["validation_accuracy"], alone.result["test_accuracy"]) == (None, None)


def test_classes_missing_in_validation(run_transfer: Transfer) -> None:
    images, labels = gratings(30, 3, 2)
    known = labels < 2
    data = from_arrays(*gratings(30, 3, 1), validation=(images[known], labels[known]))
    run = run_transfer(data=data)
    assert any("The validation split has no picture of 2" in note for note in run.messages)


def test_class_weights_help_a_rare_class(run_transfer: Transfer, tmp_path: Path) -> None:
    images, labels = gratings(90, 3, 3)
    images = np.clip(images + np.random.default_rng(0).normal(0, 70, images.shape), 0, 255).astype(np.uint8)
    kept = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:4]])
    test = gratings(90, 3, 4)
    noisy = np.clip(test[0] + np.random.default_rng(1).normal(0, 70, test[0].shape), 0, 255).astype(np.uint8)
    data = from_arrays(images[kept], labels[kept], test=(noisy, test[1]))
    recalls = {}
    for weights in ("equal", "balanced"):
        run = run_transfer(data=data, class_weights=weights, penalty=0.3, out=tmp_path / weights)
        recalls[weights] = evaluate(run.folder, data).per_class[2].recall
    assert recalls["balanced"] > recalls["equal"]


# None of these ----------------------------------------------------------------------------------------


def test_strange_pictures_are_unknown_and_the_rate_is_kept(
    trained_run: Path, run_transfer: Transfer, tmp_path: Path
) -> None:
    many = from_arrays(*gratings(150, 3, 31), test=gratings(150, 3, 32))
    run = run_transfer(data=many, false_alarms=0.1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    for k, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    strange = [outcome.label == "unknown" for outcome in predict(run.folder, folder)]  # type: ignore[union-attr]
    assert sum(strange) >= 12  # of 20, where 2 are the rate for known ones
    known = tmp_path / "known"
    known.mkdir()
    assert many.test is not None
    for k, pixels in enumerate(many.test.images):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(known / f"{k:03}.png")
    alarms = [outcome.label == "unknown" for outcome in predict(run.folder, known)]  # type: ignore[union-attr]
    assert sum(alarms) / len(alarms) <= 0.2  # 0.1 and three deviations of 150 draws
    model = load_model(run.folder)
    assert model.unknown is not None
    assert model.unknown.false_alarms == 0.1


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_an_impossible_rate_of_false_alarms(run_transfer: Transfer, rate: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a rate of false alarms of .*above 0 and below 1. Try 0.05"):
        run_transfer(false_alarms=rate)
    assert not (tmp_path / "run").exists()


# What is refused --------------------------------------------------------------------------------------


def test_impossible_wishes(run_transfer: Transfer) -> None:
    with pytest.raises(
        RecipeError, match="mode 'extrakt': expected one of extract|mode 'extrakt'. Expected one of"
    ):
        run_transfer(mode="extrakt")
    with pytest.raises(RecipeError, match="class weights 'even'. Expected one of equal, balanced"):
        run_transfer(class_weights="even")
    with pytest.raises(
        RunError, match="--freeze-until conv1 with --mode extract, in which nothing is fine-tuned"
    ):
        run_transfer(freeze_until="conv1")
    with pytest.raises(ModelFileError, match="no backbone 'resnet19'.*Did you mean"):
        run_transfer(backbone="resnet19")
    with pytest.raises(DataError, match="unknown data set 'mnits'"):
        run_transfer(data="mnits")


def test_a_run_is_not_written_over(run_transfer: Transfer, tmp_path: Path) -> None:
    run_transfer()
    with pytest.raises(RunError, match="holds another run.*--overwrite"):
        run_transfer()
    run_transfer(overwrite=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a run of Convscope"):
        run_transfer(out=foreign, overwrite=True)


def test_an_interrupted_feature_pass_goes_on(
    run_transfer: Transfer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from convscope.transfer_learning import features

    monkeypatch.setattr(features, "PART", 8)

    class Stop:
        def __init__(self) -> None:
            self.seen = 0

        def __call__(self, event: Event) -> None:
            self.seen += event.kind == "progress"
            if self.seen == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="Stopped. The features made so far are kept"):
        run_transfer(listeners=[Stop()])
    assert not (tmp_path / "run" / "model.safetensors").exists()
    run = run_transfer()
    assert run.history[0]["from_cache"] >= 8


def test_a_notebooks_data_are_taken_as_they_are(backbone: Backbone, few: ImageData) -> None:
    ready = material(replace(few, notes=("mine",)), backbone, seed=0)
    assert "mine" in ready.notes
    assert ready.data.preprocessing.mean == backbone.preprocessing.mean
    assert ready.digest == few.digest or ready.data.input_shape == few.input_shape
