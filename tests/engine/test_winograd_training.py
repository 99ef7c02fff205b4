"""Winograd's convolution and its gradients against torch's in float64, over shapes, borders, numbers and threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope.engine import winograd as scoring
from convscope.engine.kernels import library
from convscope.engine.kernels.method import First, Then
from convscope.engine.kernels.operations import Convolving, Drop, Kernels, Pooling, pool
from convscope.engine.kernels.passes import InOnePass
from convscope.engine.kernels.winograd_operations import suits, suits_two, winograd_method

needs_kernel = pytest.mark.skipif(scoring.kernel() is None, reason="no C++ compiler on this machine")
HAS_HALF = library.load("winograd_half").library is not None
needs_half = pytest.mark.skipif(not HAS_HALF, reason="no AVX512-BF16 on this machine")
NAMES = ("output", "maps", "weight", "bias")


def kernels(half: bool = False) -> Kernels:
    names = ("winograd", "winograd_half" if half else "winograd_bfloat16")
    return Kernels(*(found for name in names if (found := library.load(name).library)))


def method(half: bool = False) -> InOnePass:
    return winograd_method(kernels(half), half)


def by(padding: tuple[int, int]) -> Convolving:
    return Convolving((1, 1), padding, (1, 1), 1)


def drawn(count, channels, filters, size, dtype=torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(count, channels, *size, generator=generator).to(dtype)
    weight = torch.randn(filters, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    return maps, weight, torch.randn(filters, generator=generator)


def ours(maps, weight, bias, padding, relu, half=False) -> dict[str, Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in (maps, weight, bias)]
    out = method(half).convolve(*leaves, by(padding), Then(relu))
    return _with_gradients(out, leaves)


def torchs(maps, weight, bias, padding, dtype, mask=None) -> dict[str, Tensor]:
    """The same in another precision; the mask of the relu is given, as rounding may turn a sign near zero."""
    leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in (maps, weight, bias)]
    out = torch.conv2d(*leaves, padding=padding)
    return _with_gradients(out if mask is None else out * mask, leaves)


def _with_gradients(out: Tensor, leaves: list[Tensor]) -> dict[str, Tensor]:
    entering = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(out.dtype)
    return dict(zip(NAMES, (out.detach(), *torch.autograd.grad(out, leaves, entering)), strict=True))


def error(found: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference, as a part of the exact numbers'."""
    return float((found.double() - exact).norm() / exact.norm().clamp_min(1e-30))


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([16, 24, 32, 40, 48, 80]),
    filters=st.sampled_from([16, 32, 64, 144]),
    size=st.tuples(st.integers(3, 21), st.integers(3, 21)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_it_is_torchs_convolution_with_its_gradients(count, channels, filters, size, padding, relu, dtype):
    maps, weight, bias = drawn(count, channels, filters, size, dtype)
    found = ours(maps, weight, bias, padding, relu)
    mask = found["output"] > 0 if relu else None
    exact = torchs(maps, weight, bias, padding, torch.float64, mask)
    rounded = 3e-6 if dtype == torch.float32 else 3e-3  # of bfloat16 maps, half a last place is 2e-3 at most
    for name in NAMES:
        of_maps = name in ("output", "maps")
        assert found[name].shape == exact[name].shape
        assert found[name].dtype == (dtype if of_maps else torch.float32)
        assert error(found[name], exact[name]) < (rounded if of_maps else 3e-6), name


@needs_kernel
@pytest.mark.parametrize("size", [(26, 26), (15, 10), (6, 7)])
@pytest.mark.parametrize(("channels", "filters", "padding"), [(32, 64, (0, 0)), (64, 48, (1, 2))])
def test_its_float32_error_is_a_few_times_that_of_the_plain_sum(size, channels, filters, padding):
    tensors = drawn(4, channels, filters, size)
    exact = torchs(*tensors, padding, torch.float64)
    plain, found = torchs(*tensors, padding, torch.float32), ours(*tensors, padding, False)
    for name in NAMES:
        assert error(found[name], exact[name]) <= 8 * error(plain[name], exact[name]), name


@needs_kernel
@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 60),
    channels=st.sampled_from([16, 24, 48]),
    filters=st.sampled_from([16, 80]),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_maps_of_two_by_two_pixels_have_tiles_of_their_own(count, channels, filters, relu, dtype):
    tensors = drawn(count, channels, filters, (2, 2), dtype)
    found = ours(*tensors, (1, 1), relu)
    exact = torchs(*tensors, (1, 1), torch.float64, found["output"] > 0 if relu else None)
    for name in NAMES:
        rounded = dtype == torch.bfloat16 and name in ("output", "maps")
        assert error(found[name], exact[name]) < (3e-3 if rounded else 1e-6), name
    if dtype == torch.bfloat16 and HAS_HALF:
        found = ours(*tensors, (1, 1), relu, half=True)
        exact = torchs(*tensors, (1, 1), torch.float64, found["output"] > 0 if relu else None)
        assert all(error(found[name], exact[name]) < 0.02 for name in NAMES)


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5),
    filters=st.sampled_from([16, 48]),
    size=st.tuples(st.integers(4, 17), st.integers(4, 17)),
    padding=st.sampled_from([(0, 0), (1, 1)]),
    relu=st.booleans(),
    rate=st.sampled_from([0.0, 0.25, 0.3]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_pool_relu_and_dropout_in_its_pass_are_those_of_a_pass_of_their_own(
    count, filters, size, padding, relu, rate, dtype
):
    library_here = library.load().library
    assert library_here is not None
    drop = Drop(torch.arange(count, dtype=torch.int32) * 77777, rate) if rate else None
    tensors = drawn(count, 16, filters, size, torch.float32)
    found, expected = [], []
    for together, results in ((True, found), (False, expected)):
        maps, weight, bias = (each.detach().requires_grad_() for each in tensors)
        if together:
            numbers = maps.to(dtype)
            out = method().convolve(numbers, weight, bias, by(padding), Then(relu, True, drop))
        else:  # the convolution's own maps stay float32, as they do inside the one pass
            between = method().convolve(maps.to(dtype).float(), weight, bias, by(padding), Then(False))
            half = (between.shape[2] // 2, between.shape[3] // 2)
            pooling = Pooling((2, 2), (2, 2), (0, 0), half)
            out = pool(between, pooling, relu, drop, Kernels(library_here)).to(dtype)
        entering = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        gradients = torch.autograd.grad(out, (maps, weight, bias), entering)
        results.extend((out.detach(), *gradients))
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert error(one, other.double()) < (1e-6 if dtype == torch.float32 else 5e-3)


@needs_kernel
def test_not_a_number_wins_its_window_and_stays_through_the_relu():
    maps, weight, bias = drawn(1, 16, 16, (8, 8))
    maps[0, 3, 0, 0] = float("nan")
    out = method().convolve(maps, weight, bias, by((1, 1)), Then(True, True))
    assert out[0, :, 0, 0].isnan().all()
    assert not out[0, :, 3, 3].isnan().any()


@needs_kernel
@pytest.mark.parametrize("size", [(26, 26), (15, 10)])
def test_its_bfloat16_error_is_less_than_that_of_the_plain_sum(size):
    tensors = drawn(4, 32, 64, size, torch.bfloat16)
    exact = torchs(*tensors, (1, 1), torch.float64)
    plain, found = torchs(*tensors, (1, 1), torch.bfloat16), ours(*tensors, (1, 1), False)
    for name in NAMES:
        assert error(found[name], exact[name]) < error(plain[name], exact[name]), name


@needs_kernel
@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_half)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_a_number_stays_so_through_the_relu(dtype, half):
    maps, weight, bias = drawn(1, 16, 16, (8, 8), dtype)
    maps[0, 3, 4, 4] = float("nan")
    out = method(half).convolve(maps, weight, bias, by((1, 1)), Then(True))
    assert out[0, :, 3:6, 3:6].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "padding"), [(26, 0), (4, 1), (8, 1)])
