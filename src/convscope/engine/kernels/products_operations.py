"""Dense layers, and convolutions of any window and step, with our own products of matrices, for training on a CPU.

Maps (N, C, H, W) lie pixel by pixel; everything is float32. `products.cpp` does the work. Libraries are made for large
matrices and few shapes: on processors that their makers did not think of first, half of what the chip can do is usual.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from convscope.engine.kernels.method import GRAIN, Then, parts_of
from convscope.engine.kernels.operations import Convolving, Kernels, by_pixel, maps_like

LEAST_NUMBERS = 256  # of a dense layer's input: below it nothing is gained
BLOCK_NUMBERS = 48 * 1024  # in the rows gathered at a time, which stay in the second cache
LEAST_ROWS, MOST_ROWS = 24, 96
MOST_PARTS, PARTS_BYTES = 8, 4 * 2**20  # of the images, each with its own sum for the weights; memory of all
MOST_WEIGHTS_BYTES = 2**24  # larger weights do not come back from the caches


class _Product(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "rows", "count", "columns", "left_row", "left_sum", "right_sum", "right_column", "out_row", "threads",
    )]  # fmt: skip


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "filters", "out_height", "out_width", "size_y", "size_x", "stride_y",
        "stride_x", "pad_y", "pad_x", "relu", "at_once", "threads", "parts",
    )]  # fmt: skip


# ---- dense layers -----------------------------------------------------------------------------------------


def suits_dense(vectors: Tensor, weight: Tensor) -> bool:
    """Whether our products take a dense layer of vectors (N, D) with weight (units, D), and gain by it (measured)."""
    units, numbers = weight.shape
    return (
        Kernels.take(vectors)
        and vectors.dtype == weight.dtype == torch.float32
        and vectors.ndim == 2
        and units % GRAIN == numbers % GRAIN == 0
        and numbers >= LEAST_NUMBERS
    )


class _Dense(Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, weight: Tensor, bias: Tensor | None, products: Kernels) -> Tensor:
        vectors, weight = vectors.contiguous(), weight.detach().contiguous()
        ctx.save_for_backward(vectors, weight)
        ctx.products = products
        return _multiplied(vectors, weight.t(), bias, products)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        vectors, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        for_vectors, for_weight, for_bias = ctx.needs_input_grad[:3]
        return (
            _multiplied(gradient, weight, None, ctx.products) if for_vectors else None,
            _multiplied(gradient.t().contiguous(), vectors, None, ctx.products) if for_weight else None,
            gradient.sum(0) if for_bias else None,
            None,
        )


def _multiplied(left: Tensor, right: Tensor, bias: Tensor | None, products: Kernels) -> Tensor:
    """left (rows, count) times right (count, columns), plus bias (columns,)."""
    (rows, count), columns = left.shape, right.shape[1]
    out = torch.empty(rows, columns)
    sizes = _Product(rows, count, columns, *left.stride(), *right.stride(), columns, torch.get_num_threads())
    products.call("product", left, left, right, None if bias is None else bias.detach(), out, sizes)
    return out


# ---- convolutions -----------------------------------------------------------------------------------------


def suits(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether our products take this convolution of maps (N, C, H, W), and gain by it (measured)."""
    filters, channels = weight.shape[:2]
    return (
        Kernels.take(maps)
        and maps.dtype == weight.dtype == torch.float32
        and (by.dilation, by.groups) == ((1, 1), 1)
        and filters % GRAIN == channels % GRAIN == 0
        and 4 * weight.numel() <= MOST_WEIGHTS_BYTES
    )


class _Patches(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        relu: bool,
        products: Kernels,
    ) -> Tensor:
        maps = by_pixel(maps)
        shape = _shape(maps, weight, by, relu)
        rows = _rows(weight)
        packed = _packed(rows.t(), products)
        out = maps_like(maps, shape.filters, shape.out_height, shape.out_width)
        shift = None if bias is None else bias.detach()
        products.call("convolve", maps, maps, packed, shift, out, _scratch(shape, products), shape)
        ctx.save_for_backward(maps, rows, out if relu else None)
        ctx.shape, ctx.products, ctx.weight_shape = shape, products, weight.shape
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, rows, out = ctx.saved_tensors
        shape, products = ctx.shape, ctx.products
        for_maps, for_weight, for_bias = ctx.needs_input_grad[:3]
        filters, count = rows.shape
        out_gradient = by_pixel(out_gradient)
        turned = _packed(rows, products) if for_maps else None
        gradient = maps_like(maps, *maps.shape[1:]) if for_maps else None
        weights = torch.empty(shape.parts, count * filters) if for_weight else None
        biases = torch.empty(shape.parts, filters)
        products.call(
            "convolve_gradient",
            maps,
            maps,
            out_gradient,
            out,
            turned,
            gradient,
            weights,
            biases,
            _scratch(shape, products),
            shape,
        )
        weight_gradient = None if weights is None else _summed(weights, ctx.weight_shape, products)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


def _shape(maps: Tensor, weight: Tensor, by: Convolving, relu: bool) -> _Shape:
    images, channels, height, width = maps.shape
    filters, _, *size = weight.shape
    at_once = max(LEAST_ROWS, min(MOST_ROWS, BLOCK_NUMBERS // weight[0].numel()) // 6 * 6)
    parts = parts_of(4 * weight.numel(), MOST_PARTS, PARTS_BYTES)
    return _Shape(
        images,
        height,
        width,
        channels,
        filters,
        *by.out(maps, weight),
        *size,
        *by.stride,
        *by.padding,
        relu,
        at_once,
        torch.get_num_threads(),
        parts,
    )


def _rows(weight: Tensor) -> Tensor:
    """Weights (filters, C, rows, columns) as (filters, rows · columns · C), the order of the patches."""
    return weight.detach().permute(0, 2, 3, 1).reshape(len(weight), -1)


def _packed(matrix: Tensor, products: Kernels) -> Tensor:
    """A matrix (count, columns), wherever its numbers lie, in panels of columns."""
    packed = torch.empty(matrix.numel())
    products.call("pack", matrix, matrix, *matrix.stride(), packed, *matrix.shape)
    return packed


def _summed(weights: Tensor, shape: torch.Size, products: Kernels) -> Tensor:
    """The gradient (filters, C, rows, columns) of its parts."""
    filters, channels, *size = shape
    total = torch.empty(filters, *size, channels)
    products.call("sum_parts", weights, weights, total, total[0].numel(), filters, len(weights))
    return total.permute(0, 3, 1, 2)


def _scratch(shape: _Shape, products: Kernels) -> Tensor:
    floats = torch.empty(1, dtype=torch.int64)
    products.call("scratch", torch.empty(0), floats, shape)
    return torch.empty(int(floats))


@dataclass(frozen=True, eq=False)
class OwnProducts:
    """A `PlainMethod` and a `DenseMethod`."""

    kernels: Kernels

    def suits(self, maps: Tensor, weight: Tensor, by: Convolving) -> bool:
        return suits(maps, weight, by)

    def convolve(
        self, maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        return _Patches.apply(maps, weight, bias, by, then.relu, self.kernels)  # type: ignore[no-any-return]

    def suits_dense(self, vectors: Tensor, weight: Tensor) -> bool:
        return suits_dense(vectors, weight)

    def dense(self, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _Dense.apply(vectors, weight, bias, self.kernels)  # type: ignore[no-any-return]
