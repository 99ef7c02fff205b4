"""Convolutions in bfloat16 by products of tiles, for training on a CPU with AMX or AVX512-BF16.

Maps (N, C, H, W) lie pixel by pixel, bfloat16; weights and their gradients are float32. `tiles.cpp` does the work. The
library that torch brings has these instructions too, but writes every map to memory and reads it again for pool, relu
and dropout; here a few images at a time stay in the second cache.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

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
from convscope.engine.kernels.operations import Convolving, Kernels, Pair, is_few
from convscope.engine.kernels.passes import InOnePass

DEEP = 32  # numbers that one instruction sums
MOST_WEIGHTS = 256 * 256 * 9
MOST_SUMS_BYTES = 2**20  # of an image, between products and what is written: they stay in the second cache
TOGETHER_PX = 512  # so many pixels at a time, if images are smaller
# Parts of the images, each with its own sum for the weight's gradient, and the memory of all.
MOST_PARTS, PARTS_BYTES = 16, 8 * 2**20


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "size_y", "size_x", "pad_y",
        "pad_x", "relu", "pool", "threads", "parts", "together", "in_height", "in_width", "in_channels", "patch_y",
        "patch_x", "stride_y", "stride_x", "edge_y", "edge_x",
    )]  # fmt: skip


@dataclass(frozen=True)
class _Form:
    """A convolution as the kernels multiply it.

    Args:
        maps: (C, H, W) of what is multiplied.
        window: (rows, columns) over it.
        padding: zeros around it.
        patch: (rows, columns) of the maps in memory that are one pixel's channels; (1, 1) where they are multiplied as
            they lie.
        stride: from one patch to the next.
        edge: zeros before the first.
    """

    maps: tuple[int, int, int]
    window: Pair
    padding: Pair
    patch: Pair = (1, 1)
    stride: Pair = (1, 1)
    edge: Pair = (0, 0)

    @property
    def area(self) -> int:
        """Pixels of an image with the border that it shares with the next."""
        return (self.maps[1] + self.padding[0]) * (self.maps[2] + self.padding[1])


def _form(maps: Tensor, weight: Tensor, by: Convolving) -> _Form:
    """As they lie for steps of one; whole windows as one pixel for others; rows of a window where channels are few."""
    _, channels, height, width = maps.shape
    size_y, size_x = weight.shape[2:]
    if by.stride == (1, 1) and not missing(channels):
        return _Form((channels, height, width), (size_y, size_x), by.padding)
    rows, columns = by.out(maps, weight)
    if by.stride == (1, 1):
        flat = (_whole(size_x * channels), height + 2 * by.padding[0], columns)
        return _Form(flat, (size_y, 1), (0, 0), (1, size_x), (1, 1), by.padding)
    flat = (_whole(size_y * size_x * channels), rows, columns)
    return _Form(flat, (1, 1), (0, 0), (size_y, size_x), by.stride, by.padding)


def _whole(numbers: int) -> int:
    return numbers + missing(numbers)


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether the method can take this convolution of maps (N, C, H, W), and gains by it (measured)."""
    filters, channels, *size = weight.shape
    if not (
        maps.device.type == "cpu"
        and maps.dtype == torch.bfloat16
        and weight.dtype == torch.float32
        and (by.dilation, by.groups) == ((1, 1), 1)
        and all(padding < side for padding, side in zip(by.padding, size, strict=True))
        and filters % GRAIN == 0
        and weight.numel() <= MOST_WEIGHTS
        and (fills_grains(channels) or _is_picture(maps, weight, by))
    ):
        return False
    form = _form(maps, weight, by)
    return form.area * max(_whole(form.maps[0]), filters) * 4 <= MOST_SUMS_BYTES


def _is_picture(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether these are maps of few channels that need no gradient, and too many numbers a window for `is_few`."""
    return not maps.requires_grad and not is_few(maps, weight, by) and weight.shape[1] < GRAIN


def suits_two(images: Tensor, first: First, weight: Tensor, by: Convolving) -> bool:
    """Whether a first convolution of images (N, C, H, W) and its relu can run in the pass of this one behind it."""
    return (
        images.dtype == torch.bfloat16
        and fits_between(images, first, weight)
        and by.stride == (1, 1)
        and suits(maps_between(images, first), weight, by)
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """A convolution as tiles.cpp takes it; see `passes.Work`."""

    kernels: Kernels
    sizes: _Sizes
    kind: str = ""

    def backward(self) -> _Work:
        return self

    def packed(self, weight: Tensor, turned: bool) -> Tensor:
        """As bfloat16 in the order of the products."""
        sizes = self.sizes
        lying = weight.permute(0, 2, 3, 1).reshape(sizes.filters, sizes.size_y * sizes.size_x, -1)
        lacking = sizes.channels - lying.shape[2]
        lying = pad(lying, (0, lacking)) if lacking else lying.contiguous()
        numbers, columns = (sizes.filters, sizes.channels) if turned else (sizes.channels, sizes.filters)
        deep = -(-sizes.size_x * numbers // DEEP) * DEEP
        packed = torch.empty(sizes.size_y * deep * columns, dtype=torch.bfloat16)
        self.kernels.call("pack_backward" if turned else "pack_forward", lying, lying, packed, sizes)
        return packed

    def weight_parts(self) -> Tensor:
        sizes = self.sizes
        return torch.empty(sizes.parts, sizes.size_y * sizes.size_x, sizes.channels, sizes.filters)

    def summed(self, parts: Tensor, weight: Tensor) -> Tensor:
        filters, channels, *size = weight.shape
        total = torch.empty(filters, parts.shape[1], self.sizes.channels)
        self.kernels.call("sum_parts", parts, parts, total, self.sizes)
        numbers = weight[0].numel() // total.shape[1]  # the others are zeros that fill the grain
        return total[:, :, :numbers].reshape(filters, *size, channels).permute(0, 3, 1, 2)


def _work(kernels: Kernels, maps: Tensor, weight: Tensor, by: Convolving, then: Then) -> _Work:
    images, in_channels, *in_size = maps.shape
    form, filters = _form(maps, weight, by), len(weight)
    channels, height, width = form.maps
    numbers = form.window[0] * form.window[1] * channels * filters
    parts = parts_of(4 * numbers, MOST_PARTS, PARTS_BYTES, least=4)
    fitting = min(TOGETHER_PX // form.area, MOST_SUMS_BYTES // (4 * form.area * max(channels, filters)))
    together = max(1, min(fitting, -(-images // parts)))
    of_products = (
        images,
        height,
        width,
        channels,
        filters,
        *by.out(maps, weight),
        *form.window,
        *form.padding,
    )
    passing = (then.relu, then.pool, torch.get_num_threads(), parts, together)
    of_patches = (*in_size, in_channels, *form.patch, *form.stride, *form.edge)
    return _Work(kernels, _Sizes(*of_products, *passing, *of_patches))


def tile_method(kernels: Kernels, pictures: bool = True) -> InOnePass:
    """Products of tiles, with these kernels.

    Args:
        pictures: whether also for pictures of few channels; torch's are faster without matrix instructions.
    """
    takes = suits if pictures else _suits_maps
    return InOnePass(takes, suits_two, functools.partial(_work, kernels))


def _suits_maps(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    return fills_grains(weight.shape[1]) and suits(maps, weight, by)
