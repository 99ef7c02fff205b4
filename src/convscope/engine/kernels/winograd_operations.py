"""A 3×3 convolution and its gradients by Winograd's method, for training on a CPU.

Maps (N, C, H, W) lie pixel by pixel, float32 or bfloat16; all arithmetic is float32, so is the weight, and so are its
transformed form and its gradient. `winograd.cpp` does the work: the backward pass transforms the gradient of the
output once, with the relu's mask and the sum for the bias, and uses it for both gradients. A 2×2 pool, relu and dropout
behind the convolution run in the same pass, so that its own maps, four times as large as the pool's, never leave the
registers.

Source: A. Lavin & S. Gray, Fast Algorithms for Convolutional Neural Networks (2016); the points, the transposed form of
the gradients and the form for maps of 2×2 pixels are ours.
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

MOST_WEIGHTS = 256 * 256  # channels × filters; transformed, they take four times the memory
LEAST_WEIGHTS_HALF = 32 * 32  # for bfloat16 maps: with fewer, torch's own products in bfloat16 are faster
LEAST_GAIN = 2.0  # products of the plain sum for each of ours: small maps do not fill their tiles
MOST_PADDING = 2
PLACES = 36
SIDE_PX = 4  # of a tile's output
TILES = 24  # transformed at a time, forward; with their weights they stay in the caches
TILES_BACK = 36  # and backward, where the gradient of the weights is read and written for each block
MOST_PARTS, PARTS_BYTES = (
    8,
    4 * 2**20,
)  # of the images, each with its own sum for the weight's gradient; memory of all


LARGE, SMALL = "", "_small"  # the kinds of tiles, as in the kernels' names


class Shape(ctypes.Structure):
    """As winograd.cpp takes it; `parts` is used backward only."""

    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "pad_top", "pad_left",
        "relu", "pool", "tiles_at_once", "threads", "parts",
    )]  # fmt: skip


def places_of(kind: str) -> int:
    """Products a tile."""
    return 9 if kind == SMALL else PLACES


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether the method can take this convolution of maps (N, C, H, W), and gains by it (measured)."""
    filters, channels = weight.shape[:2]
    whole = channels + missing(channels)
    least = LEAST_WEIGHTS_HALF if maps.dtype == torch.bfloat16 else 0
    return (
        Kernels.take(maps)
        and weight.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and (by.stride, by.dilation, by.groups) == ((1, 1), (1, 1), 1)
        and max(by.padding) <= MOST_PADDING
        and (_gain(*by.out(maps, weight)) * channels / whole >= LEAST_GAIN or is_small(maps, by))
        and filters % GRAIN == 0
        and fills_grains(channels)
        and least <= whole * filters <= MOST_WEIGHTS
    )


