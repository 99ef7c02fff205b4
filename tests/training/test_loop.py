"""The loop: it learns, tells the truth, and evaluates what it says it evaluates."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import ImageData
from convscope.engine import fast, make_plan, measure
from convscope.errors import DivergedError, RecipeError
from convscope.evaluation import evaluate
from convscope.prediction import predict
from convscope.training import (
    SGD,
    Averaging,
    EarlyStopping,
    Recipe,
    recipes,
    train,
)
from convscope.training.material import make_material
from convscope.training.optimizers import set_rate
from convscope.training.telling import Teller

FIELDS = ["run", "model", "net", "data", "recipe", "seed", "device", "precision", "epochs", "steps",
          "resumed_from_step", "train_s", "wall_s", "images_per_s", "validation_accuracy", "test_loss",
          "test_accuracy", "validation_balanced_accuracy", "test_balanced_accuracy"]  # fmt: skip


def test_a_run_learns_and_leaves_its_files(run_train: Any) -> None:
    run = run_train(steps=60, rate=0.03)
    assert run.result["test_accuracy"] > 0.9
    assert list(run.result) == FIELDS
    assert {path.name for path in run.folder.iterdir()} == {
        "model.safetensors", "history.jsonl", "config.json", "checkpoint", ".lock"}  # fmt: skip
    assert json.dumps(run.result)


def test_the_test_accuracy_is_what_measuring_the_saved_model_gives(run_train: Any, data: ImageData) -> None:
    run = run_train(steps=9)
    model = run.model()
    scoring = measure(
        fast(model.module), data.test.images, data.test.labels, model.preprocessing, make_plan("cpu")
    )
    assert run.result["test_accuracy"] == scoring.correct / scoring.n
    assert run.result["test_loss"] == scoring.loss
    assert model.card["test_accuracy"] == run.result["test_accuracy"]


@pytest.mark.parametrize("views", ["mirror", "shift", "mirror_shift"])
def test_a_recipe_s_views_are_averaged_wherever_the_model_judges(
    run_train: Any, data: ImageData, tmp_path: Path, fast_recipe: Recipe, views: str
) -> None:
    recipe = dataclasses.replace(fast_recipe, views=views)
    run = run_train(recipe=recipe, batch_size=None)
    model = run.model()
    assert model.preprocessing.views == views
    report = evaluate(run.folder, data, split="test")
    assert (report.accuracy, report.loss) == (run.result["test_accuracy"], run.result["test_loss"])

    images = torch.from_numpy(data.test.images)
    with torch.no_grad():
        scores = sum(
            share * model.module.eval()(model.preprocessing.scale(view))
            for share, view in model.preprocessing.seen(images)
        )
        alone = model.module(model.preprocessing.scale(images))
    found = measure(model.module, images, data.test.labels, model.preprocessing, make_plan("cpu")).scores
    torch.testing.assert_close(found, scores)
    assert (found - alone).abs().max() > 1e-3

    Image.fromarray(data.test.images[0, 0]).save(tmp_path / "one.png")
    [outcome] = predict(run.folder, tmp_path / "one.png")
    assert outcome.probability == pytest.approx(scores[0].softmax(0).max().item(), abs=1e-5)


def test_events_come_in_order_and_the_history_keeps_them(run_train: Any, stopper: Any) -> None:
    listener = stopper()
    run = run_train(epochs=3, listeners=[listener])
    kinds = [event.kind for event in listener.events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert [event.step for event in listener.of("epoch_end")] == [3, 6, 9]
    assert [event.epoch for event in listener.of("epoch_end")] == [1, 2, 3]
    started = listener.of("started")[0]
    assert (started.steps, started.steps_per_epoch, started.train_images, started.validation_images) == (
        9,
        3,
        63,
        30,
    )
    assert started.estimated_s > 0
    assert started.parameters == 75
    assert [line["event"] for line in run.history] == [
        kind for kind in kinds if kind in ("step", "epoch_end", "finished")
    ]
    assert all(json.dumps(event.to_json()) for event in listener.events)
    assert run.history[-1]["test_accuracy"] == run.result["test_accuracy"]


def test_epoch_numbers_are_means_over_the_epoch(run_train: Any, stopper: Any) -> None:
    listener = stopper()
    run_train(epochs=2, listeners=[listener])
    steps = [event for event in listener.of("step") if event.epoch == 2]
    end = listener.of("epoch_end")[1]
    assert end.loss == pytest.approx(sum(step.loss for step in steps) / len(steps))
    assert end.accuracy == pytest.approx(sum(step.accuracy for step in steps) / len(steps))


def test_the_partial_batch_is_used_by_the_lecture_and_not_by_fast(
    run_train: Any, stopper: Any, tmp_path: Path
) -> None:
    for name, per_epoch, images in [("lecture", 4, 63), ("fast", 3, 48)]:
        listener = stopper()
        run = run_train(recipe=name, epochs=1, out=tmp_path / name, listeners=[listener])
        assert run.result["steps"] == per_epoch
        assert run.result["images_per_s"] * run.result["train_s"] == pytest.approx(images)


def test_the_lecture_validates_on_the_test_split_and_says_so(run_train: Any, stopper: Any) -> None:
    listener = stopper()
    run = run_train(recipe="lecture", epochs=2, listeners=[listener])
    assert listener.of("started")[0].validation_split == "test"
    assert any("The test split also serves as validation" in note.text for note in listener.of("note"))
    assert run.result["validation_accuracy"] == run.result["test_accuracy"]
    assert run.model().preprocessing.mean == (0.0,)


def test_fast_holds_out_a_part_of_the_training_split(data: ImageData) -> None:
    bare = dataclasses.replace(data, validation=None)
    material = make_material(bare, recipes.get("fast"), 0)
    assert material.validation_split == "validation"
    assert len(material.data.train) + len(material.validation) == len(data.train)
    assert make_material(bare, dataclasses.replace(recipes.get("fast"), hold_out=0.0), 0).validation is None


def test_without_a_test_split_test_fields_are_none(run_train: Any, data: ImageData) -> None:
    run = run_train(data=dataclasses.replace(data, test=None, validation=None), steps=3,
                    recipe=dataclasses.replace(recipes.get("fast"), batch_size=16, hold_out=0.0))  # fmt: skip
    result = run.result
    assert result["validation_accuracy"] is result["test_loss"] is result["test_accuracy"] is None


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(run_train: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = run_train(steps=7, out=tmp_path / "one")
    torch.manual_seed(2)
    same = run_train(steps=7, out=tmp_path / "same")
    other = run_train(steps=7, seed=1, out=tmp_path / "other")
    files = [(run.folder / "model.safetensors").read_bytes() for run in (one, same, other)]
    assert files[0] == files[1] != files[2]


def test_training_does_not_touch_torch_s_generator(run_train: Any) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_train(steps=3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_estimate_does_not_alter_the_result(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run_train(steps=5, out=tmp_path / "one")
    monkeypatch.setattr("convscope.training.launch.estimated_s", lambda *_: 0.0)
    two = run_train(steps=5, out=tmp_path / "two")
    assert (one.folder / "model.safetensors").read_bytes() == (two.folder / "model.safetensors").read_bytes()


def test_early_stopping_ends_and_keeps_the_best_weights(
    run_train: Any, stopper: Any, fast_recipe: Recipe
) -> None:
    listener = stopper()
    recipe = dataclasses.replace(
        fast_recipe, optimizer=SGD(rate=2.0), epochs=40, steps=None, evaluations=None,
        early_stopping=EarlyStopping(patience=2), averaging=None)  # fmt: skip
    run = run_train(recipe=recipe, batch_size=None, listeners=[listener])
    losses = [event.validation_loss for event in listener.of("epoch_end")]
    assert listener.of("finished")[0].reason == "early stopping"
    assert run.result["steps"] < 40 * 3
    assert losses.index(min(losses)) == len(losses) - 3
    assert run.model().card["validation_loss"] == min(losses)


def test_early_stopping_needs_something_to_validate_on(
    run_train: Any, data: ImageData, fast_recipe: Recipe
) -> None:
    recipe = dataclasses.replace(fast_recipe, hold_out=0.0, early_stopping=EarlyStopping())
    with pytest.raises(RecipeError, match="early stopping without a validation split"):
        run_train(data=dataclasses.replace(data, validation=None), recipe=recipe, batch_size=None)


def test_only_some_epochs_are_evaluated_when_asked(run_train: Any, stopper: Any, fast_recipe: Recipe) -> None:
    listener = stopper()
    run_train(
        recipe=dataclasses.replace(fast_recipe, steps=20, evaluations=2),
        batch_size=None,
        listeners=[listener],
    )
    ends = listener.of("epoch_end")
    assert [end.step for end in ends if end.validation_accuracy is not None] == [12, 20]
    assert [end.step for end in ends] == [3, 6, 9, 12, 15, 18, 20]


def test_training_only_outputs_are_part_of_the_loss(run_train: Any, stopper: Any) -> None:
    listener = stopper()
    text = "conv(3, 3), aux(flatten, dense(classes), weight={}), relu, flatten, dense(classes)"
    losses = []
    for weight in (0.0, 1.0):
        listener = stopper()
        run_train(net=text.format(weight), steps=1, listeners=[listener], overwrite=True)
        losses.append(listener.of("step")[0].loss)
    assert losses[1] > losses[0] + 0.5


@pytest.mark.parametrize("recipe", ["fast", "lecture"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    run_train: Any, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convscope.training.feeding import Feed

    calls = [0]

    class Poisoned(Feed):
        def __call__(self, turns: Any) -> Any:
            calls[0] += 1
            images, target = super().__call__(turns)
            return images * (float("nan") if calls[0] > 5 else 1.0), target

    monkeypatch.setattr("convscope.training.loop.Feed", Poisoned)
    text = r"the loss stopped being a finite number at step 6; the last good checkpoint in .*run is kept.*smaller"
    with pytest.raises(DivergedError, match=text):
        run_train(recipe=recipe, epochs=9, batch_size=16 if recipe == "lecture" else 30)
    monkeypatch.setattr("convscope.training.loop.Feed", Feed)
    per_epoch = 4 if recipe == "lecture" else 2
    resumed = run_train(net=None, batch_size=None, resume=True)
    assert resumed.result["resumed_from_step"] == 4
    assert resumed.result["steps"] == 9 * per_epoch
    assert all(tensor.isfinite().all() for tensor in resumed.model().module.state_dict().values())


def test_weights_that_are_no_numbers_are_never_saved(run_train: Any, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="no checkpoint was made yet"):
        run_train(recipe=Recipe("wild", SGD(rate=1e30), batch_size=16, epochs=1), batch_size=None)
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_wild_step_right_before_the_checkpoint_is_noticed(
    run_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last batch is still fine when its step ruins the weights."""
    from convscope.training import loop

    monkeypatch.setattr(loop, "set_rate", lambda optimizer, *_: set_rate(optimizer, float("inf")))
    with pytest.raises(DivergedError, match="a weight stopped being a finite number"):
        run_train(recipe=Recipe("wild", SGD(), batch_size=63, epochs=1), batch_size=None)


