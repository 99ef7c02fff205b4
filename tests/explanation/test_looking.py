"""What `explain` returns, shows, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.cli.status import run
from convscope.errors import ConvscopeError, DataError
from convscope.explanation import explain
from convscope.explanation.pictures import enlarged, filter_picture, map_picture
from convscope.model_file import save_model

from .conftest import noise, random_model

SMALL = "conv(6, 3), batchnorm, relu, conv(8, 3), relu, maxpool(2), flatten, dense(5), relu, dense(classes)"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A small model as a file."""
    save_model(random_model(SMALL), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_an_overview_has_filters_and_every_convolution(picture: Path) -> None:
    found = explain(random_model(SMALL), picture)
    assert [(s.kind, s.layer, s.shown, s.count) for s in found.sheets] == [
        ("filters", "conv1", 6, 6), ("all maps", None, 2, 2),
    ]  # fmt: skip
    assert len(found.top) == 3
    assert sum(p for _, p in explain(random_model(SMALL), picture, top=9).top) == pytest.approx(1)


def test_a_linear_net_shows_its_templates(tmp_path: Path) -> None:
    model = random_model("flatten, dense(classes)", (3, 32, 32), 10)
    found = explain(model, noise(tmp_path / "a.png", (3, 32, 32)))
    assert [(s.kind, s.layer, s.count) for s in found.sheets] == [("templates", "dense1", 10)]
    assert found.working is None
    assert "10 templates of 3×32×32 weights" in found.render()


def test_a_net_that_pools_first_has_no_templates(picture: Path) -> None:
    assert explain(random_model("globalpool, dense(classes)"), picture).sheets == ()


def test_a_layer_shows_all_its_maps_with_their_ranges(picture: Path) -> None:
    model = random_model(SMALL)
    (sheet,) = explain(model, picture, layer="conv2").sheets
    assert (sheet.kind, sheet.shown, len(sheet.ranges)) == ("maps", 8, 8)
    assert all(low < high for low, high in sheet.ranges)


def test_many_maps_are_bounded_and_said(picture: Path) -> None:
    found = explain(random_model("conv(300, 3), flatten, dense(classes)"), picture, layer="conv1")
    assert (found.sheets[0].shown, found.sheets[0].count) == (256, 300)
    assert found.notes == ("conv1: 256 of 300 shown",)


def test_the_terminal_fits_80_columns(picture: Path) -> None:
    for layer in ("conv1", "conv2", "maxpool1", "dense1", "relu2", "flatten1"):
        text = explain(random_model(SMALL), picture, layer=layer).render(80)
        assert max(len(line) for line in text.splitlines()[3:]) <= 80, text
        assert "the network's own number" in text


def test_inverting_swaps_dark_and_light(picture: Path) -> None:
    plain, inverted = (explain(random_model(SMALL), picture, invert=flag) for flag in (False, True))
    assert (plain.pixels == 255 - inverted.pixels).all()


def test_pictures_of_numbers() -> None:
    ramp = np.array(map_picture(np.array([[-1.0, 0.0, 3.0]])))
    assert ramp.tolist() == [[0, 64, 255]]
    assert np.array(map_picture(np.full((2, 2), 7.0))).max() == 0
    blue_white_red = np.array(filter_picture(np.array([[[-2.0, 0.0, 2.0]]])))[0]
    assert blue_white_red.tolist() == [[33, 102, 172], [255, 255, 255], [178, 24, 43]]
    assert np.array(filter_picture(np.zeros((3, 1, 1)))).tolist() == [[[128, 128, 128]]]
    assert enlarged(Image.new("L", (3, 2)), 64).size == (63, 42)
    assert enlarged(Image.new("L", (640, 320)), 64).size == (64, 32)


# The folder -----------------------------------------------------------------------------------------


def test_a_folder_holds_pictures_page_and_numbers(picture: Path, tmp_path: Path) -> None:
    written = explain(random_model(SMALL), picture, layer="conv1", at=(1, 2, 3)).save(tmp_path / "seen")
    names = sorted(path.name for path in written)
    assert names == ["conv1-maps.png", "explain.html", "explain.json", "picture.png"]
    assert sorted(p.name for p in (tmp_path / "seen").iterdir()) == names
    record = json.loads((tmp_path / "seen" / "explain.json").read_text("utf-8"))
    assert record["made_by"] == "convscope explain"
    assert (record["working"]["row"], record["working"]["column"], record["working"]["map"]) == (1, 2, 3)
    with Image.open(tmp_path / "seen" / "conv1-maps.png") as opened:
        assert opened.size[0] > 100


def test_a_second_look_replaces_its_own_files_only(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    explain(random_model(SMALL), picture).save(folder)
    (folder / "notes.txt").write_text("mine")
    explain(random_model(SMALL), picture, layer="conv2").save(folder)
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["conv2-maps.png", "explain.html", "explain.json", "notes.txt", "picture.png"]


def test_others_files_are_never_written_over(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "picture.png").write_bytes(b"mine")
    found = explain(random_model(SMALL), picture)
    with pytest.raises(
        ConvscopeError, match=r"holds files that explain did not write. .* Choose another with --out"
    ):
        found.save(folder)
    assert (folder / "picture.png").read_bytes() == b"mine"
    with pytest.raises(ConvscopeError, match="is a file"):
        found.save(folder / "picture.png")


def test_a_record_cannot_name_files_elsewhere(picture: Path, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "seen", tmp_path / "keep.png"
    folder.mkdir()
    elsewhere.write_bytes(b"keep")
    record = {"made_by": "convscope explain", "files": ["../keep.png", str(elsewhere), 3]}
    (folder / "explain.json").write_text(json.dumps(record))
    explain(random_model(SMALL), picture).save(folder)
    assert elsewhere.read_bytes() == b"keep"


def test_a_file_added_under_a_name_of_ours_stays(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    explain(random_model(SMALL), picture).save(folder)
    (folder / "conv2-maps.png").write_bytes(b"mine")
    with pytest.raises(ConvscopeError, match="was not written by explain"):
        explain(random_model(SMALL), picture, layer="conv2").save(folder)


# The command ----------------------------------------------------------------------------------------


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run(["explain", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json_is_one_document(
    capsys: pytest.CaptureFixture[str], model_file: Path, picture: Path, tmp_path: Path
) -> None:
    arguments = ("--layer", "conv2", "--at", "1,2,3", "--out", tmp_path / "s", "--json")
    status, out, _ = call(capsys, model_file, picture, *arguments)
    document: dict[str, Any] = json.loads(out)
    assert status == 0
    assert document["working"]["a"] == pytest.approx(document["working"]["a_of_network"], abs=1e-5)
    assert np.shape(document["working"]["products"]) == (6, 3, 3)
    assert [Path(file).exists() for file in document["files"]] == [True] * 4


def test_without_out_it_writes_to_seen(
    capsys: pytest.CaptureFixture[str],
    model_file: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = call(capsys, model_file, picture)
    assert status == 0
    assert "Open seen/explain.html in a browser" in out
    assert (tmp_path / "seen" / "explain.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--layer", "conv3"], ["no layer is named 'conv3'", "one of conv1, batchnorm1", "Did you mean"]),
        (["--layer", "conv1", "--at", "10,0"], ["outside its maps of 10×10", "a row from 0 to 9"]),
        (["--layer", "conv1", "--at", "0,0,6"], ["map 6 of conv1, which makes 6"]),
        (["--layer", "conv1", "--at", "-1,0"], ["--at '-1,0'", "whole numbers from 0"]),
        (["--layer", "conv1", "--at", "a,b"], ["--at 'a,b'", "ROW,COLUMN"]),
        (["--at", "1,2"], ["a position without a layer"]),
        (["--layer", "dense1", "--at", "1,2"], ["no maps but a vector of 5 numbers"]),
    ],
)
def test_the_command_refuses(
    capsys: pytest.CaptureFixture[str], model_file: Path, picture: Path, tmp_path: Path,
    arguments: list[str], texts: list[str],
) -> None:  # fmt: skip
    status, out, err = call(capsys, model_file, picture, "--out", tmp_path / "s", *arguments)
    assert (status, out) == (2, "")
    assert all(text in err for text in texts), err
    assert "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_a_picture_that_cannot_be_read(picture: Path) -> None:
    picture.write_bytes(b"not a picture")
    with pytest.raises(DataError, match="cannot read .*not a picture"):
        explain(random_model(SMALL), picture)