def _gain(rows: int, columns: int) -> float:
    """How many products the plain sum makes for each of ours."""
    tiles = -(-rows // SIDE_PX) * -(-columns // SIDE_PX)
    return 9 * rows * columns / (PLACES * tiles)


def is_small(maps: Tensor, by: Convolving) -> bool:
    """Whether these are maps of 2×2 pixels with a border of one, which have tiles of their own."""
    return maps.shape[2:] == (2, 2) and by.padding == (1, 1) and maps.dtype == torch.float32


class _Winograd(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        then: Then,
        winograd: Kernels,
    ) -> Tensor:
        maps = _by_pixel(maps)
        kind, shape = _shape(maps, weight, by, then)
        shrink = 2 if then.pool else 1
        out = _like(maps, shape.filters, shape.out_height // shrink, shape.out_width // shrink)
        winner = torch.empty(out.numel(), dtype=torch.uint8) if then.pool else None
        shift = torch.zeros(shape.filters) if bias is None else bias.detach().contiguous()
        places = _places(weight.detach().permute(2, 3, 1, 0), kind, winograd)
        tiles, drop = scratch(shape, False, winograd, kind), _structure(then.drop)
        winograd.call(f"convolve{kind}", maps, maps, places, shift, out, winner, tiles, shape, drop)
        ctx.save_for_backward(maps, weight, out if then.relu and not then.pool else None, winner)
        ctx.by, ctx.winograd, ctx.then, ctx.scale = by, winograd, then, drop.scale
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, weight, out, winner = ctx.saved_tensors
        winograd: Kernels = ctx.winograd
        for_maps, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = _by_pixel(out_gradient)
        kind, shape = _shape(maps, weight, ctx.by, ctx.then)
        shape.tiles_at_once, shape.parts = TILES_BACK, _parts(shape)
        turned = _places(weight.detach().permute(2, 3, 0, 1), kind, winograd) if for_maps else None
        gradient = _like(maps, *maps.shape[1:]) if for_maps else None
        weights = (
            torch.empty(shape.parts, places_of(kind), shape.channels, shape.filters) if for_weight else None
        )
        biases = torch.empty(shape.parts, shape.filters)
        winograd.call(
            f"convolve_gradient{kind}",
            maps,
            maps,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            turned,
            gradient,
            weights,
            biases,
            scratch(shape, True, winograd, kind),
            shape,
        )
        weight_gradient = None if weights is None else _summed(weights, kind, winograd)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


def _shape(maps: Tensor, weight: Tensor, by: Convolving, then: Then) -> tuple[str, Shape]:
    """The kind of tiles, as the kernels' names have it, and the sizes."""
    images, channels, height, width = maps.shape
    out = by.out(maps, weight)
    threads = torch.get_num_threads()
    kind, padding = (SMALL, (0, 0)) if is_small(maps, by) else (LARGE, by.padding)
    sizes = (images, height, width, channels, len(weight), *out, *padding)
    return kind, Shape(*sizes, then.relu, then.pool, TILES, threads, 1)


def _parts(shape: Shape) -> int:
    """How many sums of the weight's gradient: more serve more threads, and cost memory to write and to add up."""
    part_bytes: int = 4 * PLACES * shape.channels * shape.filters
    return max(2, min(MOST_PARTS, PARTS_BYTES // part_bytes))


def scratch(shape: Shape, backward: bool, winograd: Kernels, kind: str = LARGE) -> Tensor:
    """Memory for the tiles of every thread."""
    floats = torch.empty(2, dtype=torch.int64)
    winograd.call(f"scratch{kind}", torch.empty(0), floats, shape)
    return torch.empty(int(floats[int(backward)]))


def _places(weight: Tensor, kind: str, winograd: Kernels) -> Tensor:
    """Weights (3, 3, a, b) at the places of the method: (places, a · b in panels)."""
    weight = weight.contiguous()
    places = torch.empty(places_of(kind), *weight.shape[2:])
    winograd.call(
        f"transform_weight{kind}", weight, weight, places, *weight.shape[2:], torch.get_num_threads()
    )
    return places


def _summed(weights: Tensor, kind: str, winograd: Kernels) -> Tensor:
    """The gradient (filters, C, 3, 3) of its parts (parts, places, C, filters)."""
    parts, _, channels, filters = weights.shape
    total = torch.empty(3, 3, channels, filters)
    threads = torch.get_num_threads()
    winograd.call(f"sum_weight_gradient{kind}", weights, weights, total, channels, filters, parts, threads)
    return total.permute(3, 2, 0, 1)


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then, winograd: Kernels
) -> Tensor:
    """What `then` makes of the convolution of maps (N, C, H, W) with float32 weight (filters, C, 3, 3); one that
    `suits`."""
    maps, weight = in_whole_grains(maps), in_whole_grains(weight)
    return _Winograd.apply(maps, weight, bias, by, then, winograd)  # type: ignore[no-any-return]


# ---- with the first convolution of the network before it ---------------------------------------------------


def suits_two(images: Tensor, first: First, weight: Tensor, by: Convolving) -> bool:
    """Whether a first convolution and its relu can run in the pass of a second one behind it, so that the maps between
    the two, many times as large as the images, are never in memory."""
    maps = maps_between(images, first)
    return (
        is_few(images, first.weight, first.by)
        and images.dtype == first.weight.dtype == torch.float32
        and maps.shape[1] == weight.shape[1]
        and not missing(weight.shape[1])
        and maps[0].numel() * 4 <= MOST_FIRST_BYTES
        and suits(maps, weight, by)
        and not is_small(maps, by)
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
        winograd: Kernels,
    ) -> Tensor:
        images = _by_pixel(images)
        first = First(first_weight.detach(), first_bias, first_by)
        few, turned = _few(images, first.weight, first_by)
        kind, shape = _shape(maps_between(images, first), weight, by, then)
        shape.tiles_at_once = TILES_BACK
        before = torch.zeros(shape.channels) if first_bias is None else first_bias.detach().contiguous()
        out = _unwritten(images, shape, then)
        winner = torch.empty(out.numel(), dtype=torch.uint8) if then.pool else None
        shift = torch.zeros(shape.filters) if bias is None else bias.detach().contiguous()
        places = _places(weight.detach().permute(2, 3, 1, 0), kind, winograd)
        drop, tiles = _structure(then.drop), _scratch_two(few, shape, False, winograd)
        winograd.call(
            "convolve_two",
            images,
            images,
            turned,
            before,
            places,
            shift,
            out,
            winner,
            then.flat,
            tiles,
            few,
            shape,
            drop,
        )
        ctx.save_for_backward(
            images, turned, before, weight, out if then.relu and not then.pool else None, winner
        )
        ctx.few, ctx.shape, ctx.then, ctx.winograd, ctx.scale = few, shape, then, winograd, drop.scale
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, turned, before, weight, out, winner = ctx.saved_tensors
        shape, winograd = ctx.shape, ctx.winograd
        _, for_first, for_first_bias, for_weight, for_bias = ctx.needs_input_grad[:5]
        out_gradient = _by_pixel(out_gradient)
        shape.parts = _parts(shape)
        places = None
        if for_first or for_first_bias:
            places = _places(weight.detach().permute(2, 3, 0, 1), LARGE, winograd)
        firsts = torch.empty(shape.parts, turned[..., 0].numel() + 1, shape.channels)
        weights = torch.empty(shape.parts, PLACES, shape.channels, shape.filters) if for_weight else None
        biases = torch.empty(shape.parts, shape.filters)
        winograd.call(
            "convolve_two_gradient",
            images,
            images,
            turned,
            before,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            ctx.then.flat,
            places,
            firsts,
            weights,
            biases,
            _scratch_two(ctx.few, shape, True, winograd),
            ctx.few,
            shape,
        )
        total = firsts.sum(0)
        first_gradient = total[:-1].view(turned.shape).permute(3, 2, 0, 1)
        return (
            None,
            first_gradient if for_first else None,
            total[-1] if for_first_bias else None,
            None if weights is None else _summed(weights, LARGE, winograd),
            biases.sum(0) if for_bias else None,
            None,
            None,
            None,
            None,
        )


def _unwritten(images: Tensor, shape: Shape, then: Then) -> Tensor:
    """Vectors or maps, pixel by pixel."""
    shrink = 2 if then.pool else 1
    rows, columns = shape.out_height // shrink, shape.out_width // shrink
    if then.flat:
        return images.new_empty(len(images), shape.filters * rows * columns)
    return _like(images, shape.filters, rows, columns)


def _scratch_two(few: _Few, shape: Shape, backward: bool, winograd: Kernels) -> Tensor:
    floats = torch.empty(2, dtype=torch.int64)
    winograd.call("scratch_two", torch.empty(0), floats, few, shape)
    return torch.empty(int(floats[int(backward)]))


def convolve_two(
    images: Tensor,
    first: First,
    weight: Tensor,
    bias: Tensor | None,
    by: Convolving,
    then: Then,
    winograd: Kernels,
) -> Tensor:
    """What `then` makes of the convolution with weight (filters, C, 3, 3) of the relu of the first convolution of
    images (N, C, H, W); two that `suits_two`. The maps between are made again backward."""
    return _Two.apply(  # type: ignore[no-any-return]
        images, first.weight, first.bias, weight, bias, first.by, by, then, winograd
    )


@dataclass(frozen=True, eq=False)
class WinogradMethod:
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
