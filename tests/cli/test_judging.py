"""evaluate and predict on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convscope.data import load_data


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three digits as pictures, one broken picture."""
    test = load_data("mnist-10k").test
    assert test is not None
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    for k, name in enumerate(["a.png", "b.png", "more/c.png"]):
        Image.fromarray(test.images[k, 0]).save(folder / name)
    (folder / "a0.png").write_bytes(b"no picture")
    return folder


def test_evaluate_json_has_the_contract_fields(convscope: Any, digit_file: Path) -> None:
    document = convscope("evaluate", digit_file, "mnist-10k", "--split", "test", "--json").document
    fields = {"n", "correct", "accuracy", "accuracy_interval", "loss", "per_class", "confusion"}
    assert fields <= document.keys()
    assert document["accuracy"] == document["correct"] / document["n"]
    low, high = document["accuracy_interval"]
    assert 0 < low < document["accuracy"] < high < 1
    assert len(document["per_class"]) == len(document["confusion"]) == len(document["confusion"][0]) == 10
    assert [sum(row) for row in document["confusion"]] == [score["n"] for score in document["per_class"]]


def test_evaluate_for_people(convscope: Any, digit_file: Path) -> None:
    outcome = convscope("evaluate", digit_file)
    assert outcome.status == 0
    assert "95 % interval" in outcome.out
    assert "confusion matrix (row: true class, column: what it was called)" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--split", "tset"], ["split 'tset'", "Did you mean 'test'?"]),
        (["mnst"], ["unknown data set 'mnst'", "Did you mean 'mnist'?"]),
        (["--device", "gpu"], ["device 'gpu'"]),
    ],
)
def test_evaluate_refuses(arguments: list[str], texts: list[str], convscope: Any, digit_file: Path) -> None:
    convscope("evaluate", digit_file, *arguments).refused(*texts)
    convscope("evaluate", digit_file, *arguments, "--json").refused(*texts)


def test_model_that_is_not_there(convscope: Any, tmp_path: Path) -> None:
    convscope("evaluate", tmp_path / "runs" / "a", "--json").refused("there is no model")
    convscope("predict", tmp_path / "runs" / "a", "x.png", "--json").refused("there is no model")
    convscope("evaluate", tmp_path).refused("has no model.safetensors")


def test_predict_json_is_a_line_a_file_in_path_order(convscope: Any, digit_file: Path, scans: Path) -> None:
    outcome = convscope("predict", digit_file, scans, "--json", "--top", "2")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.status == 0
    names = [Path(line["path"]).relative_to(scans).as_posix() for line in lines]
    assert names == ["a.png", "a0.png", "b.png", "more/c.png"]
    assert lines[1].keys() == {"path", "error"}
    assert lines[0].keys() == {"path", "label", "probability", "top"}
    assert len(lines[0]["top"]) == 2
    assert lines[0]["top"][0] == [lines[0]["label"], lines[0]["probability"]]


def test_file_that_cannot_be_read_may_come_first(convscope: Any, digit_file: Path, scans: Path) -> None:
    outcome = convscope("predict", digit_file, scans / "a0.png", scans / "a.png", "--json")
    assert outcome.status == 0
    assert [Path(json.loads(line)["path"]).name for line in outcome.out.splitlines()] == ["a0.png", "a.png"]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_when_no_file_can_be_read_stdout_is_empty(
    as_json: list[str], convscope: Any, digit_file: Path, scans: Path
) -> None:
    convscope("predict", digit_file, scans / "a0.png", scans / "missing.png", *as_json).refused(
        "none of 2 files could be read. Expected", "\n  ", "a0.png: ", "missing.png: the file does not exist"
    )


def test_folder_without_pictures(convscope: Any, digit_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    convscope("predict", digit_file, tmp_path / "empty").refused("no picture file")


def test_hint_goes_to_stderr(convscope: Any, digit_file: Path, scans: Path) -> None:
    Image.eval(Image.open(scans / "a.png"), lambda value: 255 - value).save(scans / "page.png")
    outcome = convscope("predict", digit_file, scans / "page.png", "--json")
    assert "--invert" in outcome.err
    assert json.loads(outcome.out)["path"].endswith("page.png")
    assert convscope("predict", digit_file, scans / "page.png", "--invert").err == ""


def test_predict_for_people(convscope: Any, digit_file: Path, scans: Path) -> None:
    lines = convscope("predict", digit_file, scans).out.splitlines()
    assert lines[0].startswith(f"{scans / 'a.png'}: ")
    assert "cannot be read: " in lines[1]


def test_top_must_be_at_least_one(convscope: Any, digit_file: Path, scans: Path) -> None:
    convscope("predict", digit_file, scans, "--top", "0").refused("top 0", "at least 1")


def test_judging_loads_no_training_and_no_compiler(digit_file: Path, scans: Path) -> None:
    """Start-up is most of what a short evaluation takes."""
    code = (
        "import sys\n"
        "from convscope.cli.status import run\n"
        "statuses = [run(['evaluate', sys.argv[1]]), run(['predict', sys.argv[1], sys.argv[2]])]\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'torchvision', 'convscope.training', 'rich'}\n"
        "print(statuses, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(digit_file), str(scans)], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[0, 0] []"
