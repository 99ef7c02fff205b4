"""Preparation of pictures: fit, augmentation, balance, what is held out and left out; and resuming all of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convscope.data import ImageData, from_arrays
from convscope.data.image_data import copies
from convscope.data.sampling import first_of_each, stratified_pick
from convscope.errors import DataError, Interrupted, RecipeError, RunError
from convscope.evaluation import evaluate
from convscope.training import SGD, Augmentation, Recipe, train
from convscope.training.material import prepared_splits
from convscope.training.objective import Target, objective
from convscope.training.turns import class_weights, turns_of

from .conftest import stripes
from .test_resume import same_bits

NET = "conv(2, 3, stride=2), relu, globalpool, dense(classes)"
MIXED = Augmentation(
    "random", 1, 2, rotate_deg=20, area=0.7, colour=0.2, erase=0.3, trivial=True, mixup=0.4, cutmix=1.0
)


def skewed(n: int = 60) -> ImageData:
    """Stripes, two thirds of them of class 0, and a test split as skewed."""
    images, _ = stripes(n)
    labels = np.array([0, 0, 0, 0, 1, 2])[np.arange(n) % 6]
    images[np.arange(n), 0, labels * 2] = 250
    return from_arrays(images, labels, test=(images[:30], labels[:30]), name="skewed")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve wide pictures of each of two classes; the colour at their ends says the class, the middle is noise."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "blue")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 256, (24, 72, 3), dtype=np.uint8)
            pixels[:, :24] = pixels[:, 48:] = (0, 0, 250) if label else (250, 0, 0)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


# ---- turns -----------------------------------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(lambda counts: sum(counts) > 1),
    epoch=st.integers(0, 6),
    seed=st.integers(0, 2**40),
)
def test_a_balanced_epoch_gives_every_class_its_turns(counts: list[int], epoch: int, seed: int) -> None:
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    turns = turns_of(labels, "sampler", seed, epoch)
    assert len(turns) == len(labels)
    seen = Counter(labels[turns.image].tolist())
    assert len(seen) <= sum(count > 0 for count in counts)
    assert max(seen.values()) - min(seen.get(k, 0) for k, count in enumerate(counts) if count) <= 1
    assert len(set(turns.number.tolist())) == len(labels)  # no two turns draw the same
    assert (turns.number % len(labels)).equal(turns.image)
    assert turns.partner.sort().values.equal(torch.arange(len(labels)))
    again = turns_of(labels, "sampler", seed, epoch)
    assert again.image.equal(turns.image)


def test_over_many_epochs_every_image_of_a_class_has_as_many_turns() -> None:
    labels = torch.tensor([0] * 3 + [1] * 17)
    turns = torch.cat([turns_of(labels, "sampler", 5, epoch).image for epoch in range(34)])
    counts = torch.bincount(turns, minlength=20)
    assert counts[:3].sum() == counts[3:].sum() == 340
    assert counts[:3].max() - counts[:3].min() <= 1
    assert counts[3:].max() - counts[3:].min() <= 1


def test_without_a_balance_each_image_has_one_turn_in_the_order_there_always_was() -> None:
    from convscope.engine.random import order

    turns = turns_of(torch.zeros(50, dtype=torch.int64), "none", 3, 2)
    assert turns.image.equal(order(3, 2, 50))
    assert turns.number.equal(turns.image)
    assert not (turns.partner == torch.arange(50)).any()


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_weights_make_every_class_count_the_same() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 2])
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([0.6, 0, 3, 0])
    assert weights[labels].mean().item() == pytest.approx(1)
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    each = -scores.log_softmax(1)[torch.arange(6), labels]
    expected = (each[:5].mean() + each[5]) / 2  # the mean over the two classes that are there
    assert objective(scores, [], Target(labels, weights=weights)).item() == pytest.approx(expected.item())


def test_a_mixed_target_is_the_loss_of_soft_labels() -> None:
    generator = torch.Generator().manual_seed(1)
    scores, share = torch.randn(5, 3, generator=generator), torch.rand(5, generator=generator)
    labels, others = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 1, 0, 2, 0])
    soft = share[:, None] * torch.eye(3)[labels] + (1 - share[:, None]) * torch.eye(3)[others]
    for smoothing in (0.0, 0.1):
        smooth = (1 - smoothing) * soft + smoothing / 3
        expected = -(smooth * scores.log_softmax(1)).sum(1).mean()
        found = objective(scores, [(0.5, scores)], Target(labels, others, share), smoothing)
        assert found.item() == pytest.approx(1.5 * expected.item(), rel=1e-5)


# ---- held out and left out -------------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 2), min_size=4, max_size=40),
    groups=st.lists(st.integers(0, 12), min_size=40, max_size=40),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 99),
)
def test_copies_are_held_out_together_or_not_at_all(
    labels: list[int], groups: list[int], fraction: float, seed: int
) -> None:
    array, same = np.array(labels), np.array(groups[: len(labels)])
    try:
        held = stratified_pick(array, fraction, seed, same)
    except DataError:
        return
    kept = np.setdiff1d(np.arange(len(array)), held)
    assert not set(same[held]) & set(same[kept])
    for label in set(labels):
        count = int((array == label).sum())
        assert (array[held] == label).sum() <= min(max(1, round(count * fraction)), count - 1)


def test_without_copies_the_same_are_held_out_as_ever() -> None:
    labels = np.arange(200) % 7
    assert (
        stratified_pick(labels, 0.2, 3).tolist() == stratified_pick(labels, 0.2, 3, np.arange(200)).tolist()
    )


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 70, 30), (1, 1, 1)])
def test_copies_are_found_by_every_pixel(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    images[:3, ..., 0] = [[[7]], [[8]], [[9]]]  # even of one pixel, three are different
    if shape == (1, 1, 1):
        images = images[:3]
    assert shape == (1, 1, 1) or copies(images) is None
    twins = np.concatenate([images, images[:2]])
    found = copies(twins)
    assert found is not None
    assert np.flatnonzero(found != np.arange(len(twins))).tolist() == [len(images), len(images) + 1]
    assert found[-2:].tolist() == [0, 1]
    if shape != (1, 1, 1):
        twins[-1, -1, -2, -2] ^= 1
        found = copies(twins)
        assert found is not None
        assert found[-1] == len(images) + 1


def test_what_is_held_out_does_not_depend_on_the_limit() -> None:
    data = skewed(120)
    recipe = Recipe("mine", SGD(), steps=1, hold_out=0.2)
    whole, few, fewer = (
        prepared_splits(data, replace(recipe, limit_per_class=limit), 3) for limit in (None, 9, 4)
    )
    assert whole.validation is not None
    for limited, most in ((few, 9), (fewer, 4)):
        assert limited.validation is not None
        assert np.array_equal(limited.validation.images, whole.validation.images)
        assert np.bincount(limited.train.labels).tolist() == [most] * 3
    assert "At most 9 training images of each class: 27 of 96 are used (seed 3)." in few.notes
    assert set(first_of_each(data.train.labels, 4, 3)) < set(first_of_each(data.train.labels, 9, 3))


def test_a_class_of_one_image_is_learned_and_one_image_each_holds_nothing_out(run_train: Any) -> None:
    images, _ = stripes(9)
    labels = np.array([0] * 8 + [1])
    some = prepared_splits(from_arrays(images, labels), Recipe("mine", SGD(), steps=1, hold_out=0.3), 0)
    assert some.validation is not None
    assert 1 in some.train.labels
    assert 1 not in some.validation.labels
    run = run_train(data=from_arrays(images[:3], [0, 1, 2]), batch_size=2, steps=2)
    assert run.result["validation_accuracy"] is None
    assert any(
        "Nothing is held out for validation: one image in every class" in note for note in run.messages
    )


# ---- judged ----------------------------------------------------------------------------------------------------------


def test_unequal_classes_are_judged_by_their_mean_too(run_train: Any, data: ImageData) -> None:
    run = run_train(data=skewed(), steps=6)
    report = evaluate(run.folder, skewed())
    recalls = [score.recall for score in report.per_class]
    assert report.balanced_accuracy == pytest.approx(sum(recalls) / 3)
    assert report.balanced_accuracy != report.accuracy
    assert report.to_json()["balanced_accuracy"] == run.result["test_balanced_accuracy"]
    assert report.balanced_accuracy == run.result["test_balanced_accuracy"]
    line = f"balanced  {report.balanced_accuracy:.4f}   mean recall of the classes, which are unequal: 20 of '0', 5 of"
    assert line in report.render()
    equal = evaluate(run.folder, data)
    assert equal.balanced_accuracy is None
    assert "balanced" not in equal.render()


# ---- a whole run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_mixed_augmented_balanced_runs_resume_to_the_same_bits(
    run_train: Any, stopper: Any, tmp_path: Path, balance: str
) -> None:
    recipe = Recipe("mine", SGD(rate=0.01), batch_size=16, epochs=3, augmentation=MIXED)
    given = {
        "recipe": recipe,
        "data": skewed(),
        "batch_size": None,
        "limit_per_class": 12,
        "balance": balance,
    }
    straight = run_train(out=tmp_path / "straight", **given)
    for number, at in enumerate((1, 3, 4)):
        with pytest.raises(Interrupted):
            run_train(listeners=[stopper(at)], resume=number > 0, **given)
    broken = run_train(net=None, data=skewed(), batch_size=None, resume=True)
    same_bits(straight.folder, broken.folder)
    stored = json.loads((straight.folder / "config.json").read_text())["recipe"]
    assert (stored["balance"], stored["limit_per_class"]) == (balance, 12)
    assert stored["augmentation"]["cutmix"] == 1.0


def test_what_is_prepared_is_part_of_the_agreement(photos: Path, stopper: Any, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "data": photos,
        "net": NET,
        "out": tmp_path / "run",
        "size_px": 24,
        "batch_size": 8,
    }
    with pytest.raises(Interrupted):
        train(steps=6, fit="crop", augment="flip, rotate", balance="weights", hold_out=0.3, limit_per_class=7,
              listeners=[stopper(3)], **given)  # fmt: skip
    for asked, text in (
        ({"fit": "pad"}, "fit pad, and the run in .* was started with fit crop"),
        (
            {"augment": "flip"},
            "augmentation mirrored, and .* with augmentation mirrored, turned by up to 15°",
        ),
        ({"augment": "none"}, "augmentation none, and .* with augmentation mirrored, turned"),
        ({"balance": "sampler"}, "balance sampler, and .* with balance weights"),
        ({"hold_out": 0.2}, "held-out share 0.2, and .* with held-out share 0.3"),
        ({"limit_per_class": 8}, "limit per class 8, and .* with limit per class 7"),
    ):
        with pytest.raises(RunError, match=text):
            train(resume=True, out=tmp_path / "run", **asked)
    again = {
        "fit": "crop",
        "augment": "flip, rotate",
        "balance": "weights",
        "hold_out": 0.3,
        "limit_per_class": 7,
    }
    assert train(resume=True, out=tmp_path / "run", **again).result["resumed_from_step"] == 3


def test_every_later_command_fits_pictures_as_training_did(photos: Path, tmp_path: Path) -> None:
    """The middle, which is all that crop shows, says nothing; squash shows the coloured ends."""
    from convscope.prediction import predict

    found = {}
    for fit in ("squash", "crop", "pad"):
        run = train(photos, NET, steps=60, rate=0.05, batch_size=8, size_px=24, fit=fit, augment="none",
                    hold_out=0.3, out=tmp_path / fit)  # fmt: skip
        model = run.model()
        assert model.preprocessing.fit == fit
        report = evaluate(run.folder, split="validation")
        assert report.accuracy == run.result["validation_accuracy"]
        assert evaluate(run.folder, photos, split="validation").loss == report.loss
        outcomes = list(predict(run.folder, [photos]))
        found[fit] = sum(outcome.label == Path(outcome.path).parent.name for outcome in outcomes) / 24
        everything = evaluate(run.folder, photos, split="train")
        assert found[fit] * 24 == pytest.approx(report.correct + everything.correct)
    assert found["squash"] > 0.9
    assert found["crop"] < 0.9


def test_pictures_are_augmented_by_default_and_named_recipes_and_digits_are_not(
    photos: Path, tmp_path: Path, run_train: Any
) -> None:
    def augmentation(run: Any) -> Any:
        return json.loads((run.folder / "config.json").read_text())["recipe"].get("augmentation")

    given: dict[str, Any] = {"net": NET, "steps": 2, "batch_size": 4, "size_px": 24}
    usual = train(photos, **given, out=tmp_path / "usual")
    assert augmentation(usual)["flip"] == "random"
    assert any(
        "In training they are mirrored, moved by up to 2 px; --augment none" in note
        for note in usual.messages
    )
    assert any("Pictures are stretched to 24×24 (--fit squash)." in note for note in usual.messages)
    plain = train(photos, **given, augment="none", out=tmp_path / "plain")
    named = train(photos, **given, recipe="fast", out=tmp_path / "named")
    assert augmentation(plain) is augmentation(named) is None
    for picture in photos.rglob("*.png"):
        Image.open(picture).convert("L").save(picture)
    gray = train(photos, **given, out=tmp_path / "gray")
    assert (augmentation(gray)["flip"], augmentation(gray)["crop_px"]) == (None, 1)
    assert augmentation(run_train(steps=2)) is None  # arrays


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"fit": "fill"}, "fit 'fill'. Expected one of squash, crop, pad"),
        ({"augment": "foto"}, "augment 'foto'"),
        ({"balance": "weight"}, "balance 'weight'. Expected one of none, weights, sampler. Did you mean 'weights'"),
        ({"hold_out": 1.0}, "held-out share 1.0. Expected a number of at least 0 and below 1. Try --holdout 0.2"),
        ({"limit_per_class": 0}, "images of each class 0. Expected a whole number of at least 1. Try --limit-per"),
        ({"hold_out": 0.1, "recipe": "lecture"}, "with the recipe lecture, which validates on the test split"),
        ({"augment": "mixup", "recipe": "lenet5"}, "loss 'map' knows one class"),
    ],
)  # fmt: skip
def test_what_is_refused(run_train: Any, tmp_path: Path, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        run_train(steps=2, **asked)
    assert not (tmp_path / "run").exists()
