"""bench from Python: alternation, the report, refusals, and one tiny real run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

import convscope
from convscope.benchmark import Bench, alternation, bench, machine_plan
from convscope.benchmark.alternation import Entry, Rates, alternate
from convscope.benchmark.contestants import Task
from convscope.engine import make_plan
from convscope.errors import NetTextError, RecipeError, RunError, ShapeError
from convscope.net import Net

TINY = "flatten, dense(3)"
TASK = Task(Net.parse(TINY), (1, 4, 4), 4, make_plan("cpu", threads=1))


class Scripted:
    """A worker that says what it was asked, in place of a process."""

    log: list[tuple[str, float]] = []  # noqa: RUF012 - reset by the fixture

    def __init__(self, entry: Entry) -> None:
        self.name = entry.contestant

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append((self.name, -1.0))

    def measure(self, seconds: float) -> float:
        self.log.append((self.name, seconds))
        return 100.0 * len(self.log)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    monkeypatch.setattr(Scripted, "log", [])
    monkeypatch.setattr(alternation, "_Worker", Scripted)
    return Scripted.log


def test_alternation_warms_up_then_takes_turns(scripted: list[tuple[str, float]]) -> None:
    entries = {"a": Entry("ours", TASK), "b": Entry("plain", TASK)}
    found = alternate(entries, 2, 1.5, lambda: 0.5)
    assert [name for name, _ in scripted] == ["ours", "plain"] * 3 + ["plain", "ours"]
    assert [seconds for _, seconds in scripted] == [1.5] * 2 + [0.5] * 4 + [-1.0] * 2
    assert found == {"a": Rates((300.0, 500.0)), "b": Rates((400.0, 600.0))}


def test_rates() -> None:
    assert Rates((3.0, 1.0, 8.0)).to_json() == {
        "images_per_s": 3.0,
        "least_images_per_s": 1.0,
        "most_images_per_s": 8.0,
        "rounds": 3,
    }


@pytest.mark.slow
def test_a_worker_that_fails_says_why() -> None:
    broken = replace(TASK, plan=replace(TASK.plan, device="nowhere"))
    with pytest.raises(RuntimeError, match="the measurement of 'plain' ended: (?s:.)*nowhere"):
        alternate({"plain": Entry("plain", broken)}, 1, 0.1, lambda: 0.1)


def fake(found: Mapping[str, float]) -> Callable[..., dict[str, Rates]]:
    """An `alternate` that finds these numbers; it looks names up by their beginning."""

    def alternate_(
        entries: Mapping[str, Entry], rounds: int, warm_s: float, turn_s: object
    ) -> dict[str, Rates]:
        return {name: Rates((found[name.partition(",")[0]],) * rounds) for name in entries}

    return alternate_


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"convscope": 900.0, "plain PyTorch": 300.0, "limit": 1000.0, "evaluate": 5000.0}
    monkeypatch.setitem(bench.__globals__, "alternate", fake(found))
    monkeypatch.setitem(bench.__globals__, "plan_for", lambda *_, **__: make_plan("cpu"))


def test_the_report_compares_medians(numbers: None) -> None:
    found = bench(TINY, input_shape=(1, 4, 4), batch_size=4, device="cpu")
    assert found.times_plain == 3.0
    assert found.share_of_limit == 0.9
    text = found.text()
    assert "Training reaches 0.90 of the measured limit and is 3.00 times as fast as plain PyTorch" in text
    assert "measured limit of a step" in text
    assert found.planned.plan.reason in text


def test_the_documents_fields(numbers: None) -> None:
    document = json.loads(json.dumps(bench(TINY, input_shape=(1, 4, 4), device="cpu").to_json()))
    assert document.keys() == {
        "machine", "net", "input_shape", "batch_size", "plan", "training", "limit", "share_of_limit", "times_plain",
        "evaluation",
    }  # fmt: skip
    assert document["training"][-1]["what"] == "plain PyTorch, float32"
    assert document["training"][0]["images_per_s"] == 900.0
    assert document["batch_size"] == 128


def test_float32_stands_for_itself_only_beside_another_precision(
    numbers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(
        net: Net, shape: object, size: int, device: str, precision: str = "auto", **_: object
    ) -> object:
        return replace(make_plan("cpu"), precision="bfloat16" if precision == "auto" else precision)

    monkeypatch.setitem(bench.__globals__, "plan_for", planned)
    found = bench(TINY, input_shape=(1, 4, 4))
    assert list(found.training) == ["convscope, bfloat16", "convscope, float32", "plain PyTorch, float32"]


def test_trials_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope.engine.plan import Trial

    trials = (Trial("float32", True, 1234.5), Trial("bfloat16", False, 99.0))
    plan = replace(make_plan("cpu"), trials=trials)
    monkeypatch.setitem(bench.__globals__, "plan_for", lambda *_, **__: plan)
    text = machine_plan(TINY, input_shape=(1, 4, 4)).text()
    assert "float32   compiled              1,234" in text
    assert "bfloat16  as torch has them        99" in text


@pytest.mark.slow
def test_a_plan_without_measuring_anything_else() -> None:
    found = machine_plan(TINY, input_shape=(1, 4, 4), device="cpu")
    assert found.plan.device == "cpu"
    assert found.to_json().keys() == {"machine", "net", "input_shape", "batch_size", "plan"}


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"net": "lectur"}, NetTextError, "unknown net 'lectur'"),
        ({"net": TINY}, ShapeError, "a net without an input shape"),
        ({"net": "conv(4, 3), relu", "input_shape": (1, 4, 4)}, ShapeError, "the net ends in maps"),
        (
            {"batch_size": 0},
            RecipeError,
            "batch size 0. Expected a whole number of at least 1. Try --batch-size 128.",
        ),
        (
            {"batch_size": 10**6},
            RecipeError,
            "batch size 1000000. Expected a whole number of at least 1 and at most",
        ),
        ({"seconds": 2.0}, RecipeError, "seconds 2. Expected a number from 10 to 3600. Try --seconds 45."),
        ({"seconds": float("nan")}, RecipeError, "seconds nan"),
        ({"device": "tpu"}, RunError, "device 'tpu'"),
    ],
)
def test_refusals(arguments: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as refused:
        bench(**arguments)  # type: ignore[arg-type]
    assert text in str(refused.value)


@pytest.mark.slow
def test_a_tiny_real_run() -> None:
    said: list[str] = []
    found = convscope.bench(
        TINY, input_shape=(1, 8, 8), batch_size=8, device="cpu", seconds=10, progress=said.append
    )
    assert isinstance(found, Bench)
    assert found.ours.median > 0
    assert found.share_of_limit > 0
    assert len(said) == 2
