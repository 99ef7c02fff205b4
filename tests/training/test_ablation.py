"""The ablation: every trick is found, left out alone, and judged on the same seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from convscope.data import ImageData
from convscope.errors import RecipeError
from convscope.training import SGD, Augmentation, Lookahead, Muon, OneCycle, Recipe, recipes
from convscope.training.ablation import WHOLE, ablate, tricks

from .conftest import NET

TINY = Recipe("tiny", SGD(rate=0.05), OneCycle(), batch_size=16, steps=6, label_smoothing=0.1)


@pytest.mark.parametrize("name", recipes.names())
def test_each_trick_is_left_out_alone(name: str) -> None:
    recipe = recipes.get(name)
    whole = recipe.to_json()
    for trick, changed in tricks(recipe).items():
        without = changed.to_json()
        different = {key for key in {**whole, **without} if whole.get(key) != without.get(key)}
        assert len(different - {"head_gain"}) == 1, trick


def test_the_tricks_of_the_longest_recipe() -> None:
    assert list(tricks(recipes.get("cifar94"))) == [
        "alternating flip (random)", "flip", "crop", "whitening", "identity filters", "label smoothing", "averaging",
        "rate factors", "schedule (a constant rate)", "Nesterov's momentum", "views",
    ]  # fmt: skip
    assert tricks(Recipe("plain", SGD(nesterov=False), steps=1)) == {}


def test_tricks_of_other_parts() -> None:
    recipe = replace(
        TINY,
        optimizer=Muon(),
        augmentation=Augmentation("random", cutout_px=2, rotate_deg=5, mixup=0.2),
        averaging=Lookahead(),
    )
    found = tricks(recipe)
    assert list(found)[:4] == ["flip", "cutout", "rotate", "mixup"]
    assert isinstance(found["Muon (SGD everywhere)"].optimizer, SGD)


def test_rows_are_what_training_gives(run_train: Any, data: ImageData) -> None:
    found = ablate(TINY, data, NET, seeds=2)
    assert [row.trick for row in found.rows] == [WHOLE, *tricks(TINY)]
    everything, *others = found.rows
    wanted = [
        run_train(recipe=TINY, batch_size=None, seed=seed, overwrite=True).result["test_accuracy"]
        for seed in (0, 1)
    ]
    assert everything.accuracies == tuple(wanted)
    assert everything.accuracy == pytest.approx(sum(wanted) / 2)
    assert everything.spread == pytest.approx(abs(wanted[0] - wanted[1]) / 2**0.5)
    assert (everything.difference, everything.difference_spread) == (0, 0)
    for row in others:
        assert row.accuracy is not None
        assert row.difference == pytest.approx(row.accuracy - everything.accuracy)
    assert json.loads(json.dumps(found.to_json()))["rows"][1]["trick"] == "label smoothing"


def test_the_text_is_a_line_a_trick(data: ImageData) -> None:
    found = ablate(TINY, data, NET, seeds=[3], steps=2)
    lines = found.text().splitlines()
    assert lines[0] == f"tiny: {NET} on stripes, 1 seed"
    assert lines[2].split() == ["accuracy,", "%", "difference", "train,", "s"]
    assert lines[3].startswith("everything  ")
    assert [line[: len("without label")] for line in lines[4:5]] == ["without label"]
    assert len(lines) == 3 + len(found.rows)


def test_a_recipe_that_stops_learning_without_a_trick_has_a_row_that_says_so(data: ImageData) -> None:
    wild = replace(TINY, optimizer=SGD(rate=1e30), schedule=OneCycle(start=0.0, peak_at=0.999999), steps=2)
    found = ablate(wild, data, NET, seeds=1)
    row = next(row for row in found.rows if row.trick.startswith("schedule"))
    assert row.failed is not None
    assert row.failed.startswith("seed 0: ")
    assert row.failed in found.text()


def test_what_it_refuses(data: ImageData) -> None:
    with pytest.raises(RecipeError, match="the recipe plain, which has no trick to leave out"):
        ablate(Recipe("plain", SGD(nesterov=False), steps=1), data, NET)
    with pytest.raises(RecipeError, match="seeds 0. Expected a whole number of at least 1"):
        ablate(TINY, data, NET, seeds=0)
    with pytest.raises(RecipeError, match="no seeds. Expected at least one"):
        ablate(TINY, data, NET, seeds=())
