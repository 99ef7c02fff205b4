"""convscope bench on the command line; what it measures is replaced, or only looked at."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from convscope.benchmark import bench
from convscope.engine import make_plan
from convscope.training.events import Note

TINY = ("--net", "flatten, dense(3)", "--input", "1,4,4")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan without a trial, which takes seconds."""
    monkeypatch.setitem(bench.__globals__, "plan_for", lambda *_, **__: make_plan("cpu"))


def test_plan_for_people(convscope: Any, unmeasured: None) -> None:
    outcome = convscope("bench", "--plan", *TINY, "--device", "cpu")
    assert outcome.status == 0
    for word in ("cpu", "instructions", "memory", "precision", "threads", "layout", "steps", "reason"):
        assert f"\n{word}" in f"\n{outcome.out}"


def test_plan_as_json(convscope: Any, unmeasured: None) -> None:
    document = convscope("bench", "--plan", *TINY, "--device", "cpu", "--json").document
    assert document["plan"]["device"] == "cpu"
    assert document["machine"]["cores"] >= 1
    assert document["input_shape"] == [1, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--net", "lectur"], ["unknown net 'lectur'", "Did you mean 'lecture'?"]),
        (["--net", "flatten, dense(3)"], ["a net without an input shape", "Add --input 1,28,28"]),
        (["--input", "28"], ["--input '28'", "Try --input 1,28,28"]),
        (["--batch-size", "0"], ["batch size 0", "Try --batch-size 128"]),
        (["--batch-size", "many"], ["many"]),
        (["--seconds", "1"], ["seconds 1. Expected a number from 10 to 3600"]),
        (["--device", "gpu"], ["device 'gpu'"]),
        (
            ["--data", "mnist"],
            ["--data mnist without --ablate or --spread", "Add one of them, or leave it out"],
        ),
        (["--ablate", "fast", "--plan"], ["--ablate with --plan", "Ask twice"]),
        (["--ablate", "fast", "--fresh"], ["--ablate with --fresh"]),
        (["--spread", "--plan"], ["--spread with --plan", "Ask twice"]),
        (["--spread", "--ablate", "fast"], ["--spread with --ablate"]),
        (["--spread", "--seeds", "1"], ["seeds 1", "Try --seeds 5: one seed has no spread"]),
        (["--recipe", "fast"], ["--recipe fast without --ablate or --spread"]),
        (["--seeds", "3"], ["--seeds 3 without --ablate or --spread"]),
    ],
)
def test_refusals(arguments: list[str], texts: list[str], convscope: Any) -> None:
    convscope("bench", *arguments).refused(*texts)
    convscope("bench", *arguments, "--json").refused(*texts)


class Ablation:
    """What `training.ablation.ablate` gives back, as far as the command cares."""

    def to_json(self) -> list[dict[str, Any]]:
        return [{"without": "nothing", "accuracy": 0.99}]

    def text(self) -> str:
        return "without nothing  0.99"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands to `ablate`, which does nothing here."""
    given: dict[str, Any] = {}

    def ablate(recipe: str, data: str | None, net: str, **options: Any) -> Ablation:
        given.update(options, recipe=recipe, data=data, net=net)
        options["listeners"][0](Note("one sentence"))
        return Ablation()

    fake = types.ModuleType("convscope.training.ablation")
    fake.ablate = ablate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return given


def test_ablate_hands_everything_on(convscope: Any, asked: dict[str, Any], tmp_path: Path) -> None:
    outcome = convscope(
        "bench", "--ablate", "fast", "--data", "mnist-10k", "--seeds", "2", "--steps", "5", "--data-dir", tmp_path,
        "--offline", "--device", "cpu",
    )  # fmt: skip
    assert outcome.out == "without nothing  0.99\n"
    assert outcome.err == "one sentence\n"
    del asked["listeners"]
    assert asked == {
        "recipe": "fast", "data": "mnist-10k", "net": None, "seeds": 2, "epochs": None, "steps": 5,
        "device": "cpu", "data_dir": tmp_path, "offline": True,
    }  # fmt: skip


def test_ablate_as_json(convscope: Any, asked: dict[str, Any]) -> None:
    assert convscope("bench", "--ablate", "fast", "--json").document == [
        {"without": "nothing", "accuracy": 0.99}
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["lectur"], "unknown recipe 'lectur'"), (["lecture"], "trick"), (["fast", "--seeds", "0"], "seeds 0")],
)
def test_ablate_refuses_what_it_cannot_do(arguments: list[str], text: str, convscope: Any) -> None:
    convscope("bench", "--ablate", *arguments).refused(text)
