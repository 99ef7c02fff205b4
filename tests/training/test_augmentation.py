"""Augmentation against a plain NumPy computation of one image at a time, and what it promises."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope.data import Preprocessing
from convscope.engine.random import Draw
from convscope.errors import RecipeError
from convscope.training import SGD, Augmentation, Recipe
from convscope.training.augmentation import Augmenter

MEAN = (0.2, 0.5, 0.9)


def drawn(seed: int, epoch: int, what: str, number: int, limit: int) -> list[int]:
    """The two whole numbers below `limit` that are drawn for one image."""
    bits = Draw(seed, epoch, torch.tensor([number])).bits(f"augmentation: {what}", 2, torch.device("cpu"))
    return [(int(word) & 0x7FFFFFFF) % limit for word in bits[0]]


def one_by_one(
    image: np.ndarray, setting: Augmentation, seed: int, epoch: int, number: int, colour: list[int]
) -> np.ndarray:
    """What happens to one image (C, H, W): mirror, move, cover."""
    mirrored = {
        None: False,
        "random": drawn(seed, epoch, "flip", number, 2)[0] == 1,
        "alternating": (drawn(seed, 0, "flip", number, 2)[0] + epoch) % 2 == 1,
    }[setting.flip]
    image = image[:, :, ::-1] if mirrored else image
    most = setting.crop_px
    _, height, width = image.shape
    down, right = (move - most for move in drawn(seed, epoch, "crop", number, 2 * most + 1))
    bordered = np.pad(image, ((0, 0), (most, most), (most, most)), mode="reflect")
    image = bordered[:, most + down : most + down + height, most + right : most + right + width]
    if setting.cutout_px:
        side = setting.cutout_px
        top = drawn(seed, epoch, "cutout", number, height - side + 1)[0]
        left = drawn(seed, epoch, "cutout", number, width - side + 1)[1]
        image = image.copy()
        image[:, top : top + side, left : left + side] = np.array(colour)[:, None, None]
    return image


settings = st.builds(
    Augmentation,
    flip=st.sampled_from([None, "random", "alternating"]),
    crop_px=st.integers(0, 4),
    cutout_px=st.integers(0, 5),
)


@given(
    setting=settings,
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 5),
    shape=st.tuples(st.integers(1, 3), st.integers(5, 9), st.integers(5, 9)),
)
def test_a_batch_is_its_images_one_by_one(
    setting: Augmentation, seed: int, epoch: int, shape: tuple[int, int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    index = np.array([0, 5, 17, 3, 60_000, 2])
    preprocessing = Preprocessing(shape[1:], shape[0], mean=MEAN[: shape[0]], std=(0.3,) * shape[0])
    augment = Augmenter(setting, seed, preprocessing)
    found = augment(torch.from_numpy(images), epoch, torch.from_numpy(index)).numpy()
    colour = [round(255 * part) for part in MEAN[: shape[0]]]
    for image, number, whole in zip(images, index, found, strict=True):
        np.testing.assert_array_equal(one_by_one(image, setting, seed, epoch, int(number), colour), whole)


def many(setting: Augmentation, epoch: int, seed: int = 0) -> torch.Tensor:
    """400 times the same image with ascending pixels, as the epoch sees it."""
    image = torch.arange(48, dtype=torch.uint8).view(1, 1, 6, 8).expand(400, 1, 6, 8)
    return Augmenter(setting, seed)(image, epoch, torch.arange(400))


def test_alternating_shows_every_image_both_ways_in_any_two_epochs_running() -> None:
    setting = Augmentation(flip="alternating")
    seen = [many(setting, epoch) for epoch in range(4)]
    for before, after in pairwise(seen):
        assert torch.equal(after, before.flip(3))
    mirrored = (seen[0][:, 0, 0, 0] != 0).float().mean().item()
    assert 0.4 < mirrored < 0.6


def test_random_flips_are_new_each_epoch() -> None:
    first, second = (many(Augmentation(flip="random"), epoch)[:, 0, 0, 0] != 0 for epoch in (0, 1))
    assert 0.4 < (first == second).float().mean().item() < 0.6


def test_all_moves_happen_about_equally_often() -> None:
    corners = many(Augmentation(crop_px=1), 3)[:, 0, 1, 1]  # which pixel came to row 1, column 1
    counts = torch.bincount(corners.long(), minlength=48)
    places = [row * 8 + column for row in range(3) for column in range(3)]
    assert int(counts[places].sum()) == 400
    assert min(counts[places]) > 400 / 9 / 2


def test_the_square_lies_within_the_image_and_has_the_mean_colour() -> None:
    white = torch.full((200, 1, 9, 9), 255, dtype=torch.uint8)
    preprocessing = Preprocessing((9, 9), 1, mean=(0.4,), std=(0.2,))
    covered = Augmenter(Augmentation(cutout_px=4), 0, preprocessing)(white, 0, torch.arange(200)) != 255
    assert covered.flatten(1).sum(1).tolist() == [16] * 200
    assert covered.any(0).all()


def test_batches_of_any_size_give_the_same() -> None:
    images = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    augment, index = Augmenter(Augmentation("random", 2, 3), 7), torch.arange(12) * 5
    whole = augment(images, 2, index)
    parts = [augment(images[i : i + 5], 2, index[i : i + 5]) for i in (0, 5, 10)]
    assert torch.equal(whole, torch.cat(parts))


def test_without_a_setting_the_very_images_come_back() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    assert Augmenter(None, 0)(images, 0, torch.arange(2)) is images
    assert Augmenter(Augmentation(), 0)(images, 0, torch.arange(2)) is images


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"flip": "both"}, r"flip 'both'. Expected one of random, alternating"),
        ({"flip": "alternate"}, "Did you mean 'alternating'"),
        ({"crop_px": -1}, "crop_px -1. Expected a whole number of at least 0"),
        ({"crop_px": 1.5, "cutout_px": -2}, r"(?s)2 settings.*crop_px 1.5.*cutout_px -2"),
    ],
)
def test_what_it_refuses(values: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Augmentation(**values)


def test_images_that_are_too_small_are_refused_before_anything_is_made(run_train: Any, tmp_path: Any) -> None:
    recipe = Recipe("mine", SGD(), batch_size=16, steps=2, augmentation=Augmentation(crop_px=6, cutout_px=7))
    with pytest.raises(
        RecipeError,
        match=r"(?s)crop_px 6 with images of 6×6 px: expected at most 5.*cutout_px 7 with .*at most 6",
    ):
        run_train(recipe=recipe, batch_size=None)
    assert not (tmp_path / "run").exists()


def test_training_sees_augmented_images_and_judging_does_not(run_train: Any, tmp_path: Any) -> None:
    recipe = Recipe("mine", SGD(rate=1e-6, momentum=0.0, nesterov=False), batch_size=16, epochs=1)
    given = {"net": "flatten, dense(classes)", "batch_size": None}  # a norm would remember what it saw
    plain = run_train(recipe=recipe, out=tmp_path / "plain", **given)
    moved = replace(recipe, augmentation=Augmentation(crop_px=5, cutout_px=4))
    changed = run_train(recipe=moved, out=tmp_path / "moved", **given)
    losses = [next(line for line in run.history if line["event"] == "epoch_end") for run in (plain, changed)]
    assert abs(losses[0]["loss"] - losses[1]["loss"]) > 1e-3
    assert losses[0]["validation_loss"] == pytest.approx(losses[1]["validation_loss"], abs=1e-4)
