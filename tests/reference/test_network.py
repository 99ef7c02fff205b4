"""The reference is a plain torch module: names, taps, scores, training-only outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.errors import ConvscopeError, ShapeError
from convscope.layers._base import RESERVED_NAMES
from convscope.net import Net

BRANCHED = """
    conv(8, 3, padding=1),
    block("stage1", residual(conv(16, 3, stride=2, padding=1), batchnorm, relu, shortcut="projection"), relu),
    aux(globalpool, dense(classes), weight=0.4, name="side"),
    branches([conv(4, 1)], [maxpool(3, stride=1, padding=1)]),
    globalpool, dense(classes), softmax
"""


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Net.parse(BRANCHED).build((1, 8, 8), classes=5)


def test_names_are_the_same_in_the_table_the_state_dict_and_the_taps(network):
    inference = network.net.infer((1, 8, 8))
    keys = {key.rpartition(".")[0] for key in network.state_dict()}
    named = {step.name for step in inference.steps}
    owners = {key.removesuffix(".projection").removesuffix(".projection_norm") for key in keys}
    assert owners <= named
    assert set(network.activations(torch.rand(2, 1, 8, 8), sorted(named))) == named
    assert "stage1.residual1.conv1.weight" in network.state_dict()
    assert "stage1.residual1.projection.weight" in network.state_dict()
    assert "side.dense1.weight" in network.state_dict()


def test_taps_have_gradients(network):
    taps = network.activations(torch.rand(2, 1, 8, 8), ["stage1.residual1.conv1", "dense1", "stage1"])
    (gradient,) = torch.autograd.grad(taps["dense1"].sum(), taps["stage1.residual1.conv1"])
    assert gradient.shape == taps["stage1.residual1.conv1"].shape
    assert gradient.abs().sum() > 0


def test_taps_leave_no_hooks(network):
    network.activations(torch.rand(2, 1, 8, 8), ["conv1"])
    network.training_forward(torch.rand(2, 1, 8, 8))
    assert not any(module._forward_hooks for module in network.modules())


def test_a_tap_that_does_not_exist_gets_a_suggestion(network):
    with pytest.raises(
        ConvscopeError, match=r"no layer is named 'stage1.conv1'.*Did you mean 'stage1.residual1.conv1'"
    ):
        network.activations(torch.rand(2, 1, 8, 8), ["stage1.conv1"])


def test_scores_come_before_the_softmax_and_probabilities_after(network):
    images = torch.rand(3, 1, 8, 8)
    network.eval()
    assert torch.allclose(network.probabilities(images), network(images).softmax(1))
    taps = network.activations(images, ["dense1", "softmax1"])
    assert torch.equal(taps["dense1"], network(images))
    assert torch.allclose(taps["softmax1"].sum(1), torch.ones(3))


def test_probabilities_without_a_softmax_in_the_net():
    network = Net.parse("flatten, dense(classes)").build((1, 2, 2))
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(network.probabilities(images), network(images).softmax(1))


def test_training_only_outputs_come_from_the_training_forward_alone(network):
    images = torch.rand(3, 1, 8, 8)
    assert isinstance(network(images), torch.Tensor)
    network.eval()
    scores, ((weight, side),) = network.training_forward(images)
    assert weight == 0.4
    assert scores.shape == side.shape == (3, 5)
    assert torch.equal(scores, network(images))


def test_two_training_only_outputs_come_in_order():
    net = Net.parse("aux(flatten, dense(3)), relu, aux(flatten, dense(3), weight=0.5), flatten, dense(3)")
    _, outputs = net.build((1, 4, 4)).training_forward(torch.rand(1, 1, 4, 4))
    assert [weight for weight, _ in outputs] == [0.3, 0.5]


def test_hooks_of_other_people_work(network):
    seen = []
    network.stage1.residual1.conv1.register_forward_hook(lambda module, _, output: seen.append(output.shape))
    network(torch.rand(2, 1, 8, 8))
    assert seen == [(2, 16, 4, 4)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 1, 9, 8), "Build the net for 1×9×8, or resize the images"),
        (torch.rand(1, 8, 8), "Add the batch dimension"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "torch.uint8. Expected float images"),
    ],
)
def test_images_of_another_shape_are_refused(network, images, message):
    with pytest.raises(ShapeError, match=message):
        network(images)


def test_reserved_names_are_those_that_torch_uses():
    """A layer may not be called like anything a module already has, and nothing else is forbidden."""
    network = Net.parse('residual(relu, shortcut="projection"), aux(flatten), dropout(0.5), flatten').build(
        (1, 2, 2)
    )
    taken = {
        name for module in (network, network.residual1, network.aux1, nn.Module()) for name in dir(module)
    }
    public = {name for name in taken if not name.startswith("_")} - {
        "residual1",
        "aux1",
        "dropout1",
        "flatten1",
        "relu1",
    }
    missing = public - RESERVED_NAMES
    assert not missing


def test_everything_is_float32_and_on_the_cpu(network):
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_a_connection_table_is_all_the_weight_there_is():
    net = Net.parse("conv(3, 2, table=((0,), (0, 1), (1,))), flatten")
    network = net.build((2, 4, 4))
    assert network.conv1.weight.shape == (4, 2, 2)
    assert network.conv1.full_weight().shape == (3, 2, 2, 2)
    assert sum(p.numel() for p in network.parameters()) == net.infer((2, 4, 4)).parameters == 4 * 4 + 3