def test_averaged_weights_become_the_model(run_train: Any, tmp_path: Path, fast_recipe: Recipe) -> None:
    models = []
    for name, averaging in (
        ("with", Averaging(decay=0.9)),
        ("without", None),
        ("last", Averaging(decay=0.0)),
    ):
        recipe = dataclasses.replace(fast_recipe, averaging=averaging)
        models.append(
            run_train(recipe=recipe, batch_size=None, out=tmp_path / name).model().module.state_dict()
        )
    averaged, plain, last = models
    assert not torch.equal(averaged["conv1.weight"], plain["conv1.weight"])
    assert all(torch.equal(last[name], plain[name]) for name in plain)
    assert int(averaged["batchnorm1.num_batches_tracked"]) == 12


def test_train_takes_names_for_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = train("mnist-10k", "linear", steps=2, offline=True)
    assert str(run.folder) == "runs/mnist-10k-linear-1"
    assert train("mnist-10k", "linear", steps=2, offline=True).folder.name == "mnist-10k-linear-2"
    resumed = train(out=run.folder, resume=True)
    assert resumed.result == run.result


def test_a_sentence_is_told_once() -> None:
    told: list[Any] = []
    teller = Teller([told.append])
    for text in ("one", "two", "one"):
        teller.note(text)
    assert [event.text for event in told] == teller.notes == ["one", "two"]


