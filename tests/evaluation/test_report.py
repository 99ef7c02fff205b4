"""The numbers of a report, worked by hand and against scikit-learn's definitions, and its text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convscope.evaluation.report import (
    ClassScore,
    Mistake,
    Report,
    accuracy_with_interval,
    class_scores,
    confusion_matrix,
    worst_mistakes,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])
NAMES = ("cat", "dog", "owl", "yak")


def report(names: tuple[str, ...] = NAMES) -> Report:
    confusion = confusion_matrix(LABELS, PREDICTED, len(names))
    accuracy, interval = accuracy_with_interval(3, 6)
    return Report(
        model="runs/a",
        data="animals",
        origin="a folder",
        split="test",
        n=6,
        correct=3,
        accuracy=accuracy,
        accuracy_interval=interval,
        loss=0.5,
        class_names=names,
        per_class=class_scores(confusion, names),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        worst=(Mistake(5, "owl", "cat", 0.9),),
    )


def test_rows_of_the_confusion_matrix_are_the_true_class() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 4).tolist() == [
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_class_scores_by_hand() -> None:
    cat, dog, owl, yak = class_scores(confusion_matrix(LABELS, PREDICTED, 4), NAMES)
    assert cat == ClassScore("cat", 3, 2, recall=2 / 3, precision=0.5, f1=4 / 7)
    assert dog == ClassScore("dog", 2, 1, recall=0.5, precision=0.5, f1=0.5)
    assert owl == ClassScore("owl", 1, 0, recall=0.0, precision=None, f1=0.0)
    assert yak == ClassScore("yak", 0, 0, recall=None, precision=None, f1=None)


def test_worst_mistakes_are_the_surest_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]], np.float32)
    worst = worst_mistakes(probabilities, np.array([0, 0, 0, 1]), ("a", "b"))
    assert [(m.index, m.true, m.predicted) for m in worst] == [(2, "a", "b"), (1, "a", "b")]
    assert worst[0].probability == pytest.approx(0.8)


def test_json_has_the_contract_fields() -> None:
    document = json.loads(json.dumps(report().to_json()))
    assert {
        "n",
        "correct",
        "accuracy",
        "accuracy_interval",
        "loss",
        "per_class",
        "confusion",
    } <= document.keys()
    assert document["accuracy_interval"] == pytest.approx([0.1876, 0.8124], abs=1e-4)
    assert document["per_class"][3] == {
        "label": "yak", "n": 0, "correct": 0, "recall": None, "precision": None, "f1": None,
    }  # fmt: skip
    assert document["confusion"][0] == [2, 1, 0, 0]


def test_text_shows_totals_classes_matrix_and_mistakes() -> None:
    text = report().render()
    assert "accuracy  0.5000   3 of 6 right; 95 % interval 0.1876 to 0.8124" in text
    assert "cat          3        2  0.6667     0.5000  0.5714" in text
    assert "cat    2   1   ·   ·" in text
    assert "5  owl called cat, probability 0.900" in text
    assert max(map(len, text.splitlines())) <= 100


def test_ten_digit_matrix_fits_a_terminal() -> None:
    names = tuple("0123456789")
    matrix = report(names).render().split("confusion matrix")[1]
    assert max(map(len, matrix.splitlines())) <= 80


def test_many_classes_get_their_largest_confusions_instead_of_a_matrix() -> None:
    text = report(tuple(f"class{k}" for k in range(60))).render()
    assert "most frequent confusions (60 classes: the whole matrix is in --json)" in text
    assert "1  class0 called class1" in text
    assert "(the 50 classes with the lowest recall, of 60)" in text
