"""`--why`: each number of a derivation is the number of the table, for every word; and the lecture's own examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from convscope import nets as zoo
from convscope.errors import ConvscopeError
from convscope.inspection import inspect
from convscope.inspection.view import Inspection
from convscope.layers import WORDS
from convscope.net import Net

sys.path.insert(0, str(Path(__file__).parent.parent))
from strategies import nets

EVERY_WORD = """
    conv(6, 5, padding="same"), batchnorm, relu, lrn, identity, subsample(2), tanh,
    branches([conv(4, 1)], [avgpool(3, stride=1, padding=1)]), residual(conv(10, 3, padding=1), sigmoid), lppool(2),
    adaptiveavgpool(4), aux(globalpool, dense(classes)), block("stage", conv(8, 1), relu6, gelu),
    repeat(2, maxpool(2, stride=1), name="twice"), dropout(0.5), flatten, softmax, dense(12), rbf(classes)
"""


def topics(inspection: Inspection, name: str) -> dict[str, tuple[str, ...]]:
    return dict(inspection.why(name).topics)


def test_the_lectures_filter() -> None:
    """Slide 5: 75 weights and a bias, six maps of 28×28."""
    said = topics(inspect("conv(6, 5), relu", (3, 32, 32)), "conv1")
    assert said["parameters"] == ("(F·F·D + 1)·D′ = (5·5·3 + 1)·6 = 76·6 = 456",)
    assert said["MACs"] == ("D′·H′·W′·(F·F·D) = 6·28·28·75 = 352,800",)
    assert said["FLOPs"] == ("2·352,800 + 4,704 additions of a bias = 710,304",)
    assert said["shape"][1] == "W′ = H′ = (W − F + 2P)/S + 1 = (32 − 5 + 2·0)/1 + 1 = 28"
    assert said["memory"] == ("6·28·28 = 4,704 nodes, float32: 4·4,704 = 18,816 bytes a picture",)
    assert "×40.4 parameters, ÷784 nodes, ÷19.1 MACs" in said["fully connected"][0]


def test_receptive_field_and_jump_step_by_step() -> None:
    said = topics(inspect("lecture"), "maxpool1")
    assert said["sees"] == (
        "r′ = r + (F − 1)·j = 5 + (2 − 1)·1 = 6 pixels of the picture",
        "j′ = S·j = 2·1 = 2, pixels from one place to the next",
    )
    assert topics(inspect("lecture"), "dense1")["sees"] == (
        "every place: r′ = r + (n − 1)·j = 6 + (12 − 1)·2 = 28 pixels",
    )
    odd = topics(inspect("conv(2, (3, 5), stride=(1, 2))", (1, 20, 30)), "conv1")["sees"]
    assert [line.split(":")[0] for line in odd] == ["rows", "rows", "columns", "columns"]


def test_rounding_is_said() -> None:
    assert (
        "= 5.5, rounded down 5"
        in topics(inspect("maxpool(3, stride=2)", (1, 12, 12)), "maxpool1")["shape"][1]
    )
    up = topics(inspect("maxpool(3, stride=2, ceil=True)", (1, 12, 12)), "maxpool1")["shape"][1]
    assert "= 5.5, rounded up 6" in up


def test_a_residual_says_how_its_shapes_meet() -> None:
    said = topics(inspect("resnet50"), "layer2.residual1")
    assert "512 filters 1×1 with stride 2, brings 256×56×56 to 512×28×28" in said["shape"][1]
    assert "256·512 + 2·512 = 132,096" in said["parameters"][0]
    assert topics(inspect("resnet50"), "layer2.residual2")["shape"][1].startswith(
        "the shortcut keeps 512×28×28"
    )
    padded = inspect("residual(conv(6, 3, stride=2, padding=1), shortcut='zeropad')", (4, 8, 8))
    assert "every 2. pixel of 4×8×8 and adds 2 maps of zeros" in topics(padded, "residual1")["shape"][1]


def test_branches_add_up_their_maps_and_aux_passes_on() -> None:
    assert (
        "D′ = 64 + 128 + 32 + 32 = 256 maps, all 28×28"
        in topics(inspect("googlenet"), "inception3a")["shape"]
    )
    said = topics(inspect("googlenet"), "aux1")
    assert "whose loss counts 0.3 beside the main one" in said["what"][0]
    assert said["share"] == ("for training only: it is not in the totals",)
    assert said["in all"][0].startswith("8 layers inside, together 3,188,840 parameters")


def test_connections_of_lenet5() -> None:
    assert topics(inspect("lenet5"), "S2")["connections"][0].startswith("(4 + 1)·1,176 = 5,880")
    assert topics(inspect("lenet5"), "C3")["connections"][0].startswith("1,516·100 = 151,600")


def test_every_word_has_a_derivation() -> None:
    net = Net.parse(" ".join(EVERY_WORD.split()))
    inspection = inspect(net, (3, 16, 16))
    kinds = {inspection.why(name).kind for name in inspection.inference.shapes}
    assert kinds == set(WORDS)
    for name in inspection.inference.shapes:
        derivation = inspection.why(name)
        assert {"what", "shape", "parameters", "MACs", "sees", "memory", "share"} <= dict(
            derivation.topics
        ).keys()
        assert all(len(line) <= 80 for line in derivation.render(80).splitlines())
        assert json.loads(json.dumps(derivation.to_json()))["name"] == name


@pytest.mark.parametrize(
    "name", [n for n in zoo.names() if not n.startswith(("cifar_", "resnet101", "resnet152"))]
)
def test_every_layer_of_every_net_has_its_numbers_in_its_derivation(name: str) -> None:
    check_numbers(inspect(name))


@settings(max_examples=60, deadline=None)
@given(nets())
def test_numbers_of_random_nets_are_those_of_the_table(drawn: tuple[Net, tuple[int, int, int]]) -> None:
    check_numbers(inspect(drawn[0], drawn[1]))


def check_numbers(inspection: Inspection) -> None:
    for step in inspection.inference.steps:
        said = topics(inspection, step.name)
        if step.parameters:
            assert f"{step.parameters:,}" in " ".join(said["parameters"]), step
        if step.macs:
            assert f"= {step.macs:,}" in " ".join(said["MACs"]), step
        if len(step.output_shape) == 3 and step.kind in ("conv", "maxpool", "avgpool", "lppool", "subsample"):
            ends = {
                line.split("= ")[-1].split()[-1].rstrip(":")
                for line in said["shape"]
                if "W − F" in line or "H − F" in line
            }
            assert ends == {str(size) for size in step.output_shape[1:]}, (step, said["shape"])
        sizes = step.receptive_field if isinstance(step.receptive_field, list) else [step.receptive_field]
        assert all(str(size) in " ".join(said["sees"]) for size in sizes), (step, said["sees"])


def test_a_name_that_is_not_there_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(
        ConvscopeError, match="no layer is named 'conv9'.*one of conv1, relu1, conv2.*Did you mean 'conv"
    ):
        inspect("lecture").why("conv9")
    with pytest.raises(ConvscopeError, match="… and [0-9]+ more \\(inspect --all lists them\\)"):
        inspect("resnet152").why("x")
