"""Dense layers in bfloat16 by products of tiles, for training on a CPU with AMX or AVX512-BF16.

Vectors and their gradients are bfloat16; weights and their gradients are float32 and are rounded on their way into the
caches, where torch makes a rounded copy of each in memory. `tile_products.cpp` does the work.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from convscope.engine.kernels.operations import Kernels

GRAIN = 32  # vectors, inputs and outputs are multiples of it
LEAST_NUMBERS = 2**14  # in the weight: below it nothing is gained


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "threads")]


def suits_dense(vectors: Tensor, weight: Tensor) -> bool:
    """Whether our products take a dense layer of vectors (N, D) with weight (units, D), and gain by it (measured)."""
    return (
        vectors.device.type == "cpu"
        and vectors.dtype == torch.bfloat16
        and weight.dtype == torch.float32
        and vectors.ndim == 2
        and all(size % GRAIN == 0 for size in (len(vectors), *weight.shape))
        and weight.numel() >= LEAST_NUMBERS
    )


class _Dense(Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, weight: Tensor, bias: Tensor | None, tiles: Kernels) -> Tensor:
        vectors, weight = vectors.contiguous(), weight.detach().contiguous()
        sizes = _Sizes(*vectors.shape, len(weight), torch.get_num_threads())
        out = vectors.new_empty(len(vectors), len(weight))
        shift = None if bias is None else bias.detach().contiguous()
        tiles.call("dense", vectors, vectors, weight, shift, out, _scratch(sizes, False, tiles), sizes)
        ctx.save_for_backward(vectors, weight)
        ctx.sizes, ctx.tiles = sizes, tiles
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        vectors, weight = ctx.saved_tensors
        sizes, tiles = ctx.sizes, ctx.tiles
        for_vectors, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = out_gradient.contiguous()
        gradient = torch.empty_like(vectors) if for_vectors else None
        weights = torch.empty_like(weight) if for_weight else None
        tiles.call(
            "dense_gradient",
            vectors,
            vectors,
            weight,
            out_gradient,
            out_gradient.t().contiguous(),
            gradient,
            weights,
            _scratch(sizes, True, tiles),
            sizes,
        )
        return gradient, weights, out_gradient.float().sum(0) if for_bias else None, None


def _scratch(sizes: _Sizes, backward: bool, tiles: Kernels) -> Tensor:
    floats = torch.empty(2, dtype=torch.int64)
    tiles.call("scratch", torch.empty(0), floats, sizes)
    return torch.empty(int(floats[int(backward)]))


@dataclass(frozen=True, eq=False)
class TileDense:
    """A `DenseMethod`."""

    kernels: Kernels

    def suits_dense(self, vectors: Tensor, weight: Tensor) -> bool:
        return suits_dense(vectors, weight)

    def dense(self, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _Dense.apply(vectors, weight, bias, self.kernels)  # type: ignore[no-any-return]