def test_a_plain_three_by_three_suits(dtype, size, padding):
    maps = torch.zeros(2, 32, size, size, dtype=dtype)
    assert suits(maps, torch.zeros(64, 32, 3, 3), by((padding, padding)))


def test_channels_that_are_no_whole_grains_suit_where_zeros_cost_little():
    maps = torch.zeros(2, 24, 31, 31)
    assert suits(maps, torch.zeros(64, 24, 3, 3), by((1, 1)))
    assert scoring.suits(torch.nn.Conv2d(24, 64, 3))
    assert not scoring.suits(torch.nn.Conv2d(17, 64, 3))


@pytest.mark.parametrize(
    ("maps", "weight", "convolving"),
    [
        (torch.zeros(2, 32, 26, 26).double(), torch.zeros(64, 32, 3, 3), by((0, 0))),
        (torch.zeros(2, 32, 26, 26), torch.zeros(64, 32, 3, 3).double(), by((0, 0))),
        (torch.zeros(2, 32, 26, 26), torch.zeros(64, 32, 5, 5), by((0, 0))),
        (torch.zeros(2, 32, 26, 26), torch.zeros(64, 32, 3, 3), by((3, 0))),
        (torch.zeros(2, 32, 26, 3), torch.zeros(64, 32, 3, 3), by((0, 0))),
        (torch.zeros(2, 32, 5, 5), torch.zeros(64, 32, 3, 3), by((1, 1))),
        (torch.zeros(2, 8, 26, 26), torch.zeros(64, 8, 3, 3), by((0, 0))),
        (torch.zeros(2, 32, 26, 26), torch.zeros(40, 32, 3, 3), by((0, 0))),
        (torch.zeros(2, 512, 8, 8), torch.zeros(512, 512, 3, 3), by((1, 1))),
        (torch.zeros(2, 32, 26, 26), torch.zeros(64, 32, 3, 3), Convolving((2, 2), (0, 0), (1, 1), 1)),
        (torch.zeros(2, 32, 26, 26), torch.zeros(64, 32, 3, 3), Convolving((1, 1), (0, 0), (2, 2), 1)),
        (torch.zeros(2, 64, 26, 26), torch.zeros(64, 32, 3, 3), Convolving((1, 1), (0, 0), (1, 1), 2)),
    ],
)
def test_other_convolutions_do_not_suit(maps, weight, convolving):
    assert not suits(maps, weight, convolving)


