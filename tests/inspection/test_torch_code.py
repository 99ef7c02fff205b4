"""`--as torch`: the printed source is run, gets our weights, and must give our scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from convscope import nets as zoo
from convscope.inspection.torch_code import torch_source, weight_names
from convscope.net import Net

sys.path.insert(0, str(Path(__file__).parent.parent))
from strategies import nets

pytestmark = pytest.mark.slow

LARGE = 3_000_000  # parameters from which weights are shared and filled instead of initialised twice
SHOWN_AT = Net.parse("conv(6, 5), relu, maxpool(2), flatten, dense(classes)")


def model_of(source: str) -> nn.Module:
    """The `model` that the printed source defines, when nothing but the source is there."""
    scope: dict[str, Any] = {"__name__": "printed"}
    exec(compile(source, "printed.py", "exec"), scope)
    model = scope["model"]
    assert isinstance(model, nn.Module)
    return model


def lively(network: nn.Module) -> None:
    """Weights and running statistics unlike the initial ones, so that a mix-up would show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                tensor.uniform_(-0.1, 0.1)
            elif tensor.ndim < 2 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and not name.endswith("codes"):
                bound = (3 / tensor[0].numel()) ** 0.5
                tensor.uniform_(-bound, bound)


def with_our_weights(model: nn.Module, network: nn.Module, names: list[str]) -> nn.Module:
    ours = network.state_dict()
    assert [list(t.shape) for t in model.state_dict().values()] == [list(ours[name].shape) for name in names]
    model.load_state_dict(
        {theirs: ours[name] for theirs, name in zip(model.state_dict(), names, strict=True)}, assign=True
    )
    return model.eval()


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert torch.isfinite(ours).all()
    assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max().clamp_min(1e-6)


@pytest.mark.parametrize("name", zoo.names())
def test_every_net_has_its_parameters_and_the_names_line_up(name: str) -> None:
    entry = zoo.get(name)
    with torch.device("meta"):
        model = model_of(torch_source(entry.net, entry.input_shape, entry.classes))
        network = entry.net.build(entry.input_shape, entry.classes)
    names = weight_names(entry.net, entry.input_shape, entry.classes)
    assert names == list(network.state_dict())
    assert [p.shape for p in model.parameters()] == [p.shape for p in network.parameters()]
    inference = entry.net.infer(entry.input_shape, entry.classes)
    total = inference.parameters + inference.parameters_training_only
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize("name", zoo.names())
def test_every_net_gives_our_scores_at_its_smallest_input(name: str) -> None:
    entry = zoo.get(name)
    channels = entry.input_shape[0]
    side = entry.net.smallest_input(channels, entry.classes)
    assert side is not None
    shape = (channels, side, side)
    large = entry.net.infer(shape, entry.classes).parameters > LARGE
    with torch.device("meta" if large else "cpu"):
        network = entry.net.build(shape, entry.classes)
        model = model_of(torch_source(entry.net, shape, entry.classes))
    if large:
        network = network.to_empty(device="cpu")
    lively(network)
    model = with_our_weights(model, network, weight_names(entry.net, shape, entry.classes))
    images = torch.rand(2, *shape)
    with torch.no_grad():
        assert_same(network.eval()(images), model(images))


@settings(max_examples=120, deadline=None)
@given(nets())
def test_random_nets_give_our_scores(drawn: tuple[Net, tuple[int, int, int]]) -> None:
    net, shape = drawn
    network = net.build(shape)
    lively(network)
    model = with_our_weights(model_of(torch_source(net, shape)), network, weight_names(net, shape))
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert_same(network.eval()(images), model(images))


def test_training_only_outputs_are_at_hand_in_training() -> None:
    net = Net.parse("conv(4, 3), aux(globalpool, dense(classes), weight=0.3), flatten, dense(classes)")
    network = net.build((1, 6, 6), 3)
    source = torch_source(net, (1, 6, 6), 3)
    model = with_our_weights(model_of(source), network, weight_names(net, (1, 6, 6), 3)).train()
    images = torch.rand(2, 1, 6, 6)
    scores, [(weight, side)] = network.training_forward(images)
    assert_same(scores, model(images))
    assert model[1].weight == weight == 0.3
    assert_same(side, model[1].scores)


def test_the_source_reads_like_torch() -> None:
    assert torch_source(SHOWN_AT, (1, 28, 28)) == (
        "# 1×28×28 → 10: 8,806 parameters.\n"
        "# Images (N, C, H, W) come in. The comments are Convscope's names and the shapes that leave.\n"
        "from torch import nn\n"
        "\n\n"
        "model = nn.Sequential(\n"
        "    nn.Conv2d(1, 6, 5),  # conv1: 6×24×24\n"
        "    nn.ReLU(),  # relu1: 6×24×24\n"
        "    nn.MaxPool2d(2),  # maxpool1: 6×12×12\n"
        "    nn.Flatten(),  # flatten1: 864\n"
        "    nn.Linear(864, 10),  # dense1: 10\n"
        ")\n"
    )


def test_repeats_are_written_once() -> None:
    net = Net.parse("repeat(9, conv(4, 3, padding=1), relu), repeat(5, relu), flatten, dense(classes)")
    source = torch_source(net, (4, 6, 6))
    assert source.count("nn.Conv2d") == 1
    assert "*(nn.ReLU() for _ in range(5)),  # relu10: 4×6×6, 5 times, to relu14\n" in source
    assert sum(p.numel() for p in model_of(source).parameters()) == net.infer((4, 6, 6)).parameters


def test_a_softmax_at_the_end_is_left_out_and_said() -> None:
    source = torch_source(Net.parse("flatten, dense(classes), softmax"), (1, 2, 2))
    assert "nn.Softmax" not in source
    assert "their softmax are the probabilities" in source
