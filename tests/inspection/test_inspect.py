"""`inspect`: the table, its JSON, its errors; and receptive fields against the gradient."""

from __future__ import annotations

import json

import pytest
import torch

from convscope import nets as zoo
from convscope.errors import ShapeError
from convscope.inspection import inspect
from convscope.inspection.lines import folded_lines
from convscope.net import Net

FIELDS = ["name", "kind", "output_shape", "parameters", "macs", "receptive_field", "jump"]


def test_json_of_the_lecture_network():
    document = json.loads(json.dumps(inspect("lecture").to_json()))
    assert document["input_shape"] == [1, 28, 28]
    assert document["output_shape"] == [10]
    assert (document["parameters"], document["parameters_training_only"], document["macs"]) == (
        1_199_882,
        0,
        11_992_448,
    )
    assert Net.parse(document["net"]) == inspect("lecture").net
    assert [[layer[f] for f in FIELDS] for layer in document["layers"]][:5] == [
        ["conv1", "conv", [32, 26, 26], 320, 194_688, 3, 1],
        ["relu1", "relu", [32, 26, 26], 0, 0, 3, 1],
        ["conv2", "conv", [64, 24, 24], 18_496, 10_616_832, 5, 1],
        ["relu2", "relu", [64, 24, 24], 0, 0, 5, 1],
        ["maxpool1", "maxpool", [64, 12, 12], 0, 0, 6, 2],
    ]
    assert document["layers"][7]["receptive_field"] == 28
    assert document["layers"][7]["jump"] is None
    assert document["depth"] == 4


def test_totals_are_the_sums_of_the_rows():
    document = inspect(
        "conv(4, 3), aux(globalpool, dense(classes)), residual(conv(8, 1), shortcut='projection'), flatten, dense(3)",
        (1, 9, 9),
    ).to_json()
    main = [layer for layer in document["layers"] if not layer["training_only"]]
    side = [layer for layer in document["layers"] if layer["training_only"]]
    assert sum(layer["parameters"] for layer in main) == document["parameters"]
    assert sum(layer["macs"] for layer in main) == document["macs"]
    assert sum(layer["parameters"] for layer in side) == document["parameters_training_only"] == 50


def test_the_table_has_a_line_a_layer_and_the_totals():
    lines = inspect("lecture").render(120).splitlines()
    assert lines[0] == "Input 1×28×28 → scores 10"
    assert lines[2].split() == [
        "layer", "what", "output", "parameters", "share", "MACs", "share", "FLOPs", "memory", "sees", "jump",
    ]  # fmt: skip
    assert lines[10].split() == [
        "dense1", "dense(128)", "128", "1,179,776", "98.3", "%", "1,179,648", "9.8", "%", "2.36", "M", "512", "B", "28",
    ]  # fmt: skip
    assert lines[14].split()[:4] == ["total", "1,199,882", "100", "%"]
    assert "1,199,882 parameters, 11,992,448 MACs a picture" in lines[16]


def test_flops_are_two_a_mac_and_one_a_bias():
    document = inspect("conv(6, 5), relu, flatten, dense(classes, bias=False)", (3, 32, 32)).to_json()
    conv1, relu1, flatten1, dense1 = document["layers"]
    assert (conv1["macs"], conv1["flops"]) == (352_800, 2 * 352_800 + 6 * 28 * 28)
    assert (relu1["flops"], flatten1["flops"]) == (0, 0)
    assert dense1["flops"] == 2 * dense1["macs"] == 2 * 10 * 4704
    assert document["flops"] == conv1["flops"] + dense1["flops"]


def test_memory_is_what_leaves_a_layer_in_float32():
    document = inspect("lecture").to_json()
    sizes = {layer["name"]: layer["activation_bytes"] for layer in document["layers"]}
    assert (sizes["conv1"], sizes["flatten1"], sizes["dense2"]) == (4 * 32 * 26 * 26, 0, 40)
    assert document["activation_bytes"] == sum(sizes.values())


def test_shares_add_up_to_one():
    layers = inspect("lecture").to_json()["layers"]
    assert sum(layer["parameters_share"] for layer in layers) == pytest.approx(1)
    assert sum(layer["macs_share"] for layer in layers) == pytest.approx(1)


def test_lenet5_counts_its_connections_as_the_paper_does():
    document = inspect("lenet5").to_json()
    assert document["connections"] == 340_908
    counted = {layer["name"]: layer["connections"] for layer in document["layers"]}
    assert [counted[name] for name in ("C1", "S2", "C3", "S4", "C5", "F6")] == [
        122_304, 5_880, 151_600, 2_000, 48_120, 10_164,
    ]  # fmt: skip
    assert "340,908 connections, as the LeNet-5 paper counts them." in inspect("lenet5").render()
    assert "connections" not in inspect("lecture").render()