# ---- with products of bfloat16 numbers ------------------------------------------------------------------------------


@needs_half
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([16, 24, 32, 48, 80]),
    filters=st.sampled_from([16, 32, 64, 144]),
    size=st.tuples(st.integers(3, 21), st.integers(3, 21)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
)
def test_products_of_bfloat16_numbers_are_near(count, channels, filters, size, padding, relu):
    tensors = drawn(count, channels, filters, size, torch.bfloat16)
    found = ours(*tensors, padding, relu, half=True)
    exact = torchs(*tensors, padding, torch.float64, found["output"] > 0 if relu else None)
    for name in NAMES:
        assert found[name].dtype == (torch.bfloat16 if name in ("output", "maps") else torch.float32)
        assert error(found[name], exact[name]) < (3e-6 if name == "bias" else 0.02), name


@needs_half
@pytest.mark.parametrize("size", [(26, 26), (15, 10)])
def test_their_error_is_a_few_times_that_of_the_plain_sum_in_bfloat16(size):
    tensors = drawn(4, 32, 64, size, torch.bfloat16)
    exact = torchs(*tensors, (1, 1), torch.float64)
    plain = torchs(*tensors, (1, 1), torch.bfloat16)
    found = ours(*tensors, (1, 1), False, half=True)
    for name in NAMES:
        assert error(found[name], exact[name]) < 8 * error(plain[name], exact[name]), name


# ---- with the first convolution of the network before it -----------------------------------------------------------


def two(
    leaves: list[Tensor], first_by: Convolving, second: Convolving, then: Then, half: bool = False
) -> dict[str, Tensor]:
    """The pass of two convolutions, with the gradients of both weights and both biases."""
    images, first_weight, first_bias, weight, bias = leaves
    out = method(half).convolve_two(
        images, First(first_weight, first_bias, first_by), weight, bias, second, then
    )
    return _with_gradients_of(out, leaves[1:])


def _with_gradients_of(out: Tensor, leaves: list[Tensor]) -> dict[str, Tensor]:
    entering = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(out, leaves, entering.to(out.dtype))
    names = ("output", "first weight", "first bias", "weight", "bias")
    return dict(zip(names, (out.detach(), *found), strict=True))


