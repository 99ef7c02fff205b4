"""The recipes for the clock: each runs with its own net, says so, and learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convscope.data import ImageData, from_arrays, load_data
from convscope.errors import Interrupted, RecipeError
from convscope.training import recipes, train

SPEED = ["mnist9893", "mnist99", "mnist995", "cifar90", "cifar94"]


def colours(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures (n, 3, 16, 16) of three colours."""
    noise = np.random.default_rng(seed).integers(0, 150, (n, 3, 16, 16))
    labels = np.arange(n) % 3
    noise[np.arange(n), labels] += 60
    return noise.astype(np.uint8), labels


@pytest.fixture(scope="module")
def pictures() -> dict[str, ImageData]:
    """Data like those that each recipe is for, small."""
    coloured = from_arrays(*colours(96, 0), test=colours(30, 1), name="colours")
    digits = load_data("mnist-10k", offline=True)
    few = replace(digits, train=digits.train.take(range(2000)), validation=None)
    return {"mnist": few, "cifar10": coloured}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEED)
def test_each_learns_with_its_own_net(name: str, pictures: dict[str, ImageData], tmp_path: Any) -> None:
    recipe = recipes.get(name)
    assert recipe.data is not None
    shorter = replace(recipe, epochs=None, steps=24, batch_size=32)
    notes: list[str] = []
    run = train(
        pictures[recipe.data],
        recipe=shorter,
        out=tmp_path / "run",
        listeners=[lambda event: notes.append(event.text) if event.kind == "note" else None],
    )
    assert run.result["net"] == recipe.net
    assert f"The recipe {name} comes with --net {recipe.net}, as nothing else is named." in notes
    assert run.result["test_accuracy"] > (0.6 if recipe.data == "mnist" else 0.8)
    assert run.model().preprocessing.views == recipe.views


@pytest.mark.slow
def test_a_speed_run_resumes_to_the_same_bits(pictures: dict[str, ImageData], tmp_path: Any) -> None:
    recipe = replace(recipes.get("cifar94"), epochs=None, steps=7, batch_size=24)
    given: dict[str, Any] = {"data": pictures["cifar10"], "net": "speed_cifar_narrow", "recipe": recipe}
    straight = train(**given, out=tmp_path / "straight")

    def stop(event: Any) -> None:
        if event.kind == "step" and event.step >= 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(**given, out=tmp_path / "broken", listeners=[stop])
    broken = train(**given, out=tmp_path / "broken", resume=True)
    files = [run.folder / "model.safetensors" for run in (straight, broken)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_named_net_wins_and_one_that_does_not_fit_is_explained(
    pictures: dict[str, ImageData], tmp_path: Any
) -> None:
    with pytest.raises(
        RecipeError, match=r"whitening of conv1, which has 3 filters. Expected .* = 54 filters"
    ):
        train(
            pictures["cifar10"],
            "conv(3, 3), flatten, dense(classes)",
            "cifar94",
            batch_size=16,
            out=tmp_path / "run",
        )


def test_a_recipe_that_nothing_was_said_about_takes_its_own_data(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def found(source: object, **how: object) -> ImageData:
        asked.append(source)
        raise KeyError("enough")

    monkeypatch.setattr("convscope.training.start.load_data", found)
    for recipe in ("cifar94", "lecture"):
        with pytest.raises(KeyError):
            train(recipe=recipe)
    assert asked == ["cifar10", None]
