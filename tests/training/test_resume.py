"""A resumed run gives the same bits as one that was never interrupted: weights, model file, history."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from convscope.data import ImageData, from_arrays
from convscope.errors import Interrupted, RunError
from convscope.training import (
    SGD,
    Adadelta,
    Adam,
    AdamW,
    Augmentation,
    Averaging,
    Constant,
    Cosine,
    EarlyStopping,
    Lookahead,
    Midway,
    Muon,
    OneCycle,
    RateFactors,
    Recipe,
    RMSprop,
    Run,
    StepDown,
    Whitening,
)
from convscope.training.events import without_clocks

from .conftest import NET

OPTIMIZERS = [
    Adadelta(),
    SGD(weight_decay=0.01),
    Adam(),
    AdamW(),
    RMSprop(momentum=0.5),
    Muon(weight_decay=0.01),
]
SCHEDULES = [Constant(), StepDown(at=(0.5,)), Cosine(warmup=0.2), OneCycle()]
EXTRAS = [
    {},
    {"averaging": Averaging(decay=0.9, every=2)},
    {"averaging": Averaging(decay=0.8), "early_stopping": EarlyStopping(patience=1, metric="accuracy")},
    {"averaging": Midway(0.3)},
]
TRICKS = {
    "averaging": Lookahead(every=2),
    "augmentation": Augmentation("alternating", crop_px=1, cutout_px=2),
    "identity_filters": True,
    "whitening": Whitening(images=30),
    "head_gain": 0.5,
    "rate_factors": RateFactors(norms=8.0, head=0.5),
    "views": "mirror_shift",
}


WHITENED = (
    "conv(8, 2), conv(8, 3, padding=1), batchnorm(scale=False), gelu, flatten, dropout(0.25), dense(classes)"
)


def same_bits(one: Path, other: Path) -> None:
    """Model file byte for byte, and history but for the clocks."""
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    histories = [[without_clocks(json.loads(line)) for line in (run / "history.jsonl").read_text().splitlines()]
                 for run in (one, other)]  # fmt: skip
    assert histories[0] == histories[1]
    assert (one / "config.json").read_bytes() == (other / "config.json").read_bytes()


def interrupted_and_resumed(run_train: Any, stopper: Any, stops: tuple[int, ...], **given: Any) -> Run:
    """Press Ctrl-C after each of the steps, then let it finish."""
    for number, at in enumerate(stops):
        with pytest.raises(Interrupted, match="Go on with: convscope train --resume"):
            run_train(listeners=[stopper(at)], resume=number > 0, **given)
    return run_train(resume=True, **given)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "extra"),
    [*product(OPTIMIZERS, SCHEDULES, EXTRAS), *product(OPTIMIZERS, SCHEDULES[-1:], [TRICKS])],
    ids=lambda part: getattr(part, "kind", None) or "+".join(part) or "plain",
)
def test_every_combination_resumes_to_the_same_bits(
    run_train: Any, stopper: Any, tmp_path: Path, optimizer: Any, schedule: Any, extra: dict[str, Any]
) -> None:
    recipe = Recipe("mine", optimizer, schedule, batch_size=16, epochs=3, **extra)
    given = {"recipe": recipe, "batch_size": None, "net": WHITENED if "whitening" in extra else NET}
    straight = run_train(out=tmp_path / "straight", **given)
    stops = tuple(at for at in (1, 4, 6) if at < straight.result["steps"])
    broken = interrupted_and_resumed(run_train, stopper, stops, **given)
    same_bits(straight.folder, broken.folder)
    assert broken.result["resumed_from_step"] == stops[-1]
    clocks = ("run", "model", "resumed_from_step", "train_s", "wall_s", "images_per_s")
    for name in straight.result:
        assert name in clocks or straight.result[name] == broken.result[name]


def test_every_step_is_a_good_place_to_stop(
    run_train: Any, stopper: Any, tmp_path: Path, fast_recipe: Recipe
) -> None:
    given = {"recipe": fast_recipe, "batch_size": None}
    straight = run_train(out=tmp_path / "straight", **given)
    broken = interrupted_and_resumed(run_train, stopper, tuple(range(1, 13)), **given)
    same_bits(straight.folder, broken.folder)


def test_the_clock_of_saving_and_watching_leaves_no_trace(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_train(epochs=3, out=tmp_path / "straight")
    monkeypatch.setattr("convscope.training.loop.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("convscope.training.meter.LIVE_EVERY_S", 0.0)
    same_bits(straight.folder, run_train(epochs=3).folder)


def test_live_steps_are_told_and_not_kept(
    run_train: Any, stopper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.training.meter.LIVE_EVERY_S", 0.0)
    monkeypatch.setattr("convscope.training.loop.LOGS_PER_RUN", 3)
    listener = stopper()
    run = run_train(steps=12, listeners=[listener])
    assert len(listener.of("step")) == 12
    kept = [line["step"] for line in run.history if line["event"] == "step"]
    assert kept == [event.step for event in listener.of("step") if not event.live]
    assert 3 <= len(kept) < 12


def test_a_finished_run_is_left_alone(run_train: Any, stopper: Any) -> None:
    run = run_train(steps=6)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.folder.iterdir()}
    listener = stopper()
    again = run_train(net=None, data=None, batch_size=None, resume=True, listeners=[listener])
    assert again.result == run.result
    assert list(again.result) == list(run.result)
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.folder.iterdir()
    }
    assert "is finished (6 steps); nothing was changed" in listener.of("note")[0].text


def test_without_a_checkpoint_it_starts_over_with_the_same_configuration(
    run_train: Any, stopper: Any, tmp_path: Path
) -> None:
    straight = run_train(steps=9, out=tmp_path / "straight")
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    (tmp_path / "run" / "checkpoint").unlink()
    listener = stopper()
    broken = run_train(net=None, batch_size=None, resume=True, listeners=[listener])
    assert any("has no checkpoint; it starts over" in note.text for note in listener.of("note"))
    assert broken.result["resumed_from_step"] is None
    same_bits(straight.folder, broken.folder)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"net": "flatten, dense(classes)"},
            r"(?s)net custom \(Net\(flatten, dense\(3\)\)\), and the run in .*conv\(3, 3",
        ),
        ({"recipe": "lecture"}, "recipe lecture, and the run in .* was started with recipe fast"),
        ({"seed": 4}, "seed 4, and the run in .* was started with seed 0"),
        ({"rate": 0.5}, "rate 0.5, and the run in .* was started with rate 0.0"),
        ({"steps": 10}, "steps 10, and the run in .* was started with steps 9"),
        ({"epochs": 10}, "epochs 10, and the run in .* was started with epochs None"),
        ({"batch_size": 8}, "batch size 8, and the run in .* was started with batch size 16"),
    ],
)
def test_options_that_disagree_are_named(
    run_train: Any, stopper: Any, given: dict[str, Any], text: str
) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    with pytest.raises(RunError, match=text):
        run_train(resume=True, **given)


def test_a_recipe_in_full_must_agree_in_full(run_train: Any, stopper: Any, fast_recipe: Recipe) -> None:
    with pytest.raises(Interrupted):
        run_train(recipe=fast_recipe, batch_size=None, listeners=[stopper(5)])
    other = dataclasses.replace(fast_recipe, label_smoothing=0.2)
    with pytest.raises(RunError, match=r"recipe label_smoothing 0.2, .* recipe label_smoothing 0.0"):
        run_train(recipe=other, batch_size=None, resume=True)
    younger = dataclasses.replace(fast_recipe, identity_filters=True)
    with pytest.raises(RunError, match=r"recipe identity_filters True, .* recipe identity_filters None"):
        run_train(recipe=younger, batch_size=None, resume=True)


def test_other_data_are_refused_by_their_digest(run_train: Any, stopper: Any, data: ImageData) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    images = data.train.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = from_arrays(images, data.train.labels, name="stripes")
    with pytest.raises(
        RunError, match=rf"data stripes with digest {changed.digest[:16]}.*{data.digest[:16]}"
    ):
        run_train(data=changed, resume=True)
    with pytest.raises(RunError, match="came from Python.*handed over again"):
        run_train(data=None, resume=True)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_checkpoint_says_what_to_do(
    run_train: Any, stopper: Any, tmp_path: Path, damage: str
) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    file = tmp_path / "run" / "checkpoint"
    content = file.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    file.write_bytes({"truncated": content[:-9], "flipped": flipped, "empty": b"",
                      "foreign": (tmp_path / "run" / "model.safetensors").read_bytes()}[damage])  # fmt: skip
    with pytest.raises(
        RunError, match=r"checkpoint .*checkpoint is damaged: .*Delete it to start over.*--overwrite"
    ):
        run_train(resume=True)
    assert file.exists()


def test_a_changed_configuration_is_noticed(run_train: Any, stopper: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    file = tmp_path / "run" / "config.json"
    file.write_text(file.read_text().replace('"steps": 9', '"steps": 90'))
    with pytest.raises(RunError, match=r"config.json was changed after .*checkpoint was written"):
        run_train(net=None, batch_size=None, resume=True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format_version": 9}, "config.json has format version 9.*pip install --upgrade"),
        ({"seed": "x"}, "config.json cannot be used"),
        ({"net": {}}, "config.json cannot be used"),
        ({"recipe": {"name": "x"}}, "config.json cannot be used: .*setting 'optimizer'|optimizer None"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    run_train: Any, stopper: Any, tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match=text):
        run_train(net=None, batch_size=None, resume=True)


def test_a_configuration_from_before_there_were_more_settings_goes_on(
    run_train: Any, stopper: Any, tmp_path: Path, fast_recipe: Recipe
) -> None:
    """Its recipe has only the fields of the first files, and its checkpoint names the digest of just these."""
    given = {"recipe": fast_recipe, "batch_size": None}
    straight = run_train(out=tmp_path / "straight", **given)
    with pytest.raises(Interrupted):
        run_train(listeners=[stopper(5)], **given)
    fields = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert sorted(fields) == sorted(FIRST_FIELDS)
    same_bits(straight.folder, run_train(net=None, batch_size=None, resume=True).folder)


FIRST_FIELDS = [
    "name", "optimizer", "schedule", "batch_size", "epochs", "steps", "partial_batch", "initialisation", "loss",
    "map_constant", "label_smoothing", "averaging", "early_stopping", "scaling", "validation", "hold_out",
    "evaluations",
]  # fmt: skip


def test_other_versions_are_told(run_train: Any, stopper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    monkeypatch.setattr("convscope.training.going_on.versions", lambda: {"torch": "9.9"})
    listener = stopper()
    run_train(resume=True, listeners=[listener])
    assert any("The run goes on with torch 9.9 instead of" in note.text for note in listener.of("note"))


def test_a_short_history_is_noticed(run_train: Any, stopper: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_train(steps=9, listeners=[stopper(5)])
    (tmp_path / "run" / "history.jsonl").write_text("")
    with pytest.raises(
        RunError, match=r"history.jsonl has 0 lines. Expected the 6 lines that the checkpoint follows"
    ):
        run_train(resume=True)


SCRIPT = """
import sys, time
import numpy as np
from convscope.data import from_arrays
from convscope.engine import plan
from convscope.training import train
plan.available_cores = lambda: 1
noise = np.random.default_rng(0).integers(0, 120, (64, 1, 6, 6)); labels = np.arange(64) % 2
noise[np.arange(64), 0, labels * 3] += 120
data = from_arrays(noise.astype(np.uint8), labels, test=(noise[:8].astype(np.uint8), labels[:8]))
def slow(event):
    if event.kind == "step":
        print(event.step, flush=True)
        time.sleep(float(sys.argv[2]))
