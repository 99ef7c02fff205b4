"""A 3×3 convolution and its gradients by Winograd's method, for training on a CPU.

Maps (N, C, H, W) lie pixel by pixel, float32 or bfloat16; the weight and its gradient are float32, and all arithmetic
is. Only for bfloat16 maps, where the processor multiplies such numbers (AVX512-BF16), maps, weight and gradient are
rounded once they are transformed; sums stay float32. The error is then four to seven times that of the plain sum in
bfloat16, about one part in a hundred, and without a bias.

`winograd.h` does the work: the backward pass transforms the gradient of the output once, with the relu's mask and the
sum for the bias, and uses it for both gradients. A 2×2 pool, relu and dropout behind the convolution run in the same
pass, so that its own maps, four times as large as the pool's, never leave the registers.

Source: A. Lavin & S. Gray, Fast Algorithms for Convolutional Neural Networks (2016); the points, the transposed form of
the gradients and the form for maps of 2×2 pixels are ours.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.engine.kernels.method import (
    GRAIN,
    First,
    Then,
    fills_grains,
    fits_between,
    maps_between,
    missing,
    parts_of,
)
from convscope.engine.kernels.operations import Convolving, Kernels
from convscope.engine.kernels.passes import InOnePass

MOST_WEIGHTS = 256 * 256  # channels × filters; transformed, they take four times the memory
LEAST_GAIN = 2.0  # products of the plain sum for each of ours: small maps do not fill their tiles
MOST_PADDING = 2
PLACES = 36
SIDE_PX = 4  # of a tile's output
TILES = 24  # transformed at a time, forward; with their weights they stay in the caches
TILES_BACK = 36  # and backward, where the gradient of the weights is read and written for each block
# Parts of the images, each with its own sum for the weight's gradient, and the memory of all.
MOST_PARTS, PARTS_BYTES = 8, 5 * 2**20


LARGE, SMALL, HALF = (
    "",
    "_small",
    "_half",
)  # the kinds of tiles, as in the kernels' names; the last behind the others


class Shape(ctypes.Structure):
    """As winograd.h takes it; `parts` is used backward only."""

    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "pad_top", "pad_left",
        "relu", "pool", "tiles_at_once", "threads", "parts",
    )]  # fmt: skip


def places_of(kind: str) -> int:
    """Products a tile."""
    return 9 if kind.startswith(SMALL) else PLACES


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether the method can take this convolution of maps (N, C, H, W), and gains by it (measured)."""
    filters, channels = weight.shape[:2]
    whole = channels + missing(channels)
    return (
        Kernels.take(maps)
        and weight.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and (by.stride, by.dilation, by.groups) == ((1, 1), (1, 1), 1)
        and max(by.padding) <= MOST_PADDING
        and (_gain(*by.out(maps, weight)) * channels / whole >= LEAST_GAIN or is_small(maps, by))
        and filters % GRAIN == 0
        and fills_grains(channels)
        and whole * filters <= MOST_WEIGHTS
    )


def _gain(rows: int, columns: int) -> float:
    """How many products the plain sum makes for each of ours."""
    tiles = -(-rows // SIDE_PX) * -(-columns // SIDE_PX)
    return 9 * rows * columns / (PLACES * tiles)


def is_small(maps: Tensor, by: Convolving) -> bool:
    """Whether these are maps of 2×2 pixels with a border of one, which have tiles of their own."""
    return maps.shape[2:] == (2, 2) and by.padding == (1, 1)


def suits_two(images: Tensor, first: First, weight: Tensor, by: Convolving) -> bool:
    """Whether a first convolution of images (N, C, H, W) and its relu can run in the pass of this one behind it."""
    maps = maps_between(images, first)
    return (
        Kernels.take(images)
        and fits_between(images, first, weight)
        and suits(maps, weight, by)
        and not is_small(maps, by)
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """A convolution as winograd.h takes it; see `passes.Work`."""

    kernels: Kernels
    kind: str
    sizes: Shape

    def backward(self) -> _Work:
        back = Shape.from_buffer_copy(self.sizes)
        back.tiles_at_once, back.parts = TILES_BACK, _parts(back)
        return _Work(self.kernels, self.kind, back)

    def packed(self, weight: Tensor, turned: bool) -> Tensor:
        """At the places of the method: (places, a · b in panels), of the weight as (3, 3, a, b)."""
        weight = weight.permute(2, 3, 0, 1) if turned else weight.permute(2, 3, 1, 0)
        weight, threads = weight.contiguous(), torch.get_num_threads()
        dtype = torch.bfloat16 if self.kind.endswith(HALF) else torch.float32
        places = torch.empty(places_of(self.kind), *weight.shape[2:], dtype=dtype)
        self.kernels.call(f"transform_weight{self.kind}", weight, weight, places, *weight.shape[2:], threads)
        return places

    def weight_parts(self) -> Tensor:
        return torch.empty(self.sizes.parts, places_of(self.kind), self.sizes.channels, self.sizes.filters)

    def summed(self, parts: Tensor, weight: Tensor) -> Tensor:
        count, _, channels, filters = parts.shape
        total, threads = torch.empty(filters, 3, 3, channels), torch.get_num_threads()
        name = f"sum_weight_gradient{self.kind}"
        self.kernels.call(name, parts, parts, total, channels, filters, count, threads)
        return total.permute(0, 3, 1, 2)  # as the weight lies


def _parts(shape: Shape) -> int:
    """How many sums of the weight's gradient: more serve more threads, and cost memory to write and to add up."""
    part_bytes: int = 4 * PLACES * shape.channels * shape.filters
    return parts_of(part_bytes, MOST_PARTS, PARTS_BYTES)


def _work(kernels: Kernels, half: bool, maps: Tensor, weight: Tensor, by: Convolving, then: Then) -> _Work:
    images, channels, height, width = maps.shape
    kind, padding = (SMALL, (0, 0)) if is_small(maps, by) else (LARGE, by.padding)
    if maps.dtype == torch.bfloat16 and half:
        kind += HALF
    sizes = (images, height, width, channels, len(weight), *by.out(maps, weight), *padding)
    shape = Shape(*sizes, then.relu, then.pool, TILES, torch.get_num_threads(), 1)
    return _Work(kernels, kind, shape)


def winograd_method(kernels: Kernels, half: bool) -> InOnePass:
    """Winograd's method, with these kernels.

    Args:
        half: whether those for bfloat16 maps are of winograd_half.cpp.
    """
    return InOnePass(suits, suits_two, functools.partial(_work, kernels, half))
