"""The compiled 3×3 convolution against torch's, in float64, over shapes, borders, relu and pool."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convscope.engine import winograd
from convscope.engine.kernels import library
from convscope.engine.winograd import Winograd, joined, suits

needs_kernel = pytest.mark.skipif(winograd.kernel() is None, reason="no C++ compiler on this machine")


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 5),
    maps=st.sampled_from([16, 24, 32, 48, 80]),
    filters=st.sampled_from([16, 32, 64, 144]),
    size=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
    pool=st.booleans(),
    bias=st.booleans(),
)
def test_it_is_torchs_convolution(count, maps, filters, size, padding, relu, pool, bias):
    rows, columns = (size[k] + 2 * padding[k] - 2 for k in (0, 1))
    pool = pool and min(rows, columns) >= 2
    torch.manual_seed(0)
    conv = nn.Conv2d(maps, filters, 3, padding=padding, bias=bias)
    images = torch.randn(count, maps, *size)
    with torch.inference_mode():
        expected = conv.double()(images.double())
        expected = functional.max_pool2d(expected, 2) if pool else expected
        expected = expected.relu() if relu else expected
        found = Winograd(conv.float(), relu, pool)(images)
    assert found.shape == expected.shape
    assert torch.allclose(found.double(), expected, rtol=0, atol=2e-5)


@needs_kernel
def test_maps_too_small_for_its_tiles_are_torchs(monkeypatch):
    conv = nn.Conv2d(16, 16, 3, padding=1)
    one = Winograd(conv, True, False)
    with torch.inference_mode(), monkeypatch.context() as patch:
        patch.setattr(winograd, "transformed", lambda weight: pytest.fail("the method was used"))
        images = torch.randn(3, 16, 2, 2)
        assert torch.equal(one(images), conv(images).relu())
        with pytest.raises(pytest.fail.Exception):
            one(torch.randn(3, 16, 3, 3))


@needs_kernel
def test_its_error_is_a_few_times_that_of_the_plain_sum():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1)
    images = torch.randn(4, 64, 16, 16).relu_()
    with torch.inference_mode():
        plain, ours = conv(images).double(), Winograd(conv, False, False)(images).double()
        exact = conv.double()(images.double())
    assert (ours - exact).square().mean().sqrt() < 10 * (plain - exact).square().mean().sqrt()


@needs_kernel
def test_it_takes_the_relu_and_the_pool_behind_it_and_no_more():
    conv, relu, pool = nn.Conv2d(16, 16, 3), nn.ReLU(), nn.MaxPool2d(2)
    for behind in ([relu, pool], [pool, relu]):
        (one, rest) = joined([conv, *behind, nn.ReLU()])
        assert isinstance(one, Winograd)
        assert (one.relu, one.pool) == (True, True)
        assert isinstance(rest, nn.ReLU)
    one, *rest = joined([conv, nn.MaxPool2d(3), relu])
    assert (one.relu, one.pool, len(rest)) == (False, False, 2)
    one, *rest = joined([conv, nn.MaxPool2d(2, ceil_mode=True)])
    assert (one.pool, len(rest)) == (False, 1)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(1, 16, 3), nn.Conv2d(16, 10, 3), nn.Conv2d(16, 16, 5), nn.Conv2d(16, 16, 3, stride=2),
        nn.Conv2d(16, 16, 3, dilation=2), nn.Conv2d(32, 32, 3, groups=2), nn.Conv2d(512, 512, 3),
        nn.Conv2d(16, 16, 3).double(),
    ],
)  # fmt: skip
def test_other_convolutions_stay_torchs(conv):
    assert not suits(conv)
    assert joined([conv]) == [conv]


def test_without_a_compiler_everything_stays_torchs(monkeypatch):
    monkeypatch.setenv("CONVSCOPE_KERNELS", "off")
    library.load.cache_clear()
    try:
        modules = [nn.Conv2d(16, 16, 3), nn.ReLU()]
        assert joined(modules) == modules
    finally:
        library.load.cache_clear()
