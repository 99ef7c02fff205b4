"""`fit`, `augment` and the like, from what is asked to what the model, its folder and a study hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import ImageData, from_arrays, load_data
from convscope.engine.scoring import scored_views
from convscope.errors import ConvscopeError, Interrupted, RunError
from convscope.evaluation import evaluate
from convscope.prediction import Prediction, predict
from convscope.training import Run
from convscope.training.augmentation import Augmentation
from convscope.training.events import Event
from convscope.training.result import FIELDS
from convscope.transfer_learning import compare, layers, study, transfer
from convscope.transfer_learning.extract import chosen_fitting
from convscope.transfer_learning.modes import MEANT, MODES, STUDIES, require_meant

from .conftest import SIDE, Transfer, gratings


def config(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "config.json").read_text())
    return found


# fit --------------------------------------------------------------------------------------------------


def cropped(picture: Image.Image) -> np.ndarray[Any, Any]:
    """The middle square of a 48×40 picture, at the backbone's size."""
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(4, 0, 44, 40)))


def padded(picture: Image.Image) -> np.ndarray[Any, Any]:
    """All of a 48×40 picture, 32 wide and 27 high, on black."""
    small = np.asarray(picture.resize((32, 27), Image.Resampling.BILINEAR))
    return np.pad(small, ((2, 3), (0, 0), (0, 0)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("fit", "made"), [("crop", cropped), ("pad", padded)])
def test_pictures_are_fitted_alike_in_learning_and_in_prediction(
    run_transfer: Transfer, photos: Path, mode: str, fit: str, made: Callable[..., Any]
) -> None:
    run = run_transfer(data=photos, mode=mode, fit=fit, **({} if mode == "extract" else {"epochs": 1}))
    assert (run.model().preprocessing.fit, config(run)["data"]["fit"]) == (fit, fit)
    assert evaluate(run.folder).accuracy == run.result["validation_accuracy"]
    path = photos / "kind1" / "1.png"
    model = run.model()
    pixels = made(Image.open(path)).transpose(2, 0, 1)
    assert np.array_equal(model.preprocessing.pixels(Image.open(path)), pixels)
    with torch.no_grad():
        scores = scored_views(model.module, torch.from_numpy(pixels.copy())[None], model.preprocessing)
    (named,) = predict(run.folder, path)
    assert isinstance(named, Prediction)
    likeliest = max(probability for _, probability in named.top)
    assert likeliest == pytest.approx(float(scores.softmax(1).max()), abs=1e-3)


def test_features_of_another_fit_are_kept_apart(run_transfer: Transfer, photos: Path, tmp_path: Path) -> None:
    squashed, fitted, again = (
        run_transfer(data=photos, out=tmp_path / str(k), fit=fit)
        for k, fit in enumerate((None, "crop", "squash"))
    )
    assert [run.history[0]["from_cache"] for run in (squashed, fitted, again)] == [0, 0, 36]
    assert again.model().preprocessing == squashed.model().preprocessing


def test_data_from_python_stay_as_they_were_fitted(run_transfer: Transfer, photos: Path) -> None:
    run = run_transfer(data=load_data(photos, size_px=SIDE, fit="crop"))
    assert run.model().preprocessing.fit == "crop"


# augment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_training_pictures_are_changed_as_asked(run_transfer: Transfer, mode: str, tmp_path: Path) -> None:
    def kept(augment: str | Augmentation | None) -> Any:
        run = run_transfer(mode=mode, epochs=1, augment=augment, overwrite=True)
        assert any("mirrored" in note for note in run.messages) == (augment is None)
        return config(run)["recipe"].get("augmentation")

    assert (kept(None)["flip"], kept(None)["crop_px"]) == ("random", 3)
    assert kept("none") is None
    assert kept("zoom=0.6, rotate=5") == Augmentation(area=0.6, rotate_deg=5.0).to_json()
    assert kept(Augmentation(crop_px=1)) == Augmentation(crop_px=1).to_json()


def stopped_after_an_epoch(event: Event) -> None:
    if event.kind == "epoch_end":
        raise KeyboardInterrupt


def test_a_run_that_goes_on_is_asked_for_nothing_else(
    run_transfer: Transfer, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run_transfer(
            data=photos,
            mode="finetune",
            epochs=2,
            fit="crop",
            augment="flip",
            listeners=[stopped_after_an_epoch],
        )
    others: dict[str, dict[str, Any]] = {
        "fit pad, and the run .* was started with fit crop": {"fit": "pad"},
        "augmentation .*zoomed.*, and the run .* was started with augmentation mirrored": {"augment": "zoom"},
        "epochs 3, and the run .* was started with epochs 2": {"epochs": 3},
        "mode scratch, and the run .* was started with mode finetune": {"mode": "scratch"},
        "freeze-until conv2, and the run .* was started with freeze-until": {"freeze_until": "conv2"},
        "balance weights, and the run .* was started with balance none": {"class_weights": "balanced"},
    }
    for text, given in others.items():
        with pytest.raises(RunError, match=text):
            transfer(out=tmp_path / "run", resume=True, **given)
    same = {"mode": "finetune", "epochs": 2, "fit": "crop", "augment": "flip"}
    run = transfer(out=tmp_path / "run", resume=True, **same)  # type: ignore[arg-type]
    assert run.result["resumed_from_step"] > 0
    assert run.model().preprocessing.fit == "crop"


# The result -------------------------------------------------------------------------------------------


def test_extract_gives_what_training_gives(run_transfer: Transfer, few: ImageData) -> None:
    images, labels = gratings(30, 3, seed=15)
    labels[:3] = (1, 0, 0)  # wrong ones, so that not all is right
    some = (labels != 2) | (np.arange(30) < 6)
    unequal = from_arrays(
        *gratings(30, 3, seed=11), validation=gratings(30, 3, seed=12), test=(images[some], labels[some])
    )
    run = run_transfer(data=unequal)
    own = {"mode", "backbone", "features_s", "head_s"}
    assert run.result.keys() == set(FIELDS) | own
    report = evaluate(run.folder, unequal, split="test")
    recall = [each.recall for each in report.per_class]
    assert run.result["test_balanced_accuracy"] == pytest.approx(np.mean(recall))
    assert run.result["test_balanced_accuracy"] == report.balanced_accuracy
    assert run.result["test_balanced_accuracy"] != run.result["test_accuracy"]
    assert run.result["validation_balanced_accuracy"] is None  # its classes are of equal size
    trained = run_transfer(data=few, mode="scratch", epochs=1, overwrite=True)
    assert trained.result.keys() == run.result.keys()


# compare and layers -----------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The configurations of all trainings that a study makes, as each is done."""
    kept: list[Any] = []
    plain, fitted = study.train, chosen_fitting

    def train(*given: Any, **named: Any) -> Run:
        run = plain(*given, **named)
        kept.append((config(run), run.model().preprocessing.fit))
        return run

    def fitting(*given: Any, **named: Any) -> Any:
        kept.append((named["class_weights"], named["penalty"]))
        return fitted(*given, **named)

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "chosen_fitting", fitting)
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("which", STUDIES)
def test_a_study_has_the_options_too(
    trained_run: Path, photos: Path, tmp_path: Path, trainings: list[Any], which: str
) -> None:
    half = photos / "kind0" / "0.png"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (photos / "kind1" / "empty.png").touch()
    make: Any = compare if which == "compare" else layers
    given: dict[str, Any] = {"out": tmp_path / "study", "cache": tmp_path / "kept", "draws": 1}
    options = {"fit": "pad", "augment": "zoom=0.6", "class_weights": "balanced", "penalty": 0.1, "epochs": 1}
    report = make(photos, trained_run, per_class=(4,), salvage=True, **given, **options)
    skipped = (Path(report.folder) / "skipped.tsv").read_text()
    assert skipped == "kind1/empty.png\tthe file is empty\n"  # the damaged one was salvaged
    assert set(trainings[:1]) == {("balanced", 0.1)}
    configs = [made for made in trainings if isinstance(made[0], dict)]
    assert len(configs) == (2 if which == "compare" else 3)
    for kept, fit in configs:
        assert kept["recipe"]["augmentation"] == Augmentation(area=0.6).to_json()
        assert (kept["recipe"]["balance"], kept["recipe"]["epochs"], fit) == ("weights", 1, "pad")
    with pytest.raises(ConvscopeError, match="2 of 37 pictures .* cannot be read"):
        make(photos, trained_run, most_unreadable=0.0, overwrite=True, **given)


def test_fine_tuning_in_a_comparison_freezes_what_is_asked(
    few: ImageData, trained_run: Path, tmp_path: Path, trainings: list[Any]
) -> None:
    given: dict[str, Any] = {"per_class": (4,), "draws": 1, "epochs": 1, "freeze_until": "conv2"}
    compare(few, trained_run, ways=("finetune",), out=tmp_path / "study", cache=tmp_path / "kept", **given)
    (kept, _), *_ = [made for made in trainings if isinstance(made[0], dict)]
    assert kept["recipe"]["thawing"]["freeze_until"] == "conv2"


def test_a_layer_that_does_not_exist_is_found_before_anything_is_made(
    few: ImageData, trained_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConvscopeError, match="freeze until 'conv9', which is no layer with parameters"):
        compare(few, trained_run, freeze_until="conv9", out=tmp_path / "study", cache=tmp_path / "kept")
    assert not list(tmp_path.iterdir())


# What means nothing in a mode -------------------------------------------------------------------------


@pytest.mark.parametrize("option", MEANT)
def test_an_option_that_means_nothing_is_refused(option: str) -> None:
    modes, _ = MEANT[option]
    for mode in MODES + STUDIES:
        if mode in modes:
            require_meant(mode, {option: 1})
        else:
            with pytest.raises(RunError, match=re.escape(f"{option} 1 with --mode {mode}, ")) as refused:
                require_meant(mode, {option: 1})
            assert f"Add --mode {modes[0]}, or leave {option} out" in str(refused.value)
        require_meant(mode, {option: None})


def test_transfer_refuses_what_has_no_meaning(run_transfer: Transfer, tmp_path: Path) -> None:
    expected = (
        "--augment flip with --mode extract, in which no layer but the last is trained."
        " Expected --mode finetune, scratch, compare or layers."
        " Add --mode finetune, or leave --augment out."
    )
    with pytest.raises(RunError, match=re.escape(expected)):
        run_transfer(augment="flip")
    with pytest.raises(RunError, match="--epochs 3 with --mode extract"):
        run_transfer(epochs=3)
    with pytest.raises(RunError, match="--penalty 1.0 with --mode scratch, in which no head is fitted"):
        run_transfer(mode="scratch", penalty=1.0)
    with pytest.raises(ConvscopeError, match="fit 'stretch'. Expected one of squash, crop, pad"):
        run_transfer(fit="stretch")
    with pytest.raises(ConvscopeError, match="augment 'flop'.*Did you mean 'flip'"):
        run_transfer(mode="finetune", augment="flop")
    with pytest.raises(RunError, match=r"mode 'layers', which makes no model.*transfer_learning.layers"):
        run_transfer(mode="layers")
    assert not (tmp_path / "run").exists()
