"""convscope data check, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.cli.status import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "photos/test/a/leak.png").write_bytes((tmp_path / "photos/train/a/3.png").read_bytes())
    (tmp_path / "photos/train/a/broken.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path / "photos"


def test_text_on_stdout_progress_on_stderr(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(photos)]) == 0  # warnings are no failure
    out, err = capsys.readouterr()
    assert "25 pictures can be read (12 in train, 13 in test)" in out
    assert "same bytes, across splits:" in out
    assert f"Looking at 26 pictures in {photos}." in err


def test_json_is_one_document(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(photos), "--json", "--size", "32", "--fit", "crop"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["network_sees"] == {"height_px": 32, "width_px": 32, "channels": 3, "fit": "crop"}
    assert [leak["path"] for leak in document["leakage"]] == [str(photos / "test/a/leak.png")]
    assert document["skipped"] == [
        {
            "path": str(photos / "train/a/broken.jpg"),
            "reason": "damaged: it begins like a JPEG, but nothing more can be read",
        }
    ]
    assert document["model"] is None


def test_page_and_skip_list_are_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, listed = tmp_path / "page.html", tmp_path / "skip.tsv"
    assert run(["data", "check", str(photos), "--html", str(page), "--skip-list", str(listed)]) == 0
    assert f"Open {page} in a browser." in capsys.readouterr().err
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert listed.read_text().startswith(f"{photos / 'train/a/broken.jpg'}\tdamaged")


@pytest.mark.slow
def test_a_model_is_judged_again_without_leakage(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import convscope

    out = tmp_path / "run"
    convscope.train(photos, "flatten, dense(classes)", steps=20, out=out, size_px=16)
    assert run(["data", "check", str(photos), "--model", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    restated, evaluated = document["model"], convscope.evaluate(out, photos)
    assert (restated["n"], restated["correct"]) == (evaluated.n, evaluated.correct)
    assert (restated["split"], restated["leaked"], restated["n_without"]) == ("test", 1, restated["n"] - 1)
    assert restated["correct"] - restated["correct_without"] in (0, 1)
    assert document["network_sees"]["width_px"] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/"], "nowhere/ does not exist"),
        (["PHOTOS", "--fit", "fill"], "'fill'"),
        (["PHOTOS", "--model", "m", "--size", "32"], "--model with --size or --fit"),
        (["PHOTOS", "--html", "no/such/place.html"], "which does not exist"),
        (["PHOTOS", "--size", "0"], "size_px 0"),
    ],
)
def test_what_the_user_can_mend_is_said(
    photos: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "check", *[word.replace("PHOTOS", str(photos)) for word in arguments]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_check_loads_no_torch(photos: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from convscope.cli.status import run; "
        f"run(['data', 'check', {str(photos)!r}, '--json']); print(int('torch' in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0"
