"""predict: files in order, each as the model wants it, a bad one never stopping the others."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convscope import Net
from convscope.data import load_data
from convscope.data.picture_kernels import PictureKernels
from convscope.errors import ConvscopeError, ModelFileError
from convscope.evaluation import evaluate
from convscope.model_file import Model
from convscope.prediction import Failure, Prediction, predict
from convscope.prediction.outcomes import PARTS_AHEAD, _in_order, _parts


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 150 test digits as PNG files, named by their number: more than one batch."""
    test = load_data("mnist-10k").test
    assert test is not None
    folder = tmp_path_factory.mktemp("scans")
    for k in range(150):
        Image.fromarray(test.images[k, 0]).save(folder / f"{k:03}.png")
    return folder


def test_files_get_what_evaluate_gives_their_images(digit_model: Model, scans: Path) -> None:
    test = load_data("mnist-10k").test
    assert test is not None
    outcomes = list(predict(digit_model, scans))
    assert [Path(outcome.path).name for outcome in outcomes] == [f"{k:03}.png" for k in range(150)]
    called = [outcome.label for outcome in outcomes if isinstance(outcome, Prediction)]
    mistakes = {mistake.index: mistake.predicted for mistake in evaluate(digit_model, split="test").worst}
    assert all(called[index] == label for index, label in mistakes.items() if index < 150)
    assert (
        np.mean([label == str(truth) for label, truth in zip(called, test.labels[:150], strict=True)]) > 0.7
    )


def test_top_is_sorted_and_probabilities_are_fractions(digit_model: Model, scans: Path) -> None:
    (outcome,) = predict(digit_model, [scans / "000.png"], top=99)
    assert isinstance(outcome, Prediction)
    probabilities = [probability for _, probability in outcome.top]
    assert len(outcome.top) == 10
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert outcome.top[0] == (outcome.label, outcome.probability)
    assert outcome.to_json()["top"][0] == [outcome.label, outcome.probability]


