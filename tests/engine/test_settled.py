"""Leading layers that never change: in the form that scores, the same numbers and the same gradients behind them."""

from __future__ import annotations

import pytest
import torch

from convscope.engine.fast import fast
from convscope.engine.plan import make_plan
from convscope.engine.settled import Settled
from convscope.net import Net
from convscope.reference import Network
from convscope.training.thawing import Thaw, Thawing

NETS = {
    "norm": "conv(6, 3), batchnorm, relu6, conv(8, 3), batchnorm, relu, globalpool, dense(classes)",
    "block": 'conv(8, 3, padding="same"), batchnorm, relu, residual(conv(8, 3, padding="same"), batchnorm), relu,'
    " globalpool, dense(classes)",
    "pool": "conv(6, 3), relu, maxpool(2), conv(8, 3), relu, globalpool, dense(classes)",
}
UNTIL = {"norm": "conv1", "block": "residual1", "pool": "conv1"}


def trained(text: str, until: str) -> tuple[Network, tuple[str, ...]]:
    """A network whose norms have seen something, frozen up to a layer, and the names that are settled."""
    torch.manual_seed(0)
    network = Net.parse(text).build((3, 12, 12))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    thaw = Thaw(Thawing(freeze_until=until), network.train())
    thaw.at(1.0)
    return network, thaw.settled(network)


@pytest.mark.parametrize("name", NETS)
def test_scores_and_gradients_are_those_of_the_whole_network(name: str) -> None:
    network, settled = trained(NETS[name], UNTIL[name])
    assert len(settled) >= 2
    images = torch.rand(5, 3, 12, 12)
    found = []
    for names in ((), settled):
        network.zero_grad()
        scores, _ = fast(network, make_plan("cpu"), names).training_forward(images)
        scores.square().sum().backward()
        found.append((scores.detach(), [p.grad for p in network.parameters()]))
    (scores, gradients), (again, others) = found
    torch.testing.assert_close(again, scores, atol=1e-5, rtol=1e-4)
    assert [g is None for g in gradients] == [g is None for g in others]
    for gradient, other in zip(gradients, others, strict=True):
        if gradient is not None:
            assert other is not None
            torch.testing.assert_close(other, gradient, atol=1e-4, rtol=1e-3)


def test_weights_are_read_when_the_first_batch_comes() -> None:
    network, settled = trained(NETS["norm"], "conv1")
    operation = Settled(network, settled)
    with torch.no_grad():
        network.get_submodule("conv1").weight.mul_(2.0)
        images = torch.rand(2, 3, 12, 12)
        expected = images
        for name in settled:
            expected = network.get_submodule(name)(expected)
    torch.testing.assert_close(operation(images, None), expected, atol=1e-5, rtol=1e-4)


def test_many_images_go_through_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network, settled = trained(NETS["pool"], "conv1")
    images = torch.rand(7, 3, 12, 12)
    whole = Settled(network, settled)(images, None)
    monkeypatch.setattr("convscope.engine.settled.CACHED_BYTES", 1)
    torch.testing.assert_close(Settled(network, settled)(images, None), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "until", "expected"),
    [
        ("conv(4, 3), dropout(0.5), conv(4, 3), globalpool, dense(classes)", "conv2", ("conv1",)),
        ("conv(4, 3), relu, globalpool, dense(classes)", "conv1", ("conv1", "relu1", "globalpool1")),
        ("conv(4, 3), relu, globalpool, dense(classes)", None, ()),
    ],
)
def test_what_is_settled_ends_at_chance_and_at_what_moves(
    text: str, until: str | None, expected: tuple[str, ...]
) -> None:
    network = Net.parse(text).build((1, 8, 8))
    assert Thaw(Thawing(freeze_until=until), network).settled(network) == expected


def test_nothing_is_settled_without_thawing() -> None:
    network = Net.parse("conv(4, 3), relu, globalpool, dense(classes)").build((1, 8, 8))
    assert Thaw(None, network).settled(network) == ()