def test_the_lectures_filter_against_fully_connected_layers():
    """Slides 5 and 6: 6 filters of 76 numbers against a node of 3,073; fewer weights, more nodes, more products."""
    inspection = inspect("conv(6, 5), flatten, dense(classes)", (3, 32, 32))
    conv1 = inspection.to_json()["layers"][0]
    assert conv1["as_dense"] == {
        "one_node_a_map": {"parameters": 6 * 3073, "nodes": 6, "macs": 6 * 3072},
        "same_output": {"parameters": 4704 * 3073, "nodes": 4704, "macs": 4704 * 3072},
    }
    assert ["conv1", "×40.4", "÷784", "÷19.1", "×31,700", "×1", "×41"] in [
        line.split() for line in inspection.render().splitlines()
    ]
    exact = [line.split() for line in inspection.render(against_dense=True).splitlines()]
    assert ["dense,", "one", "node", "a", "map", "18,438", "×40.4", "6", "÷784", "18,432", "÷19.1"] in exact
    assert "No convolution stands" in inspect("linear").render(against_dense=True)


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", zoo.names())
def test_the_table_fits_and_folds_for_people(name, width):
    text = inspect(name).render(width)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 90
    assert inspect(name).inference.nodes[-1].name in text


def test_folding_hides_no_numbers():
    for name in ("resnet152", "googlenet", "vgg19"):
        inference = inspect(name).inference
        lines = folded_lines(inference)
        assert len(lines) < 61 < len(inference.steps) or name == "vgg19"
        kept = [step for line in lines for step in line.steps]
        assert sorted(s.name for s in kept) == sorted(s.name for s in inference.steps)
        assert sum(line.costs.parameters for line in lines) == inference.parameters
    everything = inspect("resnet152").render(all_layers=True)
    assert "layer3.residual17.batchnorm2" in everything
    assert "34× to layer3.relu36" in inspect("resnet152").render(160)


def test_json_is_never_folded():
    assert len(inspect("resnet152").to_json()["layers"]) > 500


def test_classes_and_input_are_free():
    assert inspect("lecture", (3, 32, 32), classes=7).to_json()["output_shape"] == [7]
    assert inspect("linear", classes=2).inference.parameters == 2 * 3073


def test_text_needs_an_input():
    with pytest.raises(ShapeError, match=r"a net without an input shape.*Add --input 1,28,28"):
        inspect("flatten, dense(classes)")


FIELD_NETS = [
    "conv(3, 5)",
    "conv(3, 3, padding=1), conv(3, 3, padding=1), conv(3, 3)",
    "conv(3, 3, stride=2, padding=1), maxpool(2), conv(3, (1, 3))",
    "conv(3, 3, dilation=2), avgpool(3, stride=2)",
    "residual(conv(2, 3, padding=1), conv(2, 3, padding=1)), conv(3, 3)",
    "residual(conv(4, 3, stride=2, padding=1), conv(4, 3, padding=1), shortcut='projection'), conv(3, 3)",
    "residual(conv(4, 3, stride=2, padding=1), shortcut='zeropad')",
    "branches([conv(2, 1)], [conv(2, 5, padding=2)], [maxpool(3, stride=1, padding=1), conv(2, 1)])",
    "branches([conv(2, 3, padding=(2, 0, 2, 0))], [conv(2, 3, padding=(0, 2, 0, 2))])",
    "subsample(2), lppool(3, stride=1), lrn, batchnorm, tanh, sigmoid",
    "adaptiveavgpool(4), conv(2, 2)",
    "conv(2, 3), globalpool, dense(2)",
    "conv(2, 3), flatten, dense(2)",
]


@pytest.mark.parametrize("text", FIELD_NETS)
def test_the_stated_receptive_field_is_what_the_gradient_reaches(text):
    side = 32
    net = Net.parse(text)
    torch.manual_seed(0)
    network = net.build((2, side, side)).eval()
    images = torch.rand(1, 2, side, side, requires_grad=True)
    step = net.infer((2, side, side)).steps[-1]
    rows, columns = (
        step.receptive_field if isinstance(step.receptive_field, list) else [step.receptive_field] * 2
    )
    reached = torch.zeros(side, side, dtype=torch.bool)
    for _ in range(12):  # a maximum looks at one pixel at a time: several pictures reach them all
        images = torch.randn(1, 2, side, side, requires_grad=True)
        output = network(images)
        middle = output[..., output.shape[-2] // 2, output.shape[-1] // 2] if output.ndim == 4 else output
        (gradient,) = torch.autograd.grad(middle.sum(), images)
        reached |= gradient[0].abs().sum(0) > 0
    seen = reached.nonzero()
    span = (seen.max(0).values - seen.min(0).values + 1).tolist()
    assert span == [min(rows, side), min(columns, side)]


def test_jump_is_the_distance_of_neighbours():
    step = (
        Net.parse("conv(1, 3, stride=2, padding=1), maxpool(2), conv(1, 3, stride=(1, 3), padding=1)")
        .infer((1, 48, 48))
        .steps[-1]
    )
    assert step.jump == [4, 12]


def test_a_model_its_file_and_its_folder_can_be_inspected(digit_model, digit_file):
    by_model = inspect(digit_model)
    assert by_model.to_json() == inspect(digit_file).to_json() == inspect(str(digit_file.parent)).to_json()
    assert (by_model.inference.input_shape, by_model.inference.parameters) == ((1, 28, 28), 7850)


def test_a_run_can_be_inspected(digit_model):
    class Run:
        def model(self):
            return digit_model

    assert inspect(Run()).to_json() == inspect(digit_model).to_json()
