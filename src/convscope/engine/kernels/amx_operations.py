"""Convolutions of step 1 in bfloat16 with the processor's matrix instructions (Intel's AMX), for training on a CPU.

Maps (N, C, H, W) lie pixel by pixel, bfloat16; weights and their gradients are float32. `amx.cpp` does the work. The
library that torch brings has these instructions too, but writes every map to memory and reads it again for pool, relu
and dropout; here a few images at a time stay in the second cache.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from convscope.engine.kernels.method import (
    GRAIN,
    MOST_FIRST_BYTES,
    First,
    Then,
    fills_grains,
    in_whole_grains,
    maps_between,
    missing,
)
from convscope.engine.kernels.operations import (
    Convolving,
    Kernels,
    _by_pixel,
    _Few,
    _few,
    _like,
    _structure,
    is_few,
)

DEEP = 32  # numbers that one instruction sums
MOST_WEIGHTS = 256 * 256 * 9
MOST_SUMS_BYTES = (
    2**20
)  # of one image, between the products and what is written: they stay in the second cache
TOGETHER_PX = 512  # so many pixels at a time, if images are smaller
MOST_PARTS, PARTS_BYTES = (
    16,
    8 * 2**20,
)  # of the images, each with its own sum for the weight's gradient; memory of all


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "size_y", "size_x", "pad_y",
        "pad_x", "relu", "pool", "threads", "parts", "together",
    )]  # fmt: skip


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether the method can take this convolution of maps (N, C, H, W), and gains by it (measured)."""
    filters, channels, *size = weight.shape
    return (
        maps.device.type == "cpu"
        and maps.dtype == torch.bfloat16
        and weight.dtype == torch.float32
        and (by.stride, by.dilation, by.groups) == ((1, 1), (1, 1), 1)
        and all(padding < side for padding, side in zip(by.padding, size, strict=True))
        and filters % GRAIN == 0
        and fills_grains(channels)
        and weight.numel() <= MOST_WEIGHTS
        and _area(maps, by) * max(channels + missing(channels), filters) * 4 <= MOST_SUMS_BYTES
    )


def _area(maps: Tensor, by: Convolving) -> int:
    """Pixels of an image with the border that it shares with the next."""
    return (maps.shape[2] + by.padding[0]) * (maps.shape[3] + by.padding[1])


