"""What every way to convolve in one pass owes, whichever instructions it uses: the same bits on every number of
threads, only the gradients that are wanted, and no difference between no bias and one of zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from convscope.engine.kernels import library
from convscope.engine.kernels.method import First, Then
from convscope.engine.kernels.operations import Convolving, Kernels
from convscope.engine.kernels.passes import InOnePass
from convscope.engine.kernels.tiles_operations import tile_method
from convscope.engine.kernels.winograd_operations import winograd_method


@dataclass(frozen=True)
class Way:
    """A way to convolve.

    Args:
        sources: what it is built of.
        kind: "tiles", "winograd", or "half" for Winograd with products of bfloat16 numbers.
        dtype: of the maps it takes here.
    """

    sources: tuple[str, ...]
    kind: str
    dtype: torch.dtype

    @property
    def method(self) -> InOnePass:
        kernels = Kernels(*(found for name in self.sources if (found := library.load(name).library)))
        return tile_method(kernels) if self.kind == "tiles" else winograd_method(kernels, self.kind == "half")


WAYS = {
    "winograd float32": Way(("winograd", "winograd_bfloat16"), "winograd", torch.float32),
    "winograd bfloat16": Way(("winograd", "winograd_bfloat16"), "winograd", torch.bfloat16),
    "winograd half": Way(("winograd", "winograd_half"), "half", torch.bfloat16),
    "tiles": Way(("tiles",), "tiles", torch.bfloat16),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found = WAYS[request.param]
    for name in found.sources:
        if library.load(name).library is None:
            pytest.skip(f"{name} cannot be built on this machine: {library.load(name).reason}")
    return found


def by(padding: tuple[int, int]) -> Convolving:
    return Convolving((1, 1), padding, (1, 1), 1)


def whole(most: int, *shape: int) -> Tensor:
    return torch.randint(-most, most + 1, shape, generator=torch.Generator().manual_seed(0)).float()


def one(way: Way, count: int, channels: int, filters: int, size: tuple[int, int]) -> list[Tensor]:
    """Maps, weight and bias."""
    return [
        whole(4, count, channels, *size).to(way.dtype),
        whole(4, filters, channels, 3, 3) / 16,
        whole(2, filters),
    ]


def two(way: Way, count: int, channels: int, filters: int, size: tuple[int, int]) -> list[Tensor]:
    """Images, and two weights and biases, so small that the maps between are exact."""
    weights = [
        whole(2, 32, channels, 3, 3),
        whole(2, 32),
        whole(2, filters, 32, 3, 3),
        whole(2, filters),
    ]
    return [whole(1, count, channels, *size).to(way.dtype), *weights]


def convolved_twice(way: Way, leaves: list[Tensor], second: Convolving, then: Then) -> Tensor:
    images, first_weight, first_bias, weight, bias = leaves
    first = First(first_weight, first_bias, by((0, 0)))
    return way.method.convolve_two(images, first, weight, bias, second, then)


def gradients(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    entering = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, entering)]


def by_threads(work: Callable[[], list[Tensor]], numbers: tuple[int, ...]) -> list[list[Tensor]]:
    before, found = torch.get_num_threads(), []
    try:
        for threads in numbers:
            torch.set_num_threads(threads)
            found.append(work())
    finally:
        torch.set_num_threads(before)
    return found


def assert_all_equal(found: list[list[Tensor]]) -> None:
    for other in found[1:]:
        assert all(torch.equal(mine, first) for mine, first in zip(other, found[0], strict=True))


@pytest.mark.parametrize("size", [(8, 8), (16, 13), (30, 30)])
def test_every_number_of_threads_gives_the_same_bits(way: Way, size: tuple[int, int]) -> None:
    leaves = [leaf.requires_grad_() for leaf in one(way, 19, 32, 48, size)]

    def work() -> list[Tensor]:
        return gradients(way.method.convolve(*leaves, by((1, 1)), Then(True)), leaves)

    assert_all_equal(by_threads(work, (1, 2, 3, 5)))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("size", [(28, 28), (9, 12)])
def test_two_convolutions_give_the_same_bits_on_every_number_of_threads(
    way: Way, flat: bool, size: tuple[int, int]
) -> None:
    leaves = two(way, 21, 1, 64, size)
    wanted = [leaf.requires_grad_() for leaf in leaves[1:]]
    then = Then(True, True, None, flat)

    def work() -> list[Tensor]:
        return gradients(convolved_twice(way, leaves, by((1, 1)), then), wanted)

    assert_all_equal(by_threads(work, (1, 2, 3)))


def test_only_the_gradients_that_are_wanted_are_made_and_they_are_the_same(way: Way) -> None:
    tensors = one(way, 3, 16, 32, (10, 9))
    every = [leaf.detach().requires_grad_() for leaf in tensors]
    expected = gradients(way.method.convolve(*every, by((1, 1)), Then(True)), every)
    for number in range(3):
        leaves = [leaf.detach().requires_grad_(i == number) for i, leaf in enumerate(tensors)]
        out = way.method.convolve(*leaves, by((1, 1)), Then(True))
        _, found = gradients(out, [leaves[number]])
        assert torch.equal(found, expected[1 + number])


def test_of_two_convolutions_only_the_gradients_that_are_wanted_are_made_and_they_are_the_same(
    way: Way,
) -> None:
    tensors, then = two(way, 9, 1, 16, (12, 12)), Then(True, True)
    every = [tensors[0], *(leaf.detach().requires_grad_() for leaf in tensors[1:])]
    expected = gradients(convolved_twice(way, every, by((0, 0)), then), every[1:])
    for wanted in range(1, 2**4):
        leaves = [leaf.detach().requires_grad_(bool(2 * wanted >> i & 1)) for i, leaf in enumerate(tensors)]
        out = convolved_twice(way, leaves, by((0, 0)), then)
        found = iter(gradients(out, [leaf for leaf in leaves if leaf.requires_grad])[1:])
        for leaf, gradient in zip(leaves, expected, strict=True):
            assert not leaf.requires_grad or torch.equal(next(found), gradient)


def test_without_a_bias_and_with_weights_by_pixel_it_is_the_same_convolution(way: Way) -> None:
    maps, weight, bias = one(way, 2, 16, 32, (9, 9))
    plain = way.method.convolve(maps, weight, torch.zeros_like(bias), by((0, 0)), Then(False))
    turned = weight.to(memory_format=torch.channels_last)
    assert torch.equal(way.method.convolve(maps, turned, None, by((0, 0)), Then(False)), plain)


def test_two_convolutions_without_biases_are_those_with_biases_of_zero(way: Way) -> None:
    images, first_weight, _, weight, _ = two(way, 3, 2, 16, (12, 12))
    first = First(first_weight, None, by((0, 0)))
    without = way.method.convolve_two(images, first, weight, None, by((0, 0)), Then(False))
    leaves = [images, first_weight, torch.zeros(32), weight, torch.zeros(16)]
    assert torch.equal(without, convolved_twice(way, leaves, by((0, 0)), Then(False)))
