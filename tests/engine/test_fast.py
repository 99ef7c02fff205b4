"""The fast form shares the reference's parameters and computes the same; random nets are in test_properties."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope import nets
from convscope.engine import Draw, fast
from convscope.engine.fast import _pool_first
from convscope.net import Net


def pair(net, shape):
    torch.manual_seed(0)
    reference, copy = net.build(shape), net.build(shape)
    copy.load_state_dict(reference.state_dict())
    return reference, fast(copy)


@pytest.mark.parametrize("name", nets.names())
@pytest.mark.parametrize("training", [True, False])
def test_every_network_of_the_zoo_is_the_same_fast(name, training):
    entry = nets.get(name)
    reference, quick = pair(entry.net, entry.input_shape)
    images = torch.rand(4, *entry.input_shape)
    for form in (reference, quick):
        form.train(training)
        form.set_draw(Draw(0, 0, torch.arange(4)))
    expected, scores = reference(images), quick(images)
    assert torch.allclose(scores, expected, rtol=1e-5, atol=1e-6)
    expected.square().sum().backward()
    scores.square().sum().backward()
    for (parameter_name, one), (_, other) in zip(
        reference.named_parameters(), quick.reference.named_parameters(), strict=True
    ):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-6), parameter_name


def test_parameters_are_the_very_same_and_names_stay():
    reference = nets.get("lecture").net.build((1, 28, 28))
    names = list(reference.state_dict())
    identities = [id(p) for p in reference.parameters()]
    quick = fast(reference)
    assert [id(p) for p in quick.parameters()] == identities
    assert quick.reference is reference
    assert list(reference.state_dict()) == names


def test_a_step_on_the_fast_form_moves_the_reference():
    reference = Net.parse("conv(2, 3), flatten, dense(classes)").build((1, 5, 5))
    before = reference.conv1.weight.detach().clone()
    quick = fast(reference)
    optimizer = torch.optim.SGD(quick.parameters(), lr=1.0)
    quick(torch.rand(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    assert not torch.equal(reference.conv1.weight, before)


def test_modes_are_shared():
    reference = nets.get("lecture").net.build((1, 28, 28))
    quick = fast(reference)
    quick.eval()
    assert not reference.training
    quick.train()
    assert reference.dropout1.training


def test_relu_moves_behind_a_max_pool_and_nothing_else_moves():
    relu, pool, conv = nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)
    assert _pool_first([conv, relu, pool]) == [conv, pool, relu]
    assert _pool_first([relu, conv, pool]) == [relu, conv, pool]
    mean = nn.AvgPool2d(2)
    assert _pool_first([relu, mean]) == [relu, mean]


def test_relu_and_max_pool_commute_bit_for_bit_with_their_gradients():
    torch.manual_seed(0)
    # Whole numbers, so that ties, zeros and windows without a positive number all come.
    images = torch.randint(-3, 4, (8, 4, 12, 12)).float().requires_grad_()
    for pool in (nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)):
        one, other = pool(images.relu()), pool(images).relu()
        assert torch.equal(one, other)
        direction = torch.randn_like(one)
        (grad_one,) = torch.autograd.grad((one * direction).sum(), images)
        (grad_other,) = torch.autograd.grad((other * direction).sum(), images)
        assert torch.equal(grad_one, grad_other)


@pytest.mark.gpu
def test_the_fast_form_on_a_gpu_gives_the_cpu_s_scores():
    entry = nets.get("lecture")
    reference, quick = pair(entry.net, entry.input_shape)
    images = torch.rand(16, 1, 28, 28)
    expected = reference.eval()(images)
    scores = quick.cuda().eval()(images.cuda()).cpu()
    assert torch.allclose(scores, expected, rtol=1e-2, atol=1e-3)  # the GPU may multiply in TF32
