"""evaluate: the right images, the right labels, the numbers of an independent computation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convscope.data import ImageData, Split, from_arrays, load_data
from convscope.errors import DataError
from convscope.evaluation import evaluate
from convscope.model_file import Model


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("mnist-10k")


def test_numbers_equal_an_independent_computation(digit_model: Model, digits: ImageData) -> None:
    assert digits.test is not None
    weight, bias = (parameter.detach().double().numpy() for parameter in digit_model.module.parameters())
    mean, std = digits.preprocessing.mean[0], digits.preprocessing.std[0]
    pixels = (digits.test.images.reshape(len(digits.test), -1) / 255.0 - mean) / std
    scores = pixels @ weight.T + bias
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = digits.test.labels

    report = evaluate(digit_model, digits)

    assert (report.split, report.n) == ("test", 1000)
    assert report.correct == (scores.argmax(axis=1) == labels).sum()
    assert report.accuracy == report.correct / 1000 > 0.75
    log_likelihood = np.log(probabilities[np.arange(1000), labels].clip(1e-300))
    assert report.loss == pytest.approx(-log_likelihood.mean(), rel=1e-3)
    assert sum(map(sum, report.confusion)) == 1000
    assert sum(report.confusion[k][k] for k in range(10)) == report.correct


def test_without_data_it_is_what_the_model_was_trained_on(
    digit_model: Model, digit_file: Path, digits: ImageData
) -> None:
    report, same = evaluate(digit_file), evaluate(digit_model, digits)
    assert report.model == str(digit_file)
    assert replace(report, model="") == replace(same, model="")


def test_model_that_does_not_know_its_data(digit_model: Model) -> None:
    with pytest.raises(DataError, match="does not say where its data came from"):
        evaluate(replace(digit_model, card={}))
    with pytest.raises(DataError, match=r"only their name 'arrays'.*hand over ImageData"):
        evaluate(replace(digit_model, card={"data": {"name": "arrays"}}))


def test_classes_are_matched_by_name_not_by_number(digit_model: Model, digits: ImageData) -> None:
    """The same images with classes in another order get the same report."""
    assert digits.test is not None
    shuffled = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    names = tuple(digits.class_names[k] for k in shuffled)
    position = np.argsort(shuffled)
    renumbered = ImageData(
        name=digits.name,
        train=Split(digits.train.images, position[digits.train.labels]),
        validation=None,
        test=Split(digits.test.images, position[digits.test.labels]),
        class_names=names,
        origin=digits.origin,
        preprocessing=digits.preprocessing,
    )
    assert evaluate(digit_model, renumbered) == evaluate(digit_model, digits)


def test_data_with_some_of_the_classes_can_be_judged(digit_model: Model, digits: ImageData) -> None:
    assert digits.test is not None
    few = digits.test.take(np.flatnonzero(np.isin(digits.test.labels, [3, 7])))
    data = from_arrays(few.images, np.searchsorted([3, 7], few.labels), class_names=("3", "7"), name="few")
    report = evaluate(digit_model, data)
    assert report.n == len(few)
    assert [score.n for score in report.per_class].count(0) == 8
    assert report.per_class[3].recall == pytest.approx(evaluate(digit_model, digits).per_class[3].recall)
    assert report.per_class[0].recall is None
    assert report.notes == ("These data are not split: every image is judged.",)


def test_class_the_model_does_not_know_is_named(digit_model: Model) -> None:
    images = np.zeros((4, 1, 28, 28), np.uint8)
    data = from_arrays(images, [0, 1, 0, 1], class_names=("3", "eight"), name="mixed")
    with pytest.raises(DataError, match="mixed has class 'eight' that the model does not know"):
        evaluate(digit_model, data)


def test_images_of_another_size_are_prepared_as_the_model_wants_them(
    digit_model: Model, digits: ImageData
) -> None:
    assert digits.test is not None
    doubled = digits.test.images.repeat(2, axis=2).repeat(2, axis=3)  # (N, 1, 56, 56)
    data = from_arrays(doubled, digits.test.labels, class_names=digits.class_names)
    report = evaluate(digit_model, data)
    assert abs(report.accuracy - evaluate(digit_model, digits).accuracy) < 0.02


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tset", "split 'tset'. Expected test, validation or train. Did you mean 'test'?"),
        ("validation", "has no validation"),
    ],
)
def test_split_that_is_not_there(split: str, message: str, digit_model: Model, digits: ImageData) -> None:
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        evaluate(digit_model, digits, split=split)


def test_training_images_are_judged_only_when_asked_for(digit_model: Model, digits: ImageData) -> None:
    report = evaluate(digit_model, digits, split="train")
    assert (report.n, report.notes) == (9000, ("These are images the model has learned from.",))
    alone = replace(digits, test=None)
    own = replace(digit_model, card={"data": {"digest": alone.digest}})
    with pytest.raises(DataError, match="has only training images, and the model has learned from them"):
        evaluate(own, alone)


def test_model_stays_as_it_was(digit_model: Model, digits: ImageData) -> None:
    before = [parameter.clone() for parameter in digit_model.module.parameters()]
    evaluate(digit_model, digits)
    assert all(torch.equal(a, b) for a, b in zip(before, digit_model.module.parameters(), strict=True))