def drawn_two(count, channels, between, filters, size, window) -> list[Tensor]:
    """Images, weights and biases, small whole numbers, so that the maps between are exact, and every relu and every
    pool decides alike however they are added up."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape):
        return torch.randint(-4, 5, shape, generator=generator).float()

    tensors = [
        whole(count, channels, *size),
        whole(between, channels, *window),
        whole(between),
        whole(filters, between, 3, 3),
        whole(filters),
    ]
    return [tensors[0], *(tensor.requires_grad_() for tensor in tensors[1:])]


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 19),
    channels=st.integers(1, 4),
    between=st.sampled_from([32, 64]),
    filters=st.sampled_from([16, 48, 64]),
    size=st.tuples(st.integers(8, 22), st.integers(8, 22)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.sampled_from([(1, 1), (1, 2), (2, 1)]),
    first_padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
    behind=st.sampled_from(["nothing", "pool", "pool and flatten"]),
    rate=st.sampled_from([0.0, 0.25, 0.3]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_two_convolutions_in_one_pass_are_those_one_after_the_other(
    count, channels, between, filters, size, window, stride, first_padding, padding, relu, behind, rate, dtype
):
    """In bfloat16 only what goes out and comes back is rounded."""
    leaves = drawn_two(count, channels, between, filters, size, window)
    leaves[0] = leaves[0].to(dtype)
    first_by = Convolving(stride, first_padding, (1, 1), 1)
    assume(suits_two(leaves[0], First(leaves[1], leaves[2], first_by), leaves[3], by(padding)))
    pooled, flat = behind != "nothing", behind == "pool and flatten"
    drop = Drop(torch.arange(count, dtype=torch.int32) * 7919, rate) if pooled and rate else None
    then = Then(relu, pooled, drop, flat)
    found = two(leaves, first_by, by(padding), then)
    images, first_weight, first_bias, weight, bias = leaves
    maps = torch.conv2d(images.float(), first_weight, first_bias, stride, first_padding).relu()
    out = method().convolve(maps, weight, bias, by(padding), then)
    apart = _with_gradients_of((out.flatten(1) if flat else out).to(dtype), leaves[1:])
    assert torch.equal(found["output"], apart["output"])
    for name, tensor in apart.items():
        assert found[name].shape == tensor.shape
        assert error(found[name], tensor.double()) < 3e-6, name


@needs_half
@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 19),
    channels=st.integers(1, 3),
    filters=st.sampled_from([16, 48, 64]),
    size=st.tuples(st.integers(8, 22), st.integers(8, 22)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    behind=st.sampled_from(["nothing", "pool", "pool and flatten"]),
)
def test_two_convolutions_with_products_of_bfloat16_numbers_are_those_one_after_the_other(
    count, channels, filters, size, padding, behind
):
    images, *leaves = drawn_two(count, channels, 32, filters, size, (3, 3))
    first_weight, first_bias, weight, bias = leaves
    images = images.sign()  # so that the maps between are exact in bfloat16
    assume(suits_two(images, First(first_weight, first_bias, by((0, 0))), weight, by(padding)))
    then = Then(True, behind != "nothing", None, behind == "pool and flatten")
    found = two([images.bfloat16(), *leaves], by((0, 0)), by(padding), then, half=True)
    maps = torch.conv2d(images, first_weight, first_bias).relu()
    assert torch.equal(maps, maps.bfloat16().float())
    out = method(half=True).convolve(maps.bfloat16(), weight, bias, by(padding), then)
    apart = _with_gradients_of(out.flatten(1) if then.flat else out, leaves)
    assert torch.equal(found["output"], apart["output"])
    for name, tensor in apart.items():
        # The maps' gradient is rounded between two passes, and not within one; its sums may nearly cancel.
        assert error(found[name], tensor.double()) < (0.02 if name.startswith("first") else 3e-6), name


@needs_kernel
def test_no_number_in_a_picture_stays_so_through_both_convolutions():
    leaves = drawn_two(2, 1, 32, 16, (10, 10), (3, 3))
    leaves[0][1, 0, 4, 4] = torch.nan
    out = two(leaves, by((0, 0)), by((0, 0)), Then(True))["output"]
    assert not out[0].isnan().any()
    assert out[1].isnan().any()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 12, 12).double(),
        torch.zeros(2, 1, 12, 12, requires_grad=True),
        torch.zeros(2, 1, 120, 120),  # 1.8 MB of maps between the two
        torch.zeros(2, 1, 6, 6),  # nothing is left for Winograd's method to gain
    ],
)
def test_other_beginnings_of_a_network_run_one_after_the_other(images):
    first = First(torch.zeros(32, 1, 3, 3), None, by((0, 0)))
    assert suits_two(torch.zeros(2, 1, 12, 12), first, torch.zeros(64, 32, 3, 3), by((0, 0)))
    assert not suits_two(images, first, torch.zeros(64, 32, 3, 3), by((0, 0)))
