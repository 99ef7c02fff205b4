"""Turned, zoomed, recoloured, erased and mixed images against NumPy one image at a time; words; what they promise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as torchvision

from convscope.data import Preprocessing
from convscope.errors import RecipeError
from convscope.training import Augmentation, recipes
from convscope.training.augmentation import Augmenter
from convscope.training.augmentation_text import READY, WORDS, augmentation_of, described
from convscope.training.colouring import autocontrasted, coloured, equalized, posterized, sharpened, solarized
from convscope.training.mixing import PARTS, Mixer, larger_shares
from convscope.training.trivial import CHANGES, Trivial
from convscope.training.warping import Warp, warped, zoomed

EVERYTHING = [
    "flip, crop", "zoom", "rotate", "colour", "cutout, erase=0.7", "trivial", "photos, rotate, erase",
]  # fmt: skip


def noise(count: int = 6, shape: tuple[int, int, int] = (3, 12, 10), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def sampled(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The four pixels around (x, y), which is counted from the middle of the first pixel, blended; mirrored outside."""
    _, height, width = image.shape

    def inside(place: int, size: int) -> int:
        place %= 2 * size
        return place if place < size else 2 * size - 1 - place

    left, top = math.floor(x), math.floor(y)
    total = np.zeros(len(image))
    for row, by_row in ((top, top + 1 - y), (top + 1, y - top)):
        for column, by_column in ((left, left + 1 - x), (left + 1, x - left)):
            total += by_row * by_column * image[:, inside(row, height), inside(column, width)]
    return total


@given(
    angle=st.floats(-3, 3),
    area=st.floats(0.05, 1),
    stretch=st.floats(0.75, 1.3),
    place=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    move=st.tuples(st.integers(-5, 5), st.integers(-5, 5)),
)
@settings(max_examples=15)
def test_a_warp_takes_each_pixel_from_where_it_says(
    angle: float, area: float, stretch: float, place: tuple[float, float], move: tuple[int, int]
) -> None:
    images = noise(1, (2, 7, 9))
    one = torch.ones(1)
    warp = Warp.turned(one * angle) @ zoomed(one * area, one * stretch, torch.tensor([place]), 7, 9)
    found = warped(images, warp @ Warp.of(one, x0=one * move[1], y0=one * move[0])).numpy()[0]
    wide, high = min(1, math.sqrt(area * stretch)), min(1, math.sqrt(area / stretch))
    for row in range(7):
        for column in range(9):
            u, v = column - 4 + move[1], row - 3 + move[0]
            u, v = wide * u + (place[0] - 0.5) * (1 - wide) * 9, high * v + (place[1] - 0.5) * (1 - high) * 7
            x, y = math.cos(angle) * u - math.sin(angle) * v, math.sin(angle) * u + math.cos(angle) * v
            expected = sampled(images[0].numpy().astype(float), x + 4, y + 3)
            assert np.abs(found[:, row, column] - expected).max() < 0.51


def test_nothing_said_to_a_warp_changes_nothing() -> None:
    images = noise()
    assert torch.equal(warped(images, Warp.of(torch.ones(6))), images)
    mirrored = warped(images, Warp.of(torch.ones(6), xx=-torch.ones(6)))
    assert torch.equal(mirrored, images.flip(3))
    quarter = warped(noise(1, (3, 8, 8)), Warp.turned(torch.tensor([math.pi / 2])))
    assert torch.equal(quarter, noise(1, (3, 8, 8)).rot90(1, (2, 3)))  # against the clock


@pytest.mark.parametrize("channels", [1, 3])
def test_light_is_torchvisions(channels: int) -> None:
    images, one = noise(4, (channels, 12, 10)), torch.ones(4)
    factor = torch.tensor([0.3, 0.8, 1.0, 1.7])
    for name, theirs in (
        ("bright", torchvision.adjust_brightness),
        ("contrast", torchvision.adjust_contrast),
        ("saturation", torchvision.adjust_saturation),
    ):
        given: dict[str, torch.Tensor] = {"bright": one, "contrast": one, "saturation": one, name: factor}
        ours = coloured(images, **given)
        for k in range(4):
            difference = ours[k].int() - theirs(images[k], factor[k].item()).int()
            # Theirs rounds the gray that it blends with, and cuts off instead of rounding.
            assert difference.abs().max() <= (2 if name == "saturation" else 1)


