"""The three ways side by side, and the first k layers frozen, on tiny pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from convscope.data import ImageData, from_arrays
from convscope.errors import DataError
from convscope.transfer_learning import compare, finetune, layers
from convscope.transfer_learning.comparing import cell
from convscope.transfer_learning.comparison_text import Cell, Comparison
from convscope.transfer_learning.study import interval

from .conftest import gratings


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FINETUNE", "FINETUNE_SMALL", "SCRATCH"):
        monkeypatch.setattr(finetune, name, replace(getattr(finetune, name), epochs=1, batch_size=8))
    monkeypatch.setattr(finetune, "LEAST_STEPS", 1)


@pytest.fixture
def given(trained_run: Path, tmp_path: Path) -> dict[str, Any]:
    return {"backbone": trained_run, "out": tmp_path / "study", "cache": tmp_path / "kept"}


@pytest.mark.slow
def test_a_comparison(few: ImageData, given: dict[str, Any]) -> None:
    found = compare(few, per_class=(2, 10), draws=2, **given)
    assert [(c.way, c.per_class, len(c.accuracies)) for c in found.cells] == [
        (way, count, 2) for count in (2, 10) for way in ("extract", "finetune", "scratch")
    ]
    folder = Path(found.folder)
    document = json.loads((folder / "comparison.json").read_text())
    assert document["use"] in ("extract", "finetune", "scratch")
    assert document["advice"] in found.render()
    assert ElementTree.parse(folder / "comparison.svg").getroot().tag.endswith("svg")
    assert not list(folder.glob("tmp*"))
    again = compare(few, per_class=(2,), draws=2, ways=("extract",), overwrite=True, **given)
    assert again.cells[0].accuracies == found.cells[0].accuracies


@pytest.mark.slow
def test_a_small_budget_leaves_things_out_and_says_so(few: ImageData, given: dict[str, Any]) -> None:
    found = compare(few, per_class=(2, 10), draws=3, budget_minutes=1e-4, **given)
    made = {(c.way, c.per_class): len(c.accuracies) for c in found.cells}
    assert made["extract", 10] == 3
    assert made["scratch", 10] == 0
    assert "–" in found.render()


def test_nothing_to_judge_on(given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="has one picture a class, so there is nothing to judge on"):
        compare(from_arrays(*gratings(3, 3, 1)), **given)


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_an_impossible_budget(few: ImageData, given: dict[str, Any], minutes: float) -> None:
    with pytest.raises(DataError, match=r"--budget .*Expected minutes, a number above 0"):
        compare(few, budget_minutes=minutes, **given)


@pytest.mark.slow
def test_layers(few: ImageData, given: dict[str, Any]) -> None:
    found = layers(few, per_class=(5,), draws=1, **given)
    assert [each.freeze_until for each in found.layers] == [None, "conv1", "conv2", "late"]
    assert found.layers[0].parameters_frozen == 0
    frozen = [each.parameters_frozen for each in found.layers]
    assert frozen == sorted(frozen)
    assert all(each.accuracy is not None for each in found.layers)
    assert (Path(found.folder) / "layers.svg").exists()
    assert "frozen up to" in found.render()


def test_a_training_that_would_not_end_within_the_budget_is_not_begun(
    few: ImageData, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.training.launch.estimated_s", lambda *_: 1e6)
    by_layer = layers(few, per_class=(5,), draws=1, **given)
    assert [each.accuracy is None for each in by_layer.layers] == [True, True, True, False]
    by_way = compare(few, per_class=(2,), draws=1, overwrite=True, **given)
    assert {cell.way: len(cell.accuracies) for cell in by_way.cells} == {
        "extract": 1,
        "finetune": 0,
        "scratch": 0,
    }


@pytest.mark.slow
def test_every_epoch_of_a_study_is_told(few: ImageData, given: dict[str, Any]) -> None:
    told: list[str] = []
    compare(
        few,
        per_class=(2,),
        draws=1,
        ways=("scratch",),
        epochs=2,
        listeners=[lambda event: told.append(getattr(event, "text", ""))],
        **given,
    )
    assert "scratch with 2 a class, draw 1: epoch 2" in told


# In words ---------------------------------------------------------------------------------------------


def comparison(*cells: Cell) -> Comparison:
    return Comparison("runs/c", "photos", "resnet18", 3, 100, cells, 10.0, 60.0)


def test_the_cheapest_way_that_nothing_beats_is_advised() -> None:
    close = comparison(
        Cell("extract", 50, (0.8, 0.82), 0.81, (0.75, 0.87), 3.0),
        Cell("finetune", 50, (0.83,), 0.83, (0.76, 0.9), 300.0),
        Cell("scratch", 50, (0.4,), 0.4, (0.3, 0.5), 200.0),
    )
    assert close.advice == (
        "Use extract: 0.81 with 50 pictures a class, in 3 s, against 0.83 (no clear difference) by finetune in 5 min,"
        " against 0.40 by scratch in 3 min."
    )
    clear = comparison(
        Cell("extract", 50, (0.8,), 0.80, (0.78, 0.82), 3.0),
        Cell("finetune", 50, (0.9,), 0.90, (0.86, 0.93), 300.0),
    )
    assert clear.best is not None
    assert clear.best.way == "finetune"
    assert "Nothing was made" in comparison(Cell("extract", 5, (), None, None, None)).advice


def test_the_interval_of_draws_is_students() -> None:
    stats = pytest.importorskip("scipy.stats", reason="comes with scikit-learn, an extra of dev")
    values = [0.71, 0.75, 0.69, 0.8]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval(values, 100) == pytest.approx((low, high), abs=1e-3)
    assert interval([0.5], 100) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert cell("extract", 5, [], 100, None).accuracy is None
