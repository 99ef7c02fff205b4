"""`inspect`: the table, its JSON, its errors; and receptive fields against the gradient."""

from __future__ import annotations

import json

import pytest
import torch

from convscope.errors import ShapeError
from convscope.inspection import inspect
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
    lines = inspect("lecture").render().splitlines()
    assert lines[0] == "Input 1×28×28 → scores 10"
    assert lines[2].split() == ["layer", "what", "output", "parameters", "share", "MACs", "sees", "jump"]
    assert lines[10].split() == ["dense1", "dense(128)", "128", "1,179,776", "98.3", "%", "1,179,648", "28"]
    assert "1,199,882 parameters, 11,992,448 MACs a picture" in lines[-2]


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