VECTOR_NORM = "flatten, dense(4), batchnorm, relu, dense(classes)"


@pytest.mark.parametrize("recipe", ["fast", "lecture"])
def test_a_norm_never_sees_a_batch_of_one(
    run_train: Any, data: ImageData, tmp_path: Path, recipe: str
) -> None:
    """63 images in batches of 31 leave one over; so would a ready recipe made smaller for seven images."""
    run_train(net=VECTOR_NORM, recipe=recipe, batch_size=31, epochs=2)
    few = dataclasses.replace(data, train=data.train.take(np.arange(7)))
    assert run_train(data=few, net=VECTOR_NORM, recipe=recipe, batch_size=None, epochs=1, out=tmp_path / "few"
                     ).result["steps"] == 3  # fmt: skip


def test_steps_of_one_image_are_refused_where_a_norm_needs_two(run_train: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"1 image with batchnorm1.*at least 2 images.*--batch-size 32"):
        run_train(net=VECTOR_NORM, batch_size=1, epochs=1)
    assert not (tmp_path / "run").exists()
    assert run_train(batch_size=1, steps=2).result["steps"] == 2  # maps give a norm many numbers an image


def test_memory_that_is_kept_for_the_next_step_is_given_back_at_the_end(
    run_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr("convscope.training.launch.give_back_memory", lambda: given_back.append(True))
    run_train()
    assert given_back == [True]
