"""Convolutions and dense layers by products of tiles in bfloat16, and their gradients, against torch's in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope import nets
from convscope.engine import Plan, fast
from convscope.engine.kernels import library
from convscope.engine.kernels.method import First, Then
from convscope.engine.kernels.operations import Convolving, Drop, Kernels, Pooling, pool
from convscope.engine.kernels.tile_products_operations import TileDense, suits_dense
from convscope.engine.kernels.tiles_operations import suits, suits_two, tile_method

needs_tiles = pytest.mark.skipif(
    library.load("tiles").library is None, reason="neither AMX nor AVX512-BF16 on this machine"
)
NAMES = ("output", "maps", "weight", "bias")
HALF = torch.bfloat16
ROUNDED = 3e-3  # of what is written in bfloat16, half a last place is 2e-3 at most


def kernels(name: str = "tiles") -> Kernels:
    found = library.load(name).library
    assert found is not None
    return Kernels(found)


def by(padding: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> Convolving:
    return Convolving(stride, padding, (1, 1), 1)


def drawn(count, channels, filters, size, window=(3, 3)) -> list[Tensor]:
    """Maps, weight and bias; the weight is exact in bfloat16, so that only sums and what is written are rounded."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(count, channels, *size, generator=generator).to(HALF)
    weight = torch.randn(filters, channels, *window, generator=generator) / (channels * 9) ** 0.5
    return [maps, weight.to(HALF).float(), torch.randn(filters, generator=generator)]


def entering(out: Tensor) -> Tensor:
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(HALF).to(out.dtype)


def gradients(out: Tensor, leaves: list[Tensor], names: tuple[str, ...] = NAMES) -> dict[str, Tensor]:
    return dict(zip(names, (out.detach(), *torch.autograd.grad(out, leaves, entering(out))), strict=True))


def ours(maps, weight, bias, padding, relu, stride=(1, 1)) -> dict[str, Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in (maps, weight, bias)]
    return gradients(tile_method(kernels()).convolve(*leaves, by(padding, stride), Then(relu)), leaves)


def torchs(maps, weight, bias, padding, mask=None, stride=(1, 1)) -> dict[str, Tensor]:
    """The same in float64; the mask of the relu is given, as rounding may turn a sign near zero."""
    leaves = [leaf.detach().double().requires_grad_() for leaf in (maps, weight, bias)]
    out = torch.conv2d(*leaves, stride, padding)
    return gradients(out if mask is None else out * mask, leaves)


def error(found: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference, as a part of the exact numbers'."""
    return float((found.double() - exact.double()).norm() / exact.double().norm().clamp_min(1e-30))


@needs_tiles
@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 40),
    channels=st.sampled_from([16, 24, 32, 48, 80]),
    filters=st.sampled_from([16, 32, 48, 64, 144]),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    stride=st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]),
    relu=st.booleans(),
)
def test_it_is_torchs_convolution_with_its_gradients(
    count, channels, filters, window, size, padding, stride, relu
):
    padding = tuple(min(p, w - 1) for p, w in zip(padding, window, strict=True))
    assume(all(s + 2 * p >= w for s, p, w in zip(size, padding, window, strict=True)))
    tensors = drawn(count, channels, filters, size, window)
    assume(suits(*tensors[:2], by(padding, stride)))
    found = ours(*tensors, padding, relu, stride)
    exact = torchs(*tensors, padding, found["output"] > 0 if relu else None, stride)
    for name in NAMES:
        of_maps = name in ("output", "maps")
        assert found[name].shape == exact[name].shape
        assert found[name].dtype == (HALF if of_maps else torch.float32)
        assert error(found[name], exact[name]) < (ROUNDED if of_maps else 3e-6), name


