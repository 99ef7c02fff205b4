"""The runner of benchmarks/compare.py and transfer.py, on scripts of one line; nothing is installed or timed."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from convscope.data import load_data

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    """The folder of the benchmarks where Python finds what they import from each other, as when they are run."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compare(scripts: None) -> Any:
    """benchmarks/compare.py as a module."""
    return loaded("compare")


@pytest.fixture(scope="module")
def transfer(scripts: None) -> Any:
    """benchmarks/transfer.py as a module."""
    return loaded("transfer")


def saying(compare: Any, name: str, rate: float, **more: Any) -> Any:
    """A contestant that answers at once."""
    answer = json.dumps({"images_per_s": rate, "parameters": 7})
    return compare.Contestant(name, "ours", ("-c", f"print('noise'); print('{answer}')"), **more)


@pytest.fixture
def runner(compare: Any, tmp_path: Path) -> Any:
    return compare.Runner(compare.Environments(tmp_path), tmp_path, None)


def benchmark(compare: Any, *contestants: Any) -> Any:
    return compare.Benchmark("name", "images/s", contestants, lambda found: iter(()))


def test_rounds_and_the_fastest_of_a_choice(compare: Any, runner: Any) -> None:
    contestants = (
        saying(compare, "ours", 300.0, ours=True),
        saying(compare, "slow loader", 10.0, choice="loader"),
        saying(compare, "fast loader", 20.0, choice="loader"),
    )
    found = runner.compare(benchmark(compare, *contestants), 2)
    assert [each.values for each in found] == [[300.0, 300.0], [10.0], [20.0, 20.0]]


def test_a_failure_is_named_and_the_rest_goes_on(compare: Any, runner: Any) -> None:
    broken = compare.Contestant("broken", "ours", ("-c", "raise SystemExit('out of paper')"))
    absent = compare.Contestant("absent", "keras-jax", ("-c", ""))
    runner.environments.failures["keras-jax"] = "pip could not install jax"
    found = runner.compare(benchmark(compare, broken, absent, saying(compare, "fine", 5.0)), 2)
    assert found[0].failure == "status 1: out of paper"
    assert found[1].failure == "pip could not install jax"
    assert found[2].values == [5.0, 5.0]
    text = compare.table(benchmark(compare), found)
    assert "broken: status 1: out of paper" in text
    document = compare.document(benchmark(compare), found, [compare.Ratio("peer", math.nan, 2.0)])
    assert document["rows"][0]["median"] is None
    assert document["ratios"] == [{"against": "peer", "value": None, "asked": 2.0}]


def test_cold_caches_are_new_ones_and_warm_ones_stay(compare: Any, runner: Any, tmp_path: Path) -> None:
    cold = runner._variables(compare.Contestant("a", "ours", (), caches="cold"), tmp_path / "run")
    warm = runner._variables(compare.Contestant("a", "ours", ()), tmp_path / "run")
    assert cold["XDG_CACHE_HOME"].startswith(str(tmp_path / "run"))
    assert warm["XDG_CACHE_HOME"] == str(tmp_path / "warm")
    keras = runner._variables(compare.Contestant("a", "keras-jax", ()), tmp_path / "run")
    assert keras["KERAS_BACKEND"] == "jax"


def found_of(compare: Any, benchmark: Any, rates: dict[str, float]) -> list[Any]:
    """What runs of these medians would give; names that are not listed have none."""
    answers = [{"parameters": 7}]
    return [
        compare.Found(each, [rates[each.name]], answers) if each.name in rates else compare.Found(each)
        for each in benchmark.contestants
    ]


def test_the_lectures_ratios(compare: Any) -> None:
    chosen = compare.lecture(Path("digits.npz"), ())
    rates = {
        "convscope": 8000.0, "convscope, float32": 2600.0, "PyTorch, DataLoader, 0 workers": 1000.0,
        "PyTorch, DataLoader, 2 workers": 800.0, "PyTorch, in memory": 1250.0, "PyTorch bf16, in memory": 2000.0,
        "Keras, TensorFlow": 1300.0, "Keras bf16, TensorFlow": 3200.0,
    }  # fmt: skip
    ratios = [ratio.value for ratio in chosen.ratios(found_of(compare, chosen, rates))]
    assert ratios == [8000 / 3200, 8000 / 1000, 8000 / 1250, 2600 / 1300]


