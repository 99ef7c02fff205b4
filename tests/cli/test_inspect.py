"""convscope inspect: its options, what it prints and nothing else, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest


def test_why_prints_the_derivation(convscope: Any) -> None:
    out = convscope("inspect", "conv(6, 5), relu", "--input", "3,32,32", "--why", "conv1").out
    assert "(5·5·3 + 1)·6 = 76·6 = 456" in out
    assert "6·28·28·75 = 352,800" in out


def test_why_as_json(convscope: Any) -> None:
    document = convscope("inspect", "lecture", "--why", "conv2", "--json").document
    assert (document["name"], document["parameters"], document["macs"]) == ("conv2", 18_496, 10_616_832)
    assert document["why"]["shape"][0] == "32×26×26 → 64×24×24"


def test_as_torch_prints_only_source_that_defines_model(convscope: Any) -> None:
    outcome = convscope("inspect", "lecture", "--as", "torch")
    scope: dict[str, Any] = {}
    exec(outcome.out, scope)
    assert sum(p.numel() for p in scope["model"].parameters()) == 1_199_882
    assert outcome.err == ""


def test_as_keras_prints_source_and_json_wraps_it(convscope: Any) -> None:
    source = convscope("inspect", "lecture", "--as", "keras").out
    compile(source, "printed.py", "exec")
    document = convscope("inspect", "lecture", "--as", "keras", "--json").document
    assert document == {"library": "keras", "source": source}


def test_svg_writes_a_drawing_beside_the_answer(convscope: Any, tmp_path: Path) -> None:
    file = tmp_path / "vgg.svg"
    outcome = convscope("inspect", "vgg16", "--svg", file, "--json")
    assert outcome.document["parameters"] == 138_357_544
    assert f"The drawing is in {file}." in outcome.err
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    assert [path.name for path in tmp_path.iterdir()] == ["vgg.svg"]


def test_all_and_against_dense(convscope: Any) -> None:
    assert "layer4.residual3.batchnorm3" in convscope("inspect", "resnet50", "--all").out
    assert "layer4.residual3.batchnorm3" not in convscope("inspect", "resnet50").out
    assert "dense, the same output" in convscope("inspect", "lecture", "--against-dense").out


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--why", "conv9"], ["no layer is named 'conv9'", "conv1, relu1, conv2", "Did you mean 'conv"]),
        (["--why", "conv1", "--as", "torch"], ["--why conv1 together with --as torch", "one of them"]),
        (["--as", "tensorflow"], ["--as tensorflow", "torch or keras"]),
        (["--input", "28,28"], ["--input '28,28'", "three whole numbers"]),
        (["--input", "1,0,28"], ["--input '1,0,28'"]),
        (["--input", "1,-3,28"], ["--input '1,-3,28'"]),
        (["--input", "a picture"], ["--input 'a picture'"]),
        (["--input", "1,2,2"], ["conv", "1×2×2", "an input of at least"]),
        (["--classes", "0"], ["classes is 0"]),
        (["--svg", "no/such/folder/net.svg"], ["--svg no/such/folder/net.svg", "a folder that exists"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_message(arguments: list[str], texts: list[str], convscope: Any) -> None:
    convscope("inspect", "lecture", *arguments).refused(*texts)


def test_keras_refusal_names_the_word(convscope: Any) -> None:
    convscope("inspect", "lenet5", "--as", "keras").refused("S2", "has no equal in Keras", "--as torch")


@pytest.mark.parametrize(
    "arguments",
    [
        ["resnet152"],
        ["lenet5", "--why", "C3"],
        ["googlenet", "--as", "torch"],
        ["lenet5", "--as", "torch"],
        ["googlenet", "--as", "keras"],
        ["resnet50", "--json"],
        ["alexnet", "--svg", "alexnet.svg"],
    ],
    ids=" ".join,
)
def test_no_answer_needs_torch(arguments: list[str], tmp_path: Path) -> None:
    probe = (
        "import sys; from convscope.cli.status import run; status = run(['inspect', *sys.argv[1:]]);"
        "print(sorted({'torch', 'numpy', 'rich', 'keras'} & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]"), done.stderr