train(data, "conv(2, 3), relu, flatten, dropout(0.5), dense(classes)", epochs=8, batch_size=16, device="cpu",
      out=sys.argv[1], resume="resume" in sys.argv, listeners=[slow])
"""


def started(folder: Path, pause_s: float, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(pause_s), *more], text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.slow
def test_killed_interrupted_and_resumed_processes_end_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    process = started(broken, 0.02)
    wait_for_step(process, 7)
    process.kill()  # SIGKILL: nothing can be saved now
    process.communicate()
    assert (broken / "checkpoint").exists()

    for number, at in ((signal.SIGINT, 12), (signal.SIGTERM, 18)):
        process = started(broken, 0.05, "resume")
        wait_for_step(process, at)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert "convscope.errors.Interrupted: Stopped after step" in errors
        assert process.returncode != 0
        assert {"model.safetensors", "history.jsonl", "checkpoint"} <= {
            path.name for path in broken.iterdir()
        }

    for arguments in ([str(straight), "0"], [str(broken), "0", "resume"]):
        monkeypatch.setattr(sys, "argv", ["", *arguments])
        exec(SCRIPT, {})
    same_bits(straight, broken)
    assert not [path for path in broken.iterdir() if path.name.endswith(".new")]


@pytest.mark.slow
def test_two_processes_cannot_train_in_one_folder(tmp_path: Path, run_train: Any) -> None:
    process = started(tmp_path / "run", 0.2)
    try:
        wait_for_step(process, 1)
        with pytest.raises(RunError, match="another process is training in"):
            run_train(overwrite=True)
    finally:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert run_train(overwrite=True, steps=2).result["steps"] == 2
            return
        except RunError:
            time.sleep(0.05)
    raise AssertionError("the lock outlived its process")


def test_a_finished_run_without_its_model_gets_it_again(run_train: Any, tmp_path: Path) -> None:
    model = tmp_path / "run" / "model.safetensors"
    first, before = run_train(steps=5), model.read_bytes()
    model.unlink()
    again = run_train(net=None, batch_size=None, resume=True)
    assert model.read_bytes() == before
    assert again.result["test_accuracy"] == first.result["test_accuracy"]


def test_a_damaged_checkpoint_says_so_once(run_train: Any, tmp_path: Path) -> None:
    run_train(steps=5)
    (tmp_path / "run" / "checkpoint").write_bytes(b"junk and more junk")
    with pytest.raises(RunError, match=r"is damaged: .*Delete it to start over") as caught:
        run_train(net=None, batch_size=None, resume=True)
    assert str(caught.value).count("Expected") == 1


def test_a_configuration_with_many_faults_is_one_sentence(run_train: Any, tmp_path: Path) -> None:
    run_train(steps=5)
    file = tmp_path / "run" / "config.json"
    document = json.loads(file.read_text())
    del document["recipe"]["loss"], document["recipe"]["scaling"]
    file.write_text(json.dumps(document))
    with pytest.raises(
        RunError, match=r"possible: setting 'loss' is missing.*; setting 'scaling'.*\. Expected the"
    ):
        run_train(net=None, batch_size=None, resume=True)
