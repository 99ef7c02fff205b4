"""The spread over seeds: what training gives, with the numbers of statistics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from convscope.data import ImageData, from_arrays
from convscope.errors import RecipeError
from convscope.training import SGD, OneCycle, Recipe
from convscope.training.spread import spread, student_t

from .conftest import NET, stripes

TINY = Recipe("tiny", SGD(rate=0.05), OneCycle(), batch_size=16, steps=6)


def test_it_is_what_training_gives(run_train: Any, data: ImageData) -> None:
    found = spread(data, NET, TINY, seeds=3, device="cpu")
    wanted = [
        run_train(recipe=TINY, batch_size=None, seed=seed, overwrite=True).result["test_accuracy"]
        for seed in range(3)
    ]
    assert found.accuracies == tuple(wanted)
    assert (found.split, found.seeds, found.recipe) == ("test", (0, 1, 2), "tiny")
    assert found.mean == pytest.approx(np.mean(wanted))
    assert found.deviation == pytest.approx(np.std(wanted, ddof=1))
    half = 4.303 * np.std(wanted, ddof=1) / np.sqrt(3)
    assert found.interval == pytest.approx((max(0, found.mean - half), min(1, found.mean + half)))
    document = json.loads(json.dumps(found.to_json()))
    assert document["accuracies"] == wanted
    assert (document["least"], document["most"]) == (min(wanted), max(wanted))
    assert "3 seeds: test accuracy" in found.text()


def test_the_quantiles_are_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (*range(1, 40), 100, 1000):
        assert student_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-3)


def test_what_has_no_spread_is_refused(data: ImageData) -> None:
    with pytest.raises(RecipeError, match=r"seeds 1.*one seed has no spread"):
        spread(data, NET, TINY, seeds=1)
    with pytest.raises(RecipeError, match=r"the seeds \[3, 3\]. Expected at least two different ones"):
        spread(data, NET, TINY, seeds=[3, 3])


def test_nothing_to_judge_on(data: ImageData) -> None:
    from dataclasses import replace

    alone = from_arrays(*stripes(63))
    with pytest.raises(RecipeError, match="nothing is left to judge on"):
        spread(alone, NET, replace(TINY, hold_out=0.0), seeds=2, device="cpu")