def test_pixel_changes_are_torchvisions() -> None:
    images = noise(5, (3, 9, 11))
    for k, (bits, threshold, factor) in enumerate([(2, 0, 0.0), (4, 100, 0.5), (7, 255, 1.0), (8, 17, 1.9)]):
        image = images[k : k + 1]
        assert torch.equal(
            posterized(image, torch.tensor([bits])),
            image if bits == 8 else torchvision.posterize(image, bits),
        )
        assert torch.equal(
            solarized(image, torch.tensor([threshold])), torchvision.solarize(image, threshold)
        )
        theirs = torchvision.adjust_sharpness(image, factor)
        assert (sharpened(image, torch.tensor([factor])).int() - theirs.int()).abs().max() <= 1
    for k in range(5):
        assert torch.equal(equalized(images)[k], torchvision.equalize(images[k]))
        assert torch.equal(autocontrasted(images)[k], torchvision.autocontrast(images[k]))


def test_trivial_makes_every_change_about_equally_often() -> None:
    from convscope.training.chance import Chance

    drawn = Trivial.drawn(Chance(0, 0, torch.arange(2800), torch.device("cpu")))
    counts = torch.bincount(drawn.change, minlength=len(CHANGES))
    assert counts.min() > 150
    assert counts.max() < 250
    assert 0.45 < drawn.strength.mean() < 0.55
    images = noise(200, (3, 8, 8))
    changed = Trivial(drawn.change[:200], drawn.strength[:200], drawn.sign[:200])
    moved = warped(images, changed.warp(8, 8))
    is_same = torch.tensor([torch.equal(a, b) for a, b in zip(changed.on_pixels(moved), images, strict=True)])
    assert CHANGES.index("identity") in changed.change[is_same]
    assert is_same.sum() < 60


@pytest.mark.parametrize("words", EVERYTHING)
def test_batches_of_any_size_give_the_same(words: str) -> None:
    images, index = noise(30), torch.arange(30) * 7
    augment = Augmenter(augmentation_of(words, (3, 12, 10)), 3, Preprocessing((12, 10), 3))
    whole = augment(images, 2, index)
    assert not torch.equal(whole, images)
    assert not torch.equal(whole, augment(images, 3, index))
    places = [0, 1, 8, 9, 30]
    parts = [augment(images[a:b], 2, index[a:b]) for a, b in pairwise(places)]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("words", EVERYTHING)
def test_how_many_threads_compute_does_not_matter(words: str) -> None:
    images, index = noise(40, (3, 40, 40)), torch.arange(40)
    augment = Augmenter(augmentation_of(words, (3, 40, 40)), 3)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(augment(images, 2, index))
    assert torch.equal(*found)


def test_erasing_covers_boxes_of_the_stated_size() -> None:
    white = torch.full((400, 1, 20, 20), 255, dtype=torch.uint8)
    erased = Augmenter(Augmentation(erase=0.5), 0)(white, 0, torch.arange(400)) == 0
    shares = erased.flatten(1).float().mean(1)
    assert 0.4 < (shares > 0).float().mean() < 0.6
    assert shares.max() < 0.4
    assert shares[shares > 0].min() >= 0.01


# ---- mixed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    drawn = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    expected = np.quantile(np.maximum(drawn, 1 - drawn), [0.1, 0.3, 0.5, 0.7, 0.9])
    found = np.quantile(larger_shares(alpha).numpy() / PARTS, [0.1, 0.3, 0.5, 0.7, 0.9])
    assert np.abs(found - expected).max() < 0.006


