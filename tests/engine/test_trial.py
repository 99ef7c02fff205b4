"""The trial chooses by what it measured, remembers it for the machine, and never costs a run."""

from __future__ import annotations

import json

import pytest

from convscope.engine import Plan, make_plan, plan_for, trial
from convscope.engine.plan import Trial
from convscope.errors import RunError
from convscope.net import Net

NET = Net.parse("conv(32, 3), relu, maxpool(2), flatten, dense(10)")
SHAPE = (1, 12, 12)


@pytest.fixture(autouse=True)
def own_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "convscope" / "plans"


@pytest.fixture
def measured(monkeypatch):
    """What the trials find, and how often they were made."""
    found = {"trials": (Trial("float32", True, 100.0), Trial("bfloat16", True, 300.0)), "times": 0}

    def fake(*_):
        found["times"] += 1
        return found["trials"]

    monkeypatch.setattr(trial, "_measured", fake)
    return found


def test_a_real_trial_measures_both_precisions():
    plan = plan_for(NET, SHAPE, 16, "cpu", threads=1)
    assert {each.precision for each in plan.trials} == {"float32", "bfloat16"}
    assert all(each.images_per_s > 0 for each in plan.trials)
    assert plan.precision in ("float32", "bfloat16")
    assert "a trial made" in plan.reason
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_clearly_faster_precision_is_taken(measured):
    assert plan_for(NET, SHAPE, 16, "cpu").precision == "bfloat16"
    measured["trials"] = (Trial("float32", True, 100.0), Trial("bfloat16", True, 105.0))
    plan = plan_for(NET, SHAPE, 16, "cpu", fresh=True)
    assert (plan.precision, plan.compiled) == ("float32", True)
    assert plan.reason.startswith("float32 on ")
    assert plan.reason.endswith("a trial made 100 images/s in float32 compiled, 105 in bfloat16 compiled")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_asked_for_is_kept(measured, precision):
    plan = plan_for(NET, SHAPE, 16, "cpu", precision=precision)
    assert (plan.precision, plan.compiled) == (precision, True)


def test_a_trial_is_remembered_and_made_again_when_asked(measured, own_place):
    first = plan_for(NET, SHAPE, 16, "cpu")
    assert plan_for(NET, SHAPE, 16, "cpu") == first
    assert measured["times"] == 1
    plan_for(NET, SHAPE, 16, "cpu", fresh=True)
    assert measured["times"] == 2
    plan_for(NET, (1, 14, 14), 16, "cpu")  # another question
    assert measured["times"] == 3
    assert len(list(own_place.glob("*.json"))) == 2


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "[1]", "[" * 99_999, "\0", '[{"precision": "float32"}]', '[{"images_per_s": 0}]',
        '[{"precision": "float9", "compiled": true, "images_per_s": 9.0}]',
        '[{"precision": "float32", "compiled": 1, "images_per_s": 9.0}]',
        '[{"precision": "float32", "compiled": true, "images_per_s": Infinity}]',
        '[{"precision": "float32", "compiled": true, "images_per_s": 9.0, "convolution": "fft"}]',
    ],
)  # fmt: skip
def test_what_is_remembered_badly_is_measured_again(measured, own_place, text):
    plan_for(NET, SHAPE, 16, "cpu")
    (place,) = own_place.glob("*.json")
    place.write_text(text)
    assert plan_for(NET, SHAPE, 16, "cpu").trials == measured["trials"]
    assert measured["times"] == 2


def test_a_cache_that_cannot_be_written_is_no_error(measured, own_place):
    own_place.parent.mkdir(parents=True)
    own_place.write_text("a file where the folder should be")
    assert plan_for(NET, SHAPE, 16, "cpu").trials == measured["trials"]


def test_a_short_training_takes_the_plain_plan_without_a_trial(measured):
    assert plan_for(NET, SHAPE, 16, "cpu", images=1000) == make_plan("cpu")
    assert measured["times"] == 0


def test_unknown_precision():
    with pytest.raises(RunError, match=r"precision 'half'. Expected one of auto, float32, bfloat16"):
        plan_for(NET, SHAPE, 16, "cpu", precision="half")


def test_a_way_that_cannot_be_recorded_is_not_tried(monkeypatch):
    def refuses(form, images, labels):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(trial, "_step_s", refuses)
    recorded = type("Form", (), {"arithmetic": type("A", (), {"recorded": True})})
    assert trial._runs(recorded, None, None) is False
    recorded.arithmetic.recorded = False
    with pytest.raises(RuntimeError, match="capturing"):
        trial._runs(recorded, None, None)
