"""Recipes: what cannot be is refused all at once, and JSON brings back an equal value."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope import nets
from convscope.data import sets
from convscope.errors import RecipeError
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
    StepDown,
    Whitening,
    recipes,
)
from convscope.training.course import Course


def test_the_lecture_is_the_notebook() -> None:
    lecture = recipes.get("lecture")
    assert lecture.optimizer == Adadelta(rate=1.0, rho=0.95, eps=1e-7, weight_decay=0.0)
    assert (lecture.batch_size, lecture.epochs, lecture.partial_batch) == (128, 5, True)
    assert (lecture.initialisation, lecture.scaling, lecture.validation) == (
        "glorot_uniform",
        "unscaled",
        "test",
    )
    assert (lecture.schedule, lecture.label_smoothing, lecture.averaging) == (Constant(), 0.0, None)
    course = Course.of(lecture, 60_000)
    assert (course.steps_per_epoch, course.steps, course.epochs) == (469, 2345, 5)


def test_fast_is_the_default_and_counts_steps() -> None:
    assert recipes.names()[0] == "fast"
    assert recipes.get("fast").steps
    assert recipes.get("fast").validation == "hold_out"


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'lectur'.*fast, lecture.*Did you mean 'lecture'"):
        recipes.get("lectur")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.get("fast").adjusted(epochs=0, batch_size=0, rate=-1)
    for part in ("3 settings", "epochs 0", "batch size 0", "rate -1", "above 0"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"label_smoothing": 1.0}, r"label smoothing 1.0. Expected a number of at least 0 and below 1"),
        ({"batch_size": 2.5}, "batch size 2.5"),
        ({"batch_size": True}, "batch size True"),
        ({"epochs": 3}, r"epochs 3 and steps 800. Expected exactly one of the two"),
        ({"steps": None}, "exactly one of the two"),
        ({"initialisation": "glorot"}, "Did you mean 'glorot_uniform'"),
        ({"scaling": "none"}, "scaling 'none'"),
        ({"hold_out": 1.5}, "hold_out 1.5"),
        ({"evaluations": 0}, "evaluations 0"),
        ({"views": "two"}, "views 'two'. Expected one of one, mirror, shift, mirror_shift"),
        ({"head_gain": 0}, "head_gain 0. Expected a finite number above 0"),
        ({"validation": "test", "early_stopping": EarlyStopping()}, "would select on the test split"),
    ],
)
def test_what_a_recipe_refuses(changes: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        dataclasses.replace(recipes.get("fast"), **changes)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Adadelta(rate=0), "rate 0. Expected a finite number above 0"),
        (lambda: SGD(rate=float("nan")), "rate nan"),
        (lambda: SGD(rate=float("inf")), "rate inf"),
        (lambda: SGD(momentum=0.0), "nesterov with momentum 0"),
        (lambda: Adam(beta1=1.0, eps=0), r"(?s)2 settings.*beta1 1.0.*eps 0"),
        (lambda: AdamW(weight_decay=-1), "weight_decay -1"),
        (lambda: RMSprop(rho="x"), "rho 'x'"),
        (lambda: Muon(iterations=0, momentum=1.0), r"(?s)2 settings.*momentum 1.0.*iterations 0"),
        (lambda: Muon(other_rate=0, other_momentum=1), r"(?s)other_rate 0.*other_momentum 1"),
        (lambda: Lookahead(decay=1.0), "decay 1.0"),
        (lambda: Midway(share=1.5), "share 1.5"),
        (lambda: Lookahead(every=0, power=-1), r"(?s)every 0.*power -1"),
        (lambda: StepDown(at=(0.7, 0.5)), "fractions that rise"),
        (lambda: StepDown(at=0.5), "a tuple of fractions"),
        (lambda: OneCycle(peak_at=0.0), "peak_at 0.0"),
        (lambda: OneCycle(down="circle"), "down 'circle'. Expected one of linear, cosine"),
        (lambda: Cosine(warmup=1.0), "warmup 1.0"),
        (lambda: Averaging(decay=1.0), "decay 1.0"),
        (lambda: Averaging(every=0), "every 0"),
        (lambda: EarlyStopping(patience=0), "patience 0"),
        (lambda: EarlyStopping(metric="f1"), "metric 'f1'"),
    ],
)
def test_what_the_parts_refuse(make: object, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        make()


def test_an_override_in_epochs_replaces_the_steps() -> None:
    adjusted = recipes.get("fast").adjusted(epochs=3, batch_size=50, rate=0.5)
    assert (adjusted.epochs, adjusted.steps, adjusted.batch_size, adjusted.optimizer.rate) == (
        3,
        None,
        50,
        0.5,
    )
    assert recipes.get("lecture").adjusted(steps=7).epochs is None
    with pytest.raises(RecipeError, match="exactly one"):
        recipes.get("fast").adjusted(epochs=1, steps=1)


rates = st.floats(1e-6, 10)
shares = st.floats(0.01, 0.99)
optimizers = st.one_of(
    st.builds(Adadelta, rate=rates, rho=shares),
    st.builds(SGD, rate=rates, momentum=shares),
    st.builds(Adam, rate=rates, beta1=shares),
    st.builds(AdamW, rate=rates),
    st.builds(RMSprop, rate=rates, momentum=shares),
    st.builds(Muon, rate=rates, momentum=shares, iterations=st.integers(1, 5), unit_filters=st.booleans()),
)
augmentations = st.builds(
    Augmentation,
    flip=st.sampled_from([None, "random", "alternating"]),
    crop_px=st.integers(0, 9),
    cutout_px=st.integers(0, 9),
)
schedules = st.one_of(
    st.just(Constant()),
    st.builds(StepDown, factor=shares),
    st.builds(Cosine, warmup=shares, final=shares),
    st.builds(
        OneCycle, start=shares, peak_at=shares, final=shares, down=st.sampled_from(["linear", "cosine"])
    ),
)


@given(
    st.builds(
        Recipe,
        name=st.text(max_size=5),
        optimizer=optimizers,
        schedule=schedules,
        steps=st.integers(1, 9999),
        averaging=st.none()
        | st.builds(Averaging, decay=shares)
        | st.builds(Lookahead, decay=shares)
        | st.builds(Midway, share=shares),
        early_stopping=st.none() | st.builds(EarlyStopping, patience=st.integers(1, 9)),
        augmentation=st.none() | augmentations,
        identity_filters=st.booleans(),
        whitening=st.none() | st.builds(Whitening, eps=rates),
        head_gain=rates,
        rate_factors=st.none() | st.builds(RateFactors, norms=rates, head=rates),
        views=st.sampled_from(["one", "mirror", "shift", "mirror_shift"]),
        net=st.none() | st.just("speed_cifar"),
        data=st.none() | st.just("cifar10"),
    )
)
def test_json_brings_back_an_equal_recipe(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_equal_settings_have_equal_text() -> None:
    assert json.dumps(SGD(rate=1).to_json()) == json.dumps(SGD(rate=1.0).to_json())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batchsize": 3}, r"unknown setting 'batchsize'.*Did you mean 'batch_size'"),
        ({"optimizer": {"kind": "sgdd"}}, r"optimizer kind 'sgdd'.*Did you mean 'sgd'"),
        ({"optimizer": None}, "optimizer None"),
        ({"schedule": 3}, "schedule 3"),
        ({"optimizer": {"kind": "sgd"}}, "setting 'rate' is missing"),
        ({"batch_size": "many"}, "batch size 'many'"),
        ({"augmentation": {"kind": "standard", "flip": None}}, "setting 'crop_px' is missing"),
        ({"whitening": {"kind": "pca"}}, "whitening kind 'pca'. Expected one of patches"),
        ({"averaging": {"kind": "swa"}}, "averaging kind 'swa'. Expected one of ema, lookahead"),
    ],
)
def test_reading_a_recipe_is_strict(change: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Recipe.from_json({**recipes.get("fast").to_json(), **change})


def test_a_recipe_from_before_there_were_more_settings() -> None:
    """Fields that came later have their default where they are missing, and are not written at it."""
    document = recipes.get("lecture").to_json()
    assert not {"augmentation", "whitening", "views", "net", "head_gain"} & document.keys()
    assert Recipe.from_json(document) == recipes.get("lecture")
    changed = dataclasses.replace(recipes.get("lecture"), views="mirror")
    assert changed.to_json().keys() - document.keys() == {"views"}


@pytest.mark.parametrize("name", recipes.names())
def test_every_ready_recipe_comes_back_and_names_a_net_and_data_that_there_are(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.net is None or recipe.net in nets.names()
    assert recipe.data is None or recipe.data in sets.BY_NAME


@given(n=st.integers(1, 500), batch=st.integers(1, 500), epochs=st.integers(1, 5), partial=st.booleans())
def test_a_course_counts_as_counting_does(n: int, batch: int, epochs: int, partial: bool) -> None:
    recipe = Recipe("r", SGD(), batch_size=batch, epochs=epochs, partial_batch=partial)
    if batch > n:
        with pytest.raises(RecipeError, match=f"batch size {batch}.*the {n} images"):
            Course.of(recipe, n)
        return
    course = Course.of(recipe, n)
    sizes = [len(range(n)[first : first + batch]) for first in range(0, n, batch)]
    sizes = [size for size in sizes if partial or size == batch]
    if batch > 1 and sizes[-1] == 1:  # a single image joins the batch before
        sizes[-2:] = [batch + 1]
    assert course.steps_per_epoch == len(sizes)
    assert course.epochs == epochs
    batches = [range(n)[course.batch_at(position)] for position in range(course.steps_per_epoch)]
    assert [len(taken) for taken in batches] == sizes
    assert [image for taken in batches for image in taken] == list(range(sum(sizes)))
    done = 0
    for step in range(1, course.steps + 1):
        done += sizes[(step - 1) % len(sizes)]
        assert course.images_at(step) == done
        assert course.epoch_of(step) == (step - 1) // len(sizes) + 1
        assert course.ends_epoch(step) == (step % len(sizes) == 0)


def test_several_problems_are_a_line_each_with_what_to_do() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.get("fast").adjusted(epochs=0, batch_size=0)
    assert str(caught.value).splitlines() == [
        "2 settings are not possible:",
        "  epochs 0: expected a whole number of at least 1. Try --epochs 5.",
        "  batch size 0: expected a whole number of at least 1. Try --batch-size 128.",
    ]


def test_evaluations_are_spread_and_end_with_the_last() -> None:
    course = Course.of(Recipe("r", SGD(), batch_size=1, steps=95, evaluations=3), 10)
    ends = [step for step in range(1, 96) if course.ends_epoch(step)]
    assert [step for step in ends if course.evaluates(step)] == [40, 80, 95]
    assert course.epochs == 9.5
