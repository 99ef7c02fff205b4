"""Our own products, in dense layers and convolutions, against torch's in float64, with gradients, and over threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from convscope.engine.kernels import library
from convscope.engine.kernels.method import Then
from convscope.engine.kernels.operations import Convolving, Kernels
from convscope.engine.kernels.products_operations import OwnProducts, suits, suits_dense

needs_kernel = pytest.mark.skipif(
    library.load("products").library is None, reason="no C++ compiler on this machine"
)


def products() -> Kernels:
    found = library.load("products").library
    assert found is not None
    return Kernels(found)


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def with_gradients(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    entering = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, entering)]


def assert_near(found: list[Tensor], exact: list[Tensor]) -> None:
    """Equal up to the order of additions in float32."""
    for one, other in zip(found, exact, strict=True):
        assert one.shape == other.shape
        assert one.dtype == torch.float32
        assert (one.double() - other).norm() <= 2e-6 * other.norm()


def doubled(leaves: list[Tensor]) -> list[Tensor]:
    return [leaf.detach().double().requires_grad_() for leaf in leaves]


def by(stride, padding) -> Convolving:
    return Convolving(stride, padding, (1, 1), 1)


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40), numbers=st.sampled_from([256, 400, 1040]), units=st.sampled_from([16, 48, 144])
)
def test_a_dense_layer_is_torchs_with_its_gradients(count, numbers, units):
    leaves = drawn((count, numbers), (units, numbers), (units,))
    assert suits_dense(*leaves[:2])
    exact = doubled(leaves)
    found = with_gradients(OwnProducts(products()).dense(*leaves), leaves)
    assert_near(found, with_gradients(functional.linear(*exact), exact))


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([16, 48]),
    filters=st.sampled_from([16, 32, 80]),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
)
def test_a_convolution_is_torchs_with_its_gradients(
    count, channels, filters, size, window, stride, padding, relu
):
    extent = [max(size[k], window[k] - 2 * padding[k]) for k in (0, 1)]
    leaves = drawn((count, channels, *extent), (filters, channels, *window), (filters,))
    assert suits(*leaves[:2], by(stride, padding))
    exact = doubled(leaves)
    found = OwnProducts(products()).convolve(*leaves, by(stride, padding), Then(relu))
    expected = functional.conv2d(*exact, stride=stride, padding=padding)
    expected = expected * (found > 0) if relu else expected  # rounding may turn a sign near zero
    assert_near(with_gradients(found, leaves), with_gradients(expected, exact))


@needs_kernel
def test_only_the_gradients_that_are_wanted_are_made_and_they_are_the_same():
    leaves = drawn((3, 16, 9, 9), (32, 16, 3, 3), (32,))
    every = with_gradients(OwnProducts(products()).convolve(*leaves, by((2, 2), (1, 1)), Then(True)), leaves)
    for number in range(3):
        some = [leaf.detach().requires_grad_(i == number) for i, leaf in enumerate(leaves)]
        found = with_gradients(
            OwnProducts(products()).convolve(*some, by((2, 2), (1, 1)), Then(True)), [some[number]]
        )
        assert torch.equal(found[1], every[number + 1])


@needs_kernel
def test_without_a_bias_and_with_weights_by_pixel_it_is_the_same_convolution():
    maps, weight, bias = drawn((2, 16, 8, 8), (32, 16, 3, 3), (32,))
    plain = OwnProducts(products()).convolve(
        maps, weight, torch.zeros_like(bias), by((2, 2), (1, 1)), Then(False)
    )
    turned = weight.detach().to(memory_format=torch.channels_last)
    assert torch.equal(
        OwnProducts(products()).convolve(maps, turned, None, by((2, 2), (1, 1)), Then(False)), plain
    )


@needs_kernel
def test_every_number_of_threads_gives_the_same_bits():
    of_maps, of_vectors = drawn((19, 32, 8, 8), (48, 32, 3, 3), (48,)), drawn((19, 512), (144, 512), (144,))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            convolved = OwnProducts(products()).convolve(*of_maps, by((2, 2), (1, 1)), Then(True))
            multiplied = OwnProducts(products()).dense(*of_vectors)
            found.append(with_gradients(convolved, of_maps) + with_gradients(multiplied, of_vectors))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(other, found[0], strict=True))


@pytest.mark.parametrize(
    ("maps", "weight", "convolving"),
    [
        (torch.zeros(2, 16, 8, 8).double(), torch.zeros(16, 16, 3, 3), by((2, 2), (1, 1))),
        (torch.zeros(2, 16, 8, 8).bfloat16(), torch.zeros(16, 16, 3, 3), by((2, 2), (1, 1))),
        (torch.zeros(2, 3, 8, 8), torch.zeros(16, 3, 3, 3), by((2, 2), (1, 1))),
        (torch.zeros(2, 16, 8, 8), torch.zeros(10, 16, 3, 3), by((2, 2), (1, 1))),
        (torch.zeros(2, 16, 8, 8), torch.zeros(16, 16, 3, 3), Convolving((1, 1), (0, 0), (2, 2), 1)),
        (torch.zeros(2, 32, 8, 8), torch.zeros(16, 16, 3, 3), Convolving((1, 1), (0, 0), (1, 1), 2)),
        (torch.zeros(2, 1024, 8, 8), torch.zeros(1024, 1024, 3, 3), by((2, 2), (1, 1))),
    ],
)
def test_other_convolutions_do_not_suit(maps, weight, convolving):
    assert not suits(maps, weight, convolving)


@pytest.mark.parametrize(
    ("vectors", "weight"),
    [
        (torch.zeros(2, 512).double(), torch.zeros(16, 512)),
        (torch.zeros(2, 512), torch.zeros(10, 512)),
        (torch.zeros(2, 128), torch.zeros(16, 128)),
        (torch.zeros(2, 3, 512), torch.zeros(16, 512)),
    ],
)
def test_other_dense_layers_do_not_suit(vectors, weight):
    assert not suits_dense(vectors, weight)