def _sizes(maps: Tensor, weight: Tensor, by: Convolving, then: Then) -> _Sizes:
    images, channels, height, width = maps.shape
    filters, _, *size = weight.shape
    out = by.out(maps, weight)
    parts = max(2, min(MOST_PARTS, PARTS_BYTES // (4 * weight.numel())))
    together = max(1, min(TOGETHER_PX // _area(maps, by), -(-images // parts)))
    threads = torch.get_num_threads()
    return _Sizes(
        images,
        height,
        width,
        channels,
        filters,
        *out,
        *size,
        *by.padding,
        then.relu,
        then.pool,
        threads,
        parts,
        together,
    )


def _packed(weight: Tensor, sizes: _Sizes, backward: bool, amx: Kernels) -> Tensor:
    """Weights (filters, C, rows, columns), float32, as bfloat16 in the order of the products."""
    lying = weight.detach().permute(0, 2, 3, 1).contiguous()
    numbers, columns = (sizes.filters, sizes.channels) if backward else (sizes.channels, sizes.filters)
    deep = -(-sizes.size_x * numbers // DEEP) * DEEP
    packed = torch.empty(sizes.size_y * deep * columns, dtype=torch.bfloat16)
    amx.call("pack_backward" if backward else "pack_forward", lying, lying, packed, sizes)
    return packed


def _scratch(sizes: _Sizes, amx: Kernels) -> Tensor:
    """Memory for the images that every thread has in hand."""
    floats = torch.empty(1, dtype=torch.int64)
    amx.call("scratch", torch.empty(0), floats, sizes)
    return torch.empty(int(floats))


def _shift(bias: Tensor | None, filters: int) -> Tensor:
    return torch.zeros(filters) if bias is None else bias.detach().contiguous()


def _parts_of_weight(sizes: _Sizes) -> Tensor:
    return torch.empty(sizes.parts, sizes.size_y, sizes.size_x, sizes.channels, sizes.filters)


class _Amx(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        then: Then,
        amx: Kernels,
    ) -> Tensor:
        maps = _by_pixel(maps)
        sizes = _sizes(maps, weight, by, then)
        shrink = 2 if then.pool else 1
        out = _like(maps, sizes.filters, sizes.out_height // shrink, sizes.out_width // shrink)
        winner = torch.empty(out.numel(), dtype=torch.uint8) if then.pool else None
        packed, shift, drop = (
            _packed(weight, sizes, False, amx),
            _shift(bias, sizes.filters),
            _structure(then.drop),
        )
        amx.call("convolve", maps, maps, packed, shift, out, winner, _scratch(sizes, amx), sizes, drop)
        ctx.save_for_backward(maps, weight, out if then.relu and not then.pool else None, winner)
        ctx.sizes, ctx.amx, ctx.scale = sizes, amx, drop.scale
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, weight, out, winner = ctx.saved_tensors
        sizes, amx = ctx.sizes, ctx.amx
        for_maps, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = _by_pixel(out_gradient)
        packed = _packed(weight, sizes, True, amx) if for_maps else None
        gradient = _like(maps, *maps.shape[1:]) if for_maps else None
        weights = _parts_of_weight(sizes) if for_weight else None
        biases = torch.empty(sizes.parts, sizes.filters)
        amx.call(
            "convolve_gradient",
            maps,
            maps,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            packed,
            gradient,
            weights,
            biases,
            _scratch(sizes, amx),
            sizes,
        )
        weight_gradient = None if weights is None else weights.sum(0).permute(3, 2, 0, 1)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then, amx: Kernels
) -> Tensor:
    """What `then` makes of the convolution of maps (N, C, H, W), bfloat16, with float32 weight (filters, C, rows,
    columns); one that `suits`."""
    maps, weight = in_whole_grains(maps), in_whole_grains(weight)
    return _Amx.apply(maps, weight, bias, by, then, amx)  # type: ignore[no-any-return]


# ---- with the first convolution of the network before it ---------------------------------------------------


def suits_two(images: Tensor, first: First, weight: Tensor, by: Convolving) -> bool:
    """As `Method.suits_two`, for images (N, C, H, W), bfloat16."""
    maps = maps_between(images, first)
    return (
        is_few(images, first.weight, first.by)
        and images.dtype == torch.bfloat16
        and first.weight.dtype == torch.float32
        and maps.shape[1] == weight.shape[1]
        and not missing(weight.shape[1])
        and maps[0].numel() * 4 <= MOST_FIRST_BYTES
        and suits(maps, weight, by)
    )


class _Two(Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        first_weight: Tensor,
        first_bias: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        first_by: Convolving,
        by: Convolving,
        then: Then,
        amx: Kernels,
    ) -> Tensor:
        between = maps_between(images, First(first_weight, first_bias, first_by))
        pictures = _by_pixel(images.float())
        few, turned = _few(pictures, first_weight.detach(), first_by)
        sizes = _sizes(between, weight, by, then)
        before, shift = _shift(first_bias, sizes.channels), _shift(bias, sizes.filters)
        out = _unwritten(images, sizes, then)
        winner = torch.empty(out.numel(), dtype=torch.uint8) if then.pool else None
        packed, drop = _packed(weight, sizes, False, amx), _structure(then.drop)
        memory = _scratch_two(few, sizes, amx)
        amx.call(
            "convolve_two",
            pictures,
            pictures,
            turned,
            before,
            packed,
            shift,
            out,
            winner,
            then.flat,
            memory,
            few,
            sizes,
            drop,
        )
        ctx.save_for_backward(
            pictures, turned, before, weight, out if then.relu and not then.pool else None, winner
        )
        ctx.few, ctx.sizes, ctx.then, ctx.amx, ctx.scale = few, sizes, then, amx, drop.scale
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        pictures, turned, before, weight, out, winner = ctx.saved_tensors
        sizes, amx = ctx.sizes, ctx.amx
        _, for_first, for_first_bias, for_weight, for_bias = ctx.needs_input_grad[:5]
        out_gradient = _by_pixel(out_gradient)
        packed = _packed(weight, sizes, True, amx) if for_first or for_first_bias else None
        firsts = torch.empty(sizes.parts, turned[..., 0].numel() + 1, sizes.channels)
        weights = _parts_of_weight(sizes) if for_weight else None
        biases = torch.empty(sizes.parts, sizes.filters)
        amx.call(
            "convolve_two_gradient",
            pictures,
            pictures,
            turned,
            before,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            ctx.then.flat,
            packed,
            firsts,
            weights,
            biases,
            _scratch_two(ctx.few, sizes, amx),
            ctx.few,
            sizes,
        )
        total = firsts.sum(0)
        first_gradient = total[:-1].view(turned.shape).permute(3, 2, 0, 1)
        return (
            None,
            first_gradient if for_first else None,
            total[-1] if for_first_bias else None,
            None if weights is None else weights.sum(0).permute(3, 2, 0, 1),
            biases.sum(0) if for_bias else None,
            None,
            None,
            None,
            None,
        )


def _unwritten(images: Tensor, sizes: _Sizes, then: Then) -> Tensor:
    """Vectors or maps, pixel by pixel, in the numbers of the images."""
    shrink = 2 if then.pool else 1
    rows, columns = sizes.out_height // shrink, sizes.out_width // shrink
    if then.flat:
        return images.new_empty(len(images), sizes.filters * rows * columns)
    return _like(images, sizes.filters, rows, columns)


def _scratch_two(few: _Few, sizes: _Sizes, amx: Kernels) -> Tensor:
    floats = torch.empty(1, dtype=torch.int64)
    amx.call("scratch_two", torch.empty(0), floats, few, sizes)
    return torch.empty(int(floats))


def convolve_two(
    images: Tensor,
    first: First,
    weight: Tensor,
    bias: Tensor | None,
    by: Convolving,
    then: Then,
    amx: Kernels,
) -> Tensor:
    """As `Method.convolve_two`; two that `suits_two`."""
    return _Two.apply(  # type: ignore[no-any-return]
        images, first.weight, first.bias, weight, bias, first.by, by, then, amx
    )


@dataclass(frozen=True, eq=False)
class AmxMethod:
    """The functions here as a `Method`."""

    kernels: Kernels

    def suits(self, maps: Tensor, weight: Tensor, by: Convolving) -> bool:
        return suits(maps, weight, by)

    def convolve(
        self, maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        return convolve(maps, weight, bias, by, then, self.kernels)

    def suits_two(self, images: Tensor, first: First, weight: Tensor, by: Convolving) -> bool:
        return suits_two(images, first, weight, by)

    def convolve_two(
        self, images: Tensor, first: First, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        return convolve_two(images, first, weight, bias, by, then, self.kernels)