def test_many_files_get_what_each_alone_gets(
    digit_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many, what is worth building for many reads them; nobody can tell."""
    colourful = replace(digit_model.preprocessing, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    net = Net.parse("Net(conv(4, 3), relu, globalpool, flatten, dense(classes))").bind(10)
    model = Model(net, net.build((3, 28, 28)), (3, 28, 28), digit_model.class_names, colourful, {})
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.jpg")
    monkeypatch.setattr("convscope.prediction.outcomes.MANY", 3)
    made: list[PictureKernels] = []
    monkeypatch.setattr(
        "convscope.prediction.outcomes.PictureKernels", lambda: made.append(built()) or made[0]
    )
    together = list(predict(model, tmp_path))
    assert len(made) == 1
    alone = [next(iter(predict(model, [outcome.path]))) for outcome in together]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        assert (one.path, one.label) == (other.path, other.label)
        assert one.probability == pytest.approx(other.probability, abs=1e-6)


def built() -> PictureKernels:
    kernels = PictureKernels()
    kernels.wait()
    return kernels


def test_bad_files_are_reported_and_the_others_go_on(digit_model: Model, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [tmp_path / "missing.png", tmp_path / "empty.png", tmp_path / "text.jpg", scans / "007.png"]
    missing, empty, text, good = predict(digit_model, paths)
    assert missing == Failure(str(paths[0]), "the file does not exist")
    assert empty == Failure(str(paths[1]), "the file is empty")
    assert isinstance(text, Failure)
    assert "not a picture" in text.error
    assert isinstance(good, Prediction)


def test_inverted_scan_is_the_same_digit(digit_model: Model, scans: Path, tmp_path: Path) -> None:
    picture = Image.open(scans / "003.png")
    Image.eval(picture, lambda value: 255 - value).save(tmp_path / "page.png")
    (straight,) = predict(digit_model, scans / "003.png")
    (inverted,) = predict(digit_model, tmp_path / "page.png", invert=True)
    assert isinstance(straight, Prediction)
    assert isinstance(inverted, Prediction)
    assert inverted.top == straight.top


def test_hint_when_most_pictures_look_inverted(digit_model: Model, scans: Path, tmp_path: Path) -> None:
    Image.eval(Image.open(scans / "003.png"), lambda value: 255 - value).save(tmp_path / "page.png")
    said: list[str] = []
    list(predict(digit_model, [tmp_path], notice=said.append))
    assert said == [
        "1 of 1 pictures look like dark ink on light paper, and this model has learned light digits on a dark ground."
        " Try again with --invert."
    ]
    said.clear()
    list(predict(digit_model, [tmp_path], notice=said.append, invert=True))
    list(predict(digit_model, [scans], notice=said.append))
    assert said == []


def test_nothing_is_read_before_it_is_asked_for(digit_model: Model, scans: Path) -> None:
    outcomes = predict(digit_model, [scans])
    assert isinstance(next(iter(outcomes)), Prediction)


def test_stopping_early_leaves_threads_and_warnings_as_they_were(digit_model: Model, scans: Path) -> None:
    filters, threads = list(warnings.filters), torch.get_num_threads()
    outcomes = predict(digit_model, [scans])
    threads_after_the_plan = torch.get_num_threads()
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert list(warnings.filters) == filters
    assert torch.get_num_threads() == threads_after_the_plan
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scoring")]
    torch.set_num_threads(threads)


def test_few_files_are_under_way_at_a_time(digit_model: Model, scans: Path) -> None:
    """However long the list: what is read ahead is bounded, so memory stays the same."""
    asked: list[int] = []

    def endless() -> Iterator[Path]:
        for k in itertools.count():
            asked.append(k)
            yield scans / f"{k % 150:03}.png"

    parts = _in_order(_Inline(), lambda part: part, _parts(endless(), 4))  # type: ignore[arg-type, return-value]
    first = [next(parts) for _ in range(10)]
    assert [path.name for part in first for path in part] == [f"{k:03}.png" for k in range(40)]  # type: ignore[attr-defined]
    assert len(asked) <= 40 + 4 * (PARTS_AHEAD + 1)


def test_the_first_files_are_taken_a_few_at_a_time() -> None:
    files = iter([Path(str(k)) for k in range(400)])
    assert [len(part) for part in _parts(files, 64)] == [16] * 16 + [64, 64, 16]


class _Inline:
    """A pool that works at once."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments))
        return future


def test_a_network_is_not_moved_or_changed(digit_model: Model, scans: Path) -> None:
    before = {name: tensor.clone() for name, tensor in digit_model.module.state_dict().items()}
    list(predict(digit_model, scans))
    assert all(torch.equal(tensor, before[name]) for name, tensor in digit_model.module.state_dict().items())


def test_arguments_that_cannot_be(digit_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConvscopeError, match=r"top 0\. Expected a whole number of at least 1"):
        predict(digit_model, [], top=0)
    with pytest.raises(ModelFileError, match="there is no model"):
        predict(tmp_path / "nothing", [])


def test_unusual_files(digit_model: Model, shared_data: Path) -> None:
    folder = shared_data / "bad_inputs"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcomes = {Path(outcome.path).name: outcome for outcome in predict(digit_model, [folder])}
    broken = {name for name, outcome in outcomes.items() if isinstance(outcome, Failure)}
    assert broken == {
        "bad_crc.png", "bomb_144Mpx_1bit.png", "header_only.jpg", "random_bytes.jpg", "text_renamed.jpg",
        "truncated.png", "truncated_half.jpg", "zero_bytes.jpg", "zero_bytes.png",
    }  # fmt: skip
    assert {
        "no_extension",
        "UPPERCASE.JPG",
        "name with spaces and ünïcode.jpg",
        "rgb16.png",
    } <= outcomes.keys()
    assert not {"Thumbs.db", ".hidden.jpg", "README.md"} & outcomes.keys()