def test_the_other_ratios(compare: Any) -> None:
    limit = compare.limit(Path("digits.npz"), ())
    rates = {"convscope": 6.0, "convscope, float32": 3.0, "limit": 8.0, "limit, float32": 4.0}
    assert [ratio.value for ratio in limit.ratios(found_of(compare, limit, rates))] == [0.75, 0.75]
    to_accuracy = compare.to_accuracy(Path("digits.npz"), ())
    names = [each.name for each in to_accuracy.contestants]
    seconds = dict(zip(names, (20.0, 10.0, 16.0, 8.0, 5.0, 4.0, 200.0), strict=True))
    assert [ratio.value for ratio in to_accuracy.ratios(found_of(compare, to_accuracy, seconds))] == [
        10.0,
        20.0,
        12.5,
        25.0,
        40.0,
        50.0,
    ]


def test_fewer_seconds_are_better(compare: Any) -> None:
    chosen = compare.to_accuracy(Path("digits.npz"), ())
    names = [each.name for each in chosen.contestants]
    text = compare.table(
        chosen,
        found_of(compare, chosen, dict(zip(names, (20.0, 10.0, 16.0, 8.0, 5.0, 4.0, 200.0), strict=True))),
    )
    assert [line.split()[-1] for line in text.splitlines()[1:]] == [
        "10.00",
        "20.00",
        "12.50",
        "25.00",
        "40.00",
        "50.00",
        "1.00",
    ]


def test_small_nets_must_be_the_same_networks(compare: Any) -> None:
    chosen = compare.small_nets(Path("digits.npz"), ())
    found = found_of(compare, chosen, {each.name: 2.0 for each in chosen.contestants})
    assert [ratio.value for ratio in chosen.ratios(found)] == [1.0] * 4
    found[0].answers = [{"parameters": 8}]
    with pytest.raises(SystemExit, match="not the same network"):
        list(chosen.ratios(found))


def test_runs_that_missed_the_accuracy_are_counted(compare: Any) -> None:
    contestant = compare.Contestant("ours", "ours", ())
    found = compare.Found(contestant, [1.0, 1.0], [{"test_accuracy": 0.99}, {"test_accuracy": 0.98}])
    assert list(compare.remarks([found])) == ["ours: test accuracy 0.9900, 0.9800; 1 of 2 below 0.9893"]


def test_every_script_of_a_contestant_is_there(compare: Any, transfer: Any) -> None:
    running = loaded("running")
    benchmarks = [make(Path("digits.npz"), ()) for make in compare.BENCHMARKS.values()]
    benchmarks.append(transfer.benchmark(Path("photos"), Path("weights.pth")))
    for contestant in (each for benchmark in benchmarks for each in benchmark.contestants):
        script = contestant.command[0]
        assert script == "-m" or (running.SCRIPTS / script).is_file()
        assert contestant.environment == "ours" or contestant.environment in running.PACKAGES


def test_digits_as_keras_keeps_them(compare: Any, tmp_path: Path) -> None:
    compare.write_npz(load_data("mnist-10k"), tmp_path / "digits.npz")
    with np.load(tmp_path / "digits.npz") as data:
        assert data["x_train"].shape == (9000, 28, 28)
        assert data["x_train"].dtype == np.uint8
        assert data["y_test"].shape == (1000,)


def test_only_some_peers(compare: Any) -> None:
    kept = compare.lecture(Path("digits.npz"), ()).only("keras").contestants
    assert [each.name for each in kept] == [
        "convscope", "convscope, float32", "Keras, TensorFlow", "Keras bf16, TensorFlow", "Keras, JAX",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["lectur"], "unknown benchmark 'lectur'"), (["--runs", "0"], "must be at least 1")],
)
def test_refusals(
    arguments: list[str],
    text: str,
    compare: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        compare.main()
    assert refused.value.code == 2
    assert text in capsys.readouterr().err


def test_transfer_measures_every_peer_against_ours_with_cold_caches(transfer: Any) -> None:
    asked = transfer.benchmark(Path("photos"), Path("weights.pth"))
    found = [transfer.Found(each) for each in asked.contestants]
    for each, seconds in zip(found, (20.0, 5.0, 50.0, 70.0, 300.0), strict=True):
        each.values.append(seconds)
    assert [(ratio.text, ratio.value) for ratio in asked.ratios(found)] == [
        ("timm, LogisticRegression", 2.5),
        ("timm, LogisticRegressionCV", 3.5),
        ("fastai, vision_learner, fine_tune", 15.0),
    ]


def test_transfer_reads_the_accuracy_where_each_side_says_it(transfer: Any) -> None:
    asked = transfer.benchmark(Path("photos"), Path("weights.pth"))
    ours, peer = transfer.Found(asked.contestants[0]), transfer.Found(asked.contestants[-1])
    ours.answers += [{"validation_accuracy": 0.8}, {"validation_accuracy": 0.9}]
    peer.answers += [{"accuracy": 0.7}]
    assert transfer.accuracy(ours) == pytest.approx(0.85)
    assert transfer.accuracy(peer) == 0.7