@needs_tiles
@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.integers(1, 5),
    filters=st.sampled_from([16, 48]),
    window=st.sampled_from([(3, 3), (7, 7), (5, 11)]),
    size=st.tuples(st.integers(11, 33), st.integers(11, 33)),
    stride=st.sampled_from([(1, 1), (2, 2), (4, 3)]),
    padded=st.booleans(),
)
def test_pictures_of_few_channels(count, channels, filters, window, size, stride, padded):
    padding = (window[0] // 2, window[1] // 2) if padded else (0, 0)
    images, weight, bias = drawn(count, channels, filters, size, window)
    assert suits(images, weight, by(padding, stride))
    leaves = [weight.requires_grad_(), bias.requires_grad_()]
    names = ("output", "weight", "bias")
    found = gradients(
        tile_method(kernels()).convolve(images, *leaves, by(padding, stride), Then(False)), leaves, names
    )
    exact = torchs(images, weight, bias, padding, None, stride)
    for name in names:
        assert error(found[name], exact[name]) < (ROUNDED if name == "output" else 3e-6), name


def test_pictures_that_need_a_gradient_or_have_a_kernel_of_their_own_do_not_suit():
    weight = torch.zeros(32, 3, 7, 7)
    assert suits(torch.zeros(2, 3, 32, 32, dtype=HALF), weight, by((3, 3)))
    assert not suits(torch.zeros(2, 3, 32, 32, dtype=HALF, requires_grad=True), weight, by((3, 3)))
    assert not suits(torch.zeros(2, 3, 32, 32, dtype=HALF), torch.zeros(32, 3, 3, 3), by((1, 1)))


@needs_tiles
@pytest.mark.parametrize("size", [(40, 45), (64, 64)])
def test_maps_larger_than_what_is_summed_at_once(size):
    tensors = drawn(3, 32, 32, size)
    assert suits(*tensors[:2], by((1, 1)))
    found, exact = ours(*tensors, (1, 1), False), torchs(*tensors, (1, 1))
    for name in NAMES:
        assert error(found[name], exact[name]) < (ROUNDED if name in ("output", "maps") else 3e-6), name


@needs_tiles
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 9),
    filters=st.sampled_from([16, 48]),
    size=st.tuples(st.integers(4, 17), st.integers(4, 17)),
    padding=st.sampled_from([(0, 0), (1, 1)]),
    relu=st.booleans(),
    rate=st.sampled_from([0.0, 0.25, 0.3]),
)
def test_pool_relu_and_dropout_in_its_pass_are_those_of_a_pass_of_their_own(
    count, filters, size, padding, relu, rate
):
    library_here = library.load().library
    assert library_here is not None
    drop = Drop(torch.arange(count, dtype=torch.int32) * 77777, rate) if rate else None
    maps, weight, bias = drawn_whole(count, 16, filters, size)
    found, expected = [], []
    for together, results in ((True, found), (False, expected)):
        leaves = [each.detach().requires_grad_() for each in (maps, weight, bias)]
        if together:
            out = tile_method(kernels()).convolve(*leaves, by(padding), Then(relu, True, drop))
        else:
            between = torch.conv2d(leaves[0].float(), leaves[1], leaves[2], padding=padding)
            half = (between.shape[2] // 2, between.shape[3] // 2)
            pooling = Pooling((2, 2), (2, 2), (0, 0), half)
            out = pool(between, pooling, relu, drop, Kernels(library_here)).to(HALF)
        results.extend((out.detach(), *torch.autograd.grad(out, leaves, entering(out))))
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert error(one, other) < 8e-3  # gradients are rounded on their way in, scaled by the dropout


def drawn_whole(count, channels, filters, size) -> list[Tensor]:
    """Small whole numbers: every sum is exact, so that every relu and pool decides alike, and ties are frequent."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape):
        return torch.randint(-2, 3, shape, generator=generator).float()

    return [whole(count, channels, *size).to(HALF), whole(filters, channels, 3, 3), whole(filters)]


@needs_tiles
def test_not_a_number_wins_its_window_and_stays_through_the_relu():
    maps, weight, bias = drawn(2, 16, 16, (8, 8))
    maps[0, 3, 0, 0] = float("nan")
    pooled = tile_method(kernels()).convolve(maps, weight, bias, by((1, 1)), Then(True, True))
    assert pooled[0, :, 0, 0].isnan().all()
    assert not pooled[0, :, 3, 3].isnan().any()
    assert not pooled[1].isnan().any()
    out = tile_method(kernels()).convolve(maps, weight, bias, by((1, 1)), Then(True))
    assert out[0, :, :2, :2].isnan().all()


@needs_tiles
def test_torchs_own_matrix_instructions_work_between_ours():
    """Both set the registers up in their own way, in the same threads."""
    tensors = drawn(16, 32, 64, (14, 14))
    left, right = torch.randn(64, 512).to(HALF), torch.randn(512, 48).to(HALF)
    product, out = left @ right, ours(*tensors, (1, 1), True)["output"]
    for _ in range(3):
        assert torch.equal(left @ right, product)
        assert torch.equal(ours(*tensors, (1, 1), True)["output"], out)
    assert error(product, left.double() @ right.double()) < ROUNDED


PLAIN = torch.zeros(2, 32, 26, 26, dtype=HALF)
WEIGHT = torch.zeros(64, 32, 3, 3)


@pytest.mark.parametrize(
    ("maps", "weight", "convolving"),
    [
        (PLAIN.float(), WEIGHT, by((0, 0))),
        (PLAIN, WEIGHT.to(HALF), by((0, 0))),
        (PLAIN, WEIGHT, by((3, 0))),
        (PLAIN, WEIGHT, Convolving((1, 1), (0, 0), (2, 2), 1)),
        (PLAIN, torch.zeros(64, 16, 3, 3), Convolving((1, 1), (0, 0), (1, 1), 2)),
        (PLAIN[:, :8].clone().requires_grad_(), WEIGHT[:, :8], by((0, 0))),
        (PLAIN, WEIGHT[:40], by((0, 0))),
        (torch.zeros(2, 64, 80, 80, dtype=HALF), torch.zeros(64, 64, 3, 3), by((1, 1))),
        (torch.zeros(2, 512, 8, 8, dtype=HALF), torch.zeros(512, 512, 3, 3), by((1, 1))),
    ],
)
def test_other_convolutions_do_not_suit(maps, weight, convolving):
    assert suits(PLAIN, WEIGHT, by((0, 0)))
    assert not suits(maps, weight, convolving)


# ---- with the first convolution of the network before it -----------------------------------------------------------

TWO = ("output", "first weight", "first bias", "weight", "bias")


def two(leaves: list[Tensor], first_by: Convolving, second: Convolving, then: Then) -> dict[str, Tensor]:
    images, first_weight, first_bias, weight, bias = leaves
    first = First(first_weight, first_bias, first_by)
    return gradients(
        tile_method(kernels()).convolve_two(images, first, weight, bias, second, then), leaves[1:], TWO
    )


def drawn_two(count, channels, between, filters, size, window) -> list[Tensor]:
    """Small whole numbers, so that the maps between are exact in bfloat16, too."""
    generator = torch.Generator().manual_seed(0)

    def whole(most, *shape):
        return torch.randint(-most, most + 1, shape, generator=generator).float()

    tensors = [
        whole(2, between, channels, *window),
        whole(2, between),
        whole(2, filters, between, 3, 3),
        whole(2, filters),
    ]
    images = whole(1, count, channels, *size).to(HALF)
    return [images, *(tensor.requires_grad_() for tensor in tensors)]


@needs_tiles
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
)
def test_two_convolutions_in_one_pass_are_those_one_after_the_other(
    count, channels, between, filters, size, window, stride, first_padding, padding, relu, behind, rate
):
    leaves = drawn_two(count, channels, between, filters, size, window)
    first_by = by(first_padding, stride)
    assume(suits_two(leaves[0], First(leaves[1], leaves[2], first_by), leaves[3], by(padding)))
    pooled, flat = behind != "nothing", behind == "pool and flatten"
    drop = Drop(torch.arange(count, dtype=torch.int32) * 7919, rate) if pooled and rate else None
    then = Then(relu, pooled, drop, flat)
    found = two(leaves, first_by, by(padding), then)
    images, first_weight, first_bias, weight, bias = leaves
    maps = torch.conv2d(images.float(), first_weight, first_bias, stride, first_padding).relu()
    assert torch.equal(maps, maps.to(HALF).float())
    out = tile_method(kernels()).convolve(maps.to(HALF), weight, bias, by(padding), then)
    apart = gradients(out.flatten(1) if flat else out, leaves[1:], TWO)
    assert torch.equal(found["output"], apart["output"])
    for name, tensor in apart.items():
        assert found[name].shape == tensor.shape
        # The maps' gradient is rounded between two passes, and not within one; its sums may nearly cancel.
        assert error(found[name], tensor) < (4 * ROUNDED if name.startswith("first") else 3e-6), name


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 12, 12),
        torch.zeros(2, 1, 12, 12, dtype=HALF, requires_grad=True),
        torch.zeros(2, 1, 120, 120, dtype=HALF),  # 1.8 MB of maps between the two
    ],
)
def test_other_beginnings_of_a_network_run_one_after_the_other(images):
    first = First(torch.zeros(32, 1, 3, 3), None, by((0, 0)))
    weight = torch.zeros(64, 32, 3, 3)
    assert suits_two(torch.zeros(2, 1, 12, 12, dtype=HALF), first, weight, by((0, 0)))
    assert not suits_two(images, first, weight, by((0, 0)))


# ---- dense layers ----------------------------------------------------------------------------------------------------

DENSE = ("output", "vectors", "weight", "bias")


def drawn_dense(count, numbers, units) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(units, numbers, generator=generator) / numbers**0.5
    return [
        torch.randn(count, numbers, generator=generator).to(HALF),
        weight.to(HALF).float(),
        torch.randn(units, generator=generator),
    ]


def ours_dense(vectors, weight, bias) -> dict[str, Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in (vectors, weight, bias)]
    return gradients(TileDense(kernels("tile_products")).dense(*leaves), leaves, DENSE)


@needs_tiles
@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 6), numbers=st.integers(1, 70), units=st.integers(1, 9))
def test_a_dense_layer_is_torchs_with_its_gradients(count, numbers, units):
    tensors = drawn_dense(32 * count, 32 * numbers, 32 * units)
    found = ours_dense(*tensors)
    leaves = [leaf.detach().double().requires_grad_() for leaf in tensors]
    exact = gradients(torch.nn.functional.linear(*leaves), leaves, DENSE)
    for name in DENSE:
        of_vectors = name in ("output", "vectors")
        assert found[name].dtype == (HALF if of_vectors else torch.float32)
        assert error(found[name], exact[name]) < (ROUNDED if of_vectors else 3e-6), name


@needs_tiles
def test_a_dense_layer_has_the_same_bits_on_every_number_of_threads():
    vectors, weight, bias = drawn_dense(64, 1152, 96)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(list(ours_dense(vectors, weight, bias).values()))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, first) for one, first in zip(other, found[0], strict=True))


@needs_tiles
def test_of_a_dense_layer_only_the_gradients_that_are_wanted_are_made_and_they_are_the_same():
    tensors = drawn_dense(32, 640, 64)
    every = ours_dense(*tensors)
    for wanted in range(1, 2**3):
        leaves = [leaf.detach().requires_grad_(bool(wanted >> i & 1)) for i, leaf in enumerate(tensors)]
        out = TileDense(kernels("tile_products")).dense(*leaves)
        out.backward(entering(out))
        for name, leaf in zip(DENSE[1:], leaves, strict=True):
            assert leaf.grad is None if not leaf.requires_grad else torch.equal(leaf.grad, every[name])


@pytest.mark.parametrize(
    ("vectors", "weight"),
    [
        (torch.zeros(32, 1024), torch.zeros(64, 1024)),
        (torch.zeros(32, 1024, dtype=HALF), torch.zeros(64, 1024, dtype=HALF)),
        (torch.zeros(33, 1024, dtype=HALF), torch.zeros(64, 1024)),
        (torch.zeros(32, 1040, dtype=HALF), torch.zeros(64, 1040)),
        (torch.zeros(32, 1024, dtype=HALF), torch.zeros(10, 1024)),
        (torch.zeros(32, 128, dtype=HALF), torch.zeros(64, 128)),
        (torch.zeros(2, 16, 1024, dtype=HALF), torch.zeros(64, 1024)),
    ],
)
def test_other_dense_layers_are_torchs(vectors, weight):
    assert suits_dense(torch.zeros(32, 1024, dtype=HALF), torch.zeros(64, 1024))
    assert not suits_dense(vectors, weight)


@needs_tiles
def test_the_lectures_network_runs_in_them():
    """Both convolutions in one pass and the large dense layer: nothing of it is left to torch's library."""
    plan = Plan("cpu", "bfloat16", 2, "channels_last", True, 128, "a test", convolution="amx")
    form = fast(nets.get("lecture").net.build((1, 28, 28)), plan).train()
    scores = form(torch.rand(32, 1, 28, 28))
    names, queue = set(), [scores.grad_fn]
    while queue:
        node = queue.pop()
        names.add(type(node).__name__)
        queue += [before for before, _ in node.next_functions if before is not None]
    assert {"_TwoBackward", "_DenseBackward"} <= names
    assert "_ConvolutionBackward" not in names
