"""Convolution moves with the picture, exactly; pooling hardly; a global maximum not at all (the lecture's L12)."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from convscope.layers import conv, globalpool, maxpool, relu
from convscope.net import Net

SIDE = 41
CONFIGURATIONS = [
    conv(3, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
    for kernel, stride, padding, dilation, groups, bias in product(
        (1, 2, 3, 5, (2, 3)), (1, 2), (0, 1, (1, 0, 2, 1), "same"), (1, 2), (1, 3), (True, False)
    )
] + [conv(3, 3, stride=stride, table=((0, 1), (2,), (0, 1, 2))) for stride in (1, 2)]


def digit(rows: int, columns: int) -> torch.Tensor:
    """A small random picture, (1, 3, SIDE, SIDE), far from the edges of a background of zeros."""
    torch.manual_seed(0)
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[:, :, 16 + rows : 22 + rows, 16 + columns : 22 + columns] = torch.randint(-9, 10, (1, 3, 6, 6))
    return picture


def network(*layers) -> torch.nn.Module:
    """A net whose weights are multiples of 1/256: with whole pixels every sum is exact, in whatever order."""
    torch.manual_seed(1)
    module = Net(*layers).build((3, SIDE, SIDE)).eval()
    for parameter in module.parameters():
        parameter.data = (torch.randn_like(parameter) * 256).round() / 256
    return module


@pytest.mark.parametrize("layer", CONFIGURATIONS, ids=str)
def test_convolution_of_a_moved_picture_is_the_moved_convolution(layer):
    module = network(layer)
    stride = layer.stride
    still, moved = module(digit(0, 0)), module(digit(2 * stride, -stride))
    shifted = torch.roll(still, (2, -1), dims=(2, 3))
    # Away from the padding every number is the same number, not nearly the same.
    inner = (..., slice(4, -4), slice(4, -4))
    assert torch.equal(moved[inner], shifted[inner])
    assert not torch.equal(moved[inner], still[inner])


def test_after_pooling_it_is_not_exactly_so():
    module = network(conv(4, 3), relu, maxpool(2))
    still, moved = module(digit(0, 0)), module(digit(1, 0))
    assert not torch.equal(moved, still)
    assert not torch.equal(moved, torch.roll(still, 1, dims=2))
    # The pool has made the change smaller than it was before.
    before = network(conv(4, 3), relu)
    assert relative(moved, still) < relative(before(digit(1, 0)), before(digit(0, 0)))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def test_after_a_global_maximum_exactly():
    module = network(conv(4, 3), relu, globalpool("max"))
    assert torch.equal(module(digit(0, 0)), module(digit(5, -3)))


def test_the_kernel_is_not_flipped():
    module = Net(conv(1, (1, 2), bias=False)).build((1, 1, 3))
    module.conv1.weight.data = torch.tensor([[[[1.0, 10.0]]]])
    assert module(torch.tensor([[[[1.0, 2.0, 3.0]]]])).flatten().tolist() == [21.0, 32.0]
