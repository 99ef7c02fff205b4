"""Folding and the form that scores: the reference's scores on every net, and nothing of the reference touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from convscope import nets
from convscope.engine.folding import Folded, folded
from convscope.layers import (
    batchnorm,
    block,
    branches,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    maxpool,
    relu,
    residual,
)
from convscope.net import Net
from convscope.reference import Network

sys.path.insert(0, str(Path(__file__).parent.parent))
import strategies


def settled(net: Net, shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> Network:
    """The net in evaluation mode, with norms that have learned something, so that leaving one out would show."""
    torch.manual_seed(0)
    network = net.build(shape).to(dtype).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return network


def norms(network: nn.Module) -> list[str]:
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]


def assert_same_scores(scores: Tensor, expected: Tensor, tolerance: float) -> None:
    largest = expected.abs().max().clamp_min(1.0)
    assert (scores - expected).abs().max() <= tolerance * largest


SMALL = [entry.name for entry in map(nets.get, nets.names()) if entry.input_shape[1] <= 64]


@pytest.mark.parametrize("name", SMALL)
def test_every_net_for_small_images_scores_the_same(name: str) -> None:
    """In float64 the folding alone, to the last bits; in float32 the form that scores, compiled kernel and all."""
    entry = nets.get(name)
    images = torch.rand(2, *entry.input_shape, dtype=torch.float64)
    with torch.inference_mode():
        exact = settled(entry.net, entry.input_shape, torch.float64)
        expected = exact(images)
        assert_same_scores(folded(exact)(images), expected, 1e-9)
        assert_same_scores(Folded(exact)(images), expected, 1e-9)
        assert_same_scores(Folded(exact.float())(images.float()).double(), expected, 1e-3)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-lite0"])
def test_nets_for_photos_score_the_same_at_224_pixels(name: str) -> None:
    entry = nets.get(name)
    assert entry.input_shape == (3, 224, 224)
    network = settled(entry.net, entry.input_shape)
    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert_same_scores(Folded(network)(images), network(images), 1e-4)


@settings(max_examples=120, deadline=None)
@given(strategies.nets())
def test_a_random_net_scores_the_same(drawn: tuple[Net, tuple[int, int, int]]) -> None:
    net, shape = drawn
    network = settled(net, shape, torch.float64)
    images = torch.rand(3, *shape, dtype=torch.float64)
    before = images.clone()
    with torch.inference_mode():
        expected = network(images)
        assert_same_scores(folded(network)(images), expected, 1e-8)
        assert_same_scores(Folded(network)(images), expected, 1e-8)
    assert torch.equal(images, before)


def test_norms_behind_weights_go_and_the_others_stay() -> None:
    net = Net(
        conv(4, 3), batchnorm(), relu, maxpool(2), batchnorm(), conv(4, 1), relu, batchnorm(),
        block("inside", conv(4, 1)), batchnorm(),
        residual(conv(8, 1), batchnorm(), shortcut="projection"), batchnorm(),
        branches([conv(2, 1), dropout(0.5), batchnorm()], []), batchnorm(),
        flatten, dense(5), batchnorm(), dense(classes),
    )  # fmt: skip
    network = settled(net, (1, 8, 8))
    left = norms(folded(network))
    assert left == ["batchnorm2", "batchnorm3", "batchnorm4", "batchnorm5", "batchnorm6"]
    assert len(norms(network)) == 10
    with torch.inference_mode():
        images = torch.rand(3, 1, 8, 8)
        assert_same_scores(folded(network)(images), network(images), 1e-5)


def test_the_network_keeps_its_weights_its_mode_and_its_gradients() -> None:
    network = settled(nets.get("cifar_resnet20").net, (3, 32, 32)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copy = folded(network)
    assert network.training
    assert not copy.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    theirs = {parameter.data_ptr() for parameter in network.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in copy.parameters()}


def test_a_weight_that_two_layers_share_is_folded_in_one_of_them_only() -> None:
    network = settled(Net(conv(4, 1), batchnorm(), conv(4, 1), flatten, dense(2)), (4, 3, 3))
    network.conv2.weight = network.conv1.weight
    with torch.inference_mode():
        images = torch.rand(2, 4, 3, 3)
        assert_same_scores(folded(network)(images), network(images), 1e-5)


def test_relu_does_not_write_over_what_a_shortcut_still_reads() -> None:
    network = settled(Net(conv(4, 1), residual(relu, conv(4, 1), relu), relu, flatten, dense(2)), (1, 3, 3))
    with torch.inference_mode():
        images = torch.rand(2, 1, 3, 3) - 0.5
        assert_same_scores(Folded(network)(images), network(images), 1e-5)


def test_the_table_connections_of_1998_take_a_norm_in() -> None:
    table = ((0, 1), (1, 2), (0, 2), (0, 1, 2))
    network = settled(Net(conv(4, 3, table=table), batchnorm(), flatten, dense(2)), (3, 6, 6))
    assert norms(folded(network)) == []
    with torch.inference_mode():
        images = torch.rand(2, 3, 6, 6)
        assert_same_scores(folded(network)(images), network(images), 1e-5)
