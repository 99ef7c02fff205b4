"""A 3×3 convolution and its gradients by Winograd's method, for training on a CPU.

Maps (N, C, H, W) lie pixel by pixel, float32 or bfloat16; all arithmetic is float32, so is the weight, and so are its
transformed form and its gradient. `winograd.cpp` does the work: the backward pass transforms the gradient of the
output once, with the relu's mask and the sum for the bias, and uses it for both gradients.

Source: A. Lavin & S. Gray, Fast Algorithms for Convolutional Neural Networks (2016); the points and the transposed
form of the gradients are ours.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from convscope.engine.kernels.operations import Convolving, Kernels, _by_pixel, _like

GRAIN = 16  # channels and filters are multiples of it: the floats in the widest register
MOST_WEIGHTS = 256 * 256  # channels × filters; transformed, they take four times the memory
LEAST_WEIGHTS_HALF = 32 * 32  # for bfloat16 maps: with fewer, torch's own products in bfloat16 are faster
LEAST_PX = 6  # of maps: smaller ones fill no tile
MOST_PADDING = 2
PLACES = 36
TILES = 24  # transformed at a time, forward; with their weights they stay in the caches
TILES_BACK = 36  # and backward, where the gradient of the weights is read and written for each block
MOST_PARTS, PARTS_BYTES = (
    8,
    4 * 2**20,
)  # of the images, each with its own sum for the weight's gradient; memory of all


class Shape(ctypes.Structure):
    """As winograd.cpp takes it; `parts` is used backward only, `pool` forward only."""

    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "pad_top", "pad_left",
        "relu", "pool", "tiles_at_once", "threads", "parts",
    )]  # fmt: skip


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether the method can take this convolution of maps (N, C, H, W), and gains by it (measured)."""
    filters, channels = weight.shape[:2]
    least = LEAST_WEIGHTS_HALF if maps.dtype == torch.bfloat16 else 0
    return (
        Kernels.take(maps)
        and weight.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and (by.stride, by.dilation, by.groups) == ((1, 1), (1, 1), 1)
        and max(by.padding) <= MOST_PADDING
        and min(maps.shape[2:]) >= LEAST_PX
        and channels % GRAIN == filters % GRAIN == 0
        and least <= channels * filters <= MOST_WEIGHTS
    )


class _Winograd(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        relu: bool,
        winograd: Kernels,
    ) -> Tensor:
        maps = _by_pixel(maps)
        shape = _shape(maps, weight, by, relu)
        out = _like(maps, shape.filters, shape.out_height, shape.out_width)
        shift = torch.zeros(shape.filters) if bias is None else bias.detach().contiguous()
        places = _places(weight.detach().permute(2, 3, 1, 0), winograd)
        tiles = scratch(shape, False, winograd)
        winograd.call("convolve", maps, maps, places, shift, out, tiles, shape)
        ctx.save_for_backward(maps, weight, out if relu else None)
        ctx.by, ctx.winograd, ctx.relu = by, winograd, relu
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, weight, out = ctx.saved_tensors
        winograd: Kernels = ctx.winograd
        for_maps, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = _by_pixel(out_gradient)
        shape = _shape(maps, weight, ctx.by, ctx.relu)
        shape.tiles_at_once, shape.parts = TILES_BACK, _parts(shape)
        turned = _places(weight.detach().permute(2, 3, 0, 1), winograd) if for_maps else None
        gradient = _like(maps, *maps.shape[1:]) if for_maps else None
        weights = torch.empty(shape.parts, PLACES, shape.channels, shape.filters) if for_weight else None
        biases = torch.empty(shape.parts, shape.filters)
        tiles = scratch(shape, True, winograd)
        winograd.call(
            "convolve_gradient",
            maps,
            maps,
            out_gradient,
            out,
            turned,
            gradient,
            weights,
            biases,
            tiles,
            shape,
        )
        weight_gradient = None if weights is None else _summed(weights, winograd)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


def _shape(maps: Tensor, weight: Tensor, by: Convolving, relu: bool) -> Shape:
    images, channels, height, width = maps.shape
    out = by.out(maps, weight)
    threads = torch.get_num_threads()
    return Shape(
        images, height, width, channels, len(weight), *out, *by.padding, relu, False, TILES, threads, 1
    )


def _parts(shape: Shape) -> int:
    """How many sums of the weight's gradient: more serve more threads, and cost memory to write and to add up."""
    part_bytes: int = 4 * PLACES * shape.channels * shape.filters
    return max(2, min(MOST_PARTS, PARTS_BYTES // part_bytes))


def scratch(shape: Shape, backward: bool, winograd: Kernels) -> Tensor:
    """Memory for the tiles of every thread."""
    floats = torch.empty(2, dtype=torch.int64)
    winograd.call("scratch", torch.empty(0), floats, shape)
    return torch.empty(int(floats[int(backward)]))


def _places(weight: Tensor, winograd: Kernels) -> Tensor:
    """Weights (3, 3, a, b) at the places of the method: (36, a, b)."""
    weight = weight.contiguous()
    places = torch.empty(PLACES, *weight.shape[2:])
    winograd.call("transform_weight", weight, weight, places, places[0].numel(), torch.get_num_threads())
    return places


def _summed(weights: Tensor, winograd: Kernels) -> Tensor:
    """The gradient (filters, C, 3, 3) of its parts (parts, 36, C, filters)."""
    parts, _, channels, filters = weights.shape
    total = torch.empty(3, 3, channels, filters)
    winograd.call(
        "sum_weight_gradient", weights, weights, total, channels * filters, parts, torch.get_num_threads()
    )
    return total.permute(3, 2, 0, 1)


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, relu: bool, winograd: Kernels
) -> Tensor:
    """relu of the convolution of maps (N, C, H, W) with float32 weight (filters, C, 3, 3); one that `suits`."""
    return _Winograd.apply(maps, weight, bias, by, relu, winograd)  # type: ignore[no-any-return]
