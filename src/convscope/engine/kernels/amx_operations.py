"""Convolutions in bfloat16 with the processor's matrix instructions (Intel's AMX), for training on a CPU.

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
from torch.nn.functional import pad

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
    Pair,
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


def _sizes(maps: Tensor, weight: Tensor, by: Convolving, then: Then) -> _Sizes:
    images, in_channels, *in_size = maps.shape
    form, filters = _form(maps, weight, by), len(weight)
    channels, height, width = form.maps
    numbers = form.window[0] * form.window[1] * channels * filters
    parts = max(2, min(MOST_PARTS, PARTS_BYTES // (4 * numbers)))
    fitting = min(TOGETHER_PX // form.area, MOST_SUMS_BYTES // (4 * form.area * max(channels, filters)))
    together = max(1, min(fitting, -(-images // parts)))
    return _Sizes(
        images,
        height,
        width,
        channels,
        filters,
        *by.out(maps, weight),
        *form.window,
        *form.padding,
        then.relu,
        then.pool,
        torch.get_num_threads(),
        parts,
        together,
        *in_size,
        in_channels,
        *form.patch,
        *form.stride,
        *form.edge,
    )


def _packed(weight: Tensor, sizes: _Sizes, backward: bool, amx: Kernels) -> Tensor:
    """Weights (filters, C, rows, columns), float32, as bfloat16 in the order of the products."""
    lying = weight.detach().permute(0, 2, 3, 1).reshape(sizes.filters, sizes.size_y * sizes.size_x, -1)
    lacking = sizes.channels - lying.shape[2]
    lying = pad(lying, (0, lacking)) if lacking else lying.contiguous()
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
    return torch.empty(sizes.parts, sizes.size_y * sizes.size_x, sizes.channels, sizes.filters)


def _summed(parts: Tensor | None, weight: Tensor, sizes: _Sizes, amx: Kernels) -> Tensor | None:
    """The gradient of the weight (filters, C, rows, columns) of its parts."""
    if parts is None:
        return None
    filters, channels, *size = weight.shape
    total = torch.empty(filters, sizes.size_y * sizes.size_x, sizes.channels)
    amx.call("sum_parts", parts, parts, total, sizes)
    numbers = weight[0].numel() // total.shape[1]  # the others are zeros that fill the grain
    return total[:, :, :numbers].reshape(filters, *size, channels).permute(0, 3, 1, 2)


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
        weight_gradient = _summed(weights, weight, sizes, amx)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then, amx: Kernels
) -> Tensor:
    """What `then` makes of the convolution of maps (N, C, H, W), bfloat16, with float32 weight (filters, C, rows,
    columns); one that `suits`."""
    if fills_grains(maps.shape[1]):
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
        and by.stride == (1, 1)
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
            _summed(weights, weight, sizes, amx),
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