def test_a_blend_is_the_sum_by_shares() -> None:
    images, others, number = noise(50, seed=1), noise(50, seed=2), torch.arange(50)
    mixed, share = Mixer(1.0, 0.0, 4)(images, others, 1, number)
    assert share.min() >= 0.5
    assert share.std() > 0.05
    by = share.numpy()[:, None, None, None].astype(float)
    expected = by * images.numpy() + (1 - by) * others.numpy()
    assert np.abs(mixed.numpy() - expected).max() <= 0.5


def test_a_pasted_box_has_the_share_of_its_pixels() -> None:
    images = torch.zeros(200, 1, 12, 10, dtype=torch.uint8)
    pasted, share = Mixer(0.0, 1.0, 4)(images, images + 1, 1, torch.arange(200))
    left = 1 - pasted.float().mean((1, 2, 3))
    assert torch.allclose(left, share)
    assert share.min() >= 0.5
    for one in pasted[:20, 0].numpy():  # a box: its rows and columns, all of it
        rows, columns = one.any(1), one.any(0)
        assert (one == rows[:, None] & columns[None]).all()


def test_mixing_is_the_same_in_batches_of_any_size() -> None:
    images, others, number = noise(20, seed=1), noise(20, seed=2), torch.arange(20) * 3
    mix = Mixer(0.4, 1.0, 9)
    whole, share = mix(images, others, 5, number)
    parts = [mix(images[k : k + 1], others[k : k + 1], 5, number[k : k + 1]) for k in range(20)]
    assert torch.equal(whole, torch.cat([part for part, _ in parts]))
    assert torch.equal(share, torch.cat([part for _, part in parts]))


# ---- in words -------------------------------------------------------------------------------------------------------


def test_every_word_does_something_and_is_described() -> None:
    for word in WORDS:
        augmentation = augmentation_of(word, (3, 64, 64))
        assert augmentation is not None
        assert described(augmentation)
    assert augmentation_of("none", (3, 64, 64)) is None
    assert augmentation_of("photos, zoom=0.8", (3, 64, 64)) == Augmentation("random", 6, area=0.8)
    assert {augmentation_of(ready, (1, 28, 28)) is None for ready in READY} == {True, False}
    assert augmentation_of("light", (1, 28, 28)) == Augmentation(crop_px=2)
    assert described(None) == ""


def test_words_go_to_a_file_and_back() -> None:
    from dataclasses import replace

    recipe = replace(recipes.get("fast"), augmentation=augmentation_of(", ".join(WORDS), (3, 64, 64)))
    assert recipes.Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("foto", r"augment 'foto'. Expected none, light, photos, or some of flip, .*Did you mean 'photos'"),
        ("flip=2", "augment flip=2. Expected flip without a number"),
        ("rotate=200", r"augment rotate=200. Expected a number from 0 to 180. Try rotate=15"),
        ("rotate=nan", "augment rotate=nan. Expected a number from 0 to 180"),
        ("rotate=", "augment rotate=. Expected a number from 0 to 180"),
        ("none, flip", "augment 'none, flip'. Expected none alone"),
        ("flip, flip", "with 'flip' twice. Expected each word once"),
        ("", "augment ''. Expected none, light"),
        ("x," * 300, "augment text of 600 letters. Expected at most 500"),
        ("zoom=0, colour=-1", r"(?s)2 settings.*augment zoom=0.*augment colour=-1"),
    ],
)
def test_words_that_are_refused(words: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        augmentation_of(words, (3, 64, 64))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rotate_deg": 181}, "rotate_deg 181. Expected a number from 0 to 180"),
        ({"area": 0}, "area 0. Expected a number from 0.01 to 1"),
        ({"trivial": 1}, "trivial 1. Expected true or false"),
        ({"mixup": -1.0, "erase": 2}, r"(?s)2 settings.*erase 2.*mixup -1.0"),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Augmentation(**values)


def test_mixed_images_and_a_loss_of_one_class_do_not_go_together() -> None:
    from dataclasses import replace

    with pytest.raises(RecipeError, match=r"mixed images with the recipe lenet5, whose loss 'map' knows one"):
        replace(recipes.get("lenet5"), augmentation=Augmentation(cutmix=1.0))
