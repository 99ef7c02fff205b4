"""inspect, nets and data list: their JSON, their tables, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LAYER_FIELDS = {"name", "kind", "output_shape", "parameters", "macs", "receptive_field", "jump"}


def test_inspect_json_has_the_contract_fields(convscope: Any) -> None:
    document = convscope("inspect", "lecture", "--json").document
    assert {"net", "input_shape", "output_shape", "parameters_training_only", "layers"} <= document.keys()
    assert (document["parameters"], document["macs"]) == (1_199_882, 11_992_448)
    assert all(document["layers"][0].keys() >= LAYER_FIELDS for _ in document["layers"])
    assert document["layers"][0]["name"] == "conv1"
    assert sum(layer["parameters"] for layer in document["layers"]) == document["parameters"]


def test_inspect_takes_text_with_an_input(convscope: Any) -> None:
    text = "conv(16, 5), relu, maxpool(2), flatten, dense(classes)"
    document = convscope("inspect", text, "--input", "3,32,32", "--classes", "6", "--json").document
    assert document["input_shape"] == [3, 32, 32]
    assert document["output_shape"] == [6]


def test_inspect_takes_a_net_file(convscope: Any, tmp_path: Path) -> None:
    (tmp_path / "small.net").write_text("flatten, dense(classes)")
    assert (
        convscope("inspect", tmp_path / "small.net", "--input", "1,8,8", "--json").document["parameters"]
        == 650
    )


def test_inspect_takes_a_model_and_its_folder(convscope: Any, digit_file: Path) -> None:
    by_file = convscope("inspect", digit_file, "--json").document
    assert by_file == convscope("inspect", digit_file.parent, "--json").document
    assert (by_file["input_shape"], by_file["parameters"]) == ([1, 28, 28], 7850)


def test_inspect_takes_a_name_with_numbers(convscope: Any) -> None:
    assert convscope("inspect", "mlp-3x256").status == 0


def test_inspect_shows_a_table(convscope: Any) -> None:
    out = convscope("inspect", "lecture").out
    assert "dense1    dense(128)          128   1,179,776  98.3 %" in out
    assert "1,199,882 parameters, 11,992,448 MACs" in out


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["lectur"], ["unknown net 'lectur'", "Did you mean 'lecture'?"]),
        (["flatten, dens(10)", "--input", "1,8,8"], ["dens", "Did you mean 'dense'?"]),
        (["flatten, dense(10)"], ["without an input shape", "--input 1,28,28"]),
        (["conv(8, 9), flatten, dense(10)", "--input", "1,4,4"], ["conv1", "1×4×4"]),
        (["missing.safetensors"], ["there is no model 'missing.safetensors'"]),
        (["missing.net"], ["missing.net cannot be read"]),
        (["-" * 1_000_000], ["No such option: ----"]),
        (["(" * 100_000], ["brackets", "deep"]),
    ],
    ids=["name", "word", "input", "shape", "model", "file", "dashes", "brackets"],
)
def test_inspect_refuses_with_one_message(arguments: list[str], texts: list[str], convscope: Any) -> None:
    outcome = convscope("inspect", *arguments)
    outcome.refused(*texts)
    assert len(outcome.err) < 2000


def test_nets_json_has_the_contract_fields(convscope: Any) -> None:
    rows = {row["name"]: row for row in convscope("nets", "--json").document}
    assert {"lecture", "linear", "mlp"} <= rows.keys()
    fields = {"name", "family", "year", "input_shape", "parameters", "macs", "depth"}
    assert all(row.keys() >= fields for row in rows.values())
    assert (rows["lecture"]["depth"], rows["linear"]["parameters"]) == (4, 30_730)


def test_nets_table(convscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    lines = convscope("nets").out.splitlines()
    headings = "name year input depth parameters MACs sees pools single several weights"
    assert lines[0].split() == headings.split()
    assert any(line.startswith("lecture") and "1,199,882" in line for line in lines)
    assert any(line.split()[:4] == ["vgg16", "2014", "3×224×224", "16"] for line in lines)


def test_nets_sorted(convscope: Any) -> None:
    rows = convscope("nets", "--sort", "parameters", "--json").document
    assert [row["parameters"] for row in rows] == sorted(row["parameters"] for row in rows)
    assert convscope("nets", "--sort", "MACs").out.splitlines()[1].startswith("linear")
    convscope("nets", "--sort", "parameter").refused("--sort 'parameter'", "Did you mean 'parameters'?")


def test_nets_json_has_null_where_nothing_is_known(convscope: Any) -> None:
    rows = {row["name"]: row for row in convscope("nets", "--json").document}
    assert rows["lecture"]["top5_single"] is None
    assert rows["linear"]["receptive_field"] is None
    assert rows["resnet50"]["torchvision_top1"] == 0.7613
    assert rows["alexnet"]["pools"] == [
        {"kind": "max", "number": 3, "window": 3, "stride": 2, "overlap": True}
    ]


def test_data_list(convscope: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONVSCOPE_DATA", str(tmp_path))
    rows = {row["name"]: row for row in convscope("data", "list", "--json").document}
    assert {"mnist", "mnist-10k", "fashion-mnist", "cifar10"} == rows.keys()
    assert rows["mnist-10k"]["at_hand"] is True
    assert rows["mnist"]["train"] == 60_000
    out = convscope("data", "list").out
    assert "mnist-10k" in out
    assert "yes" in out
