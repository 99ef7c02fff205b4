"""Dense layers in bfloat16 with the processor's matrix instructions (Intel's AMX), for training on a CPU.

Vectors and their gradients are bfloat16; weights and their gradients are float32 and are rounded on their way into the
caches, where torch makes a rounded copy of each in memory. `amx_products.cpp` does the work.
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
    def forward(ctx: Any, vectors: Tensor, weight: Tensor, bias: Tensor | None, amx: Kernels) -> Tensor:
        vectors, weight = vectors.contiguous(), weight.detach().contiguous()
        sizes = _Sizes(*vectors.shape, len(weight), torch.get_num_threads())
        out = vectors.new_empty(len(vectors), len(weight))
        shift = None if bias is None else bias.detach().contiguous()
        amx.call("dense", vectors, vectors, weight, shift, out, _scratch(sizes, False, amx), sizes)
        ctx.save_for_backward(vectors, weight)
        ctx.sizes, ctx.amx = sizes, amx
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        vectors, weight = ctx.saved_tensors
        sizes, amx = ctx.sizes, ctx.amx
        for_vectors, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = out_gradient.contiguous()
        gradient = torch.empty_like(vectors) if for_vectors else None
        weights = torch.empty_like(weight) if for_weight else None
        amx.call(
            "dense_gradient",
            vectors,
            vectors,
            weight,
            out_gradient,
            out_gradient.t().contiguous(),
            gradient,
            weights,
            _scratch(sizes, True, amx),
            sizes,
        )
        return gradient, weights, out_gradient.float().sum(0) if for_bias else None, None


def _scratch(sizes: _Sizes, backward: bool, amx: Kernels) -> Tensor:
    floats = torch.empty(2, dtype=torch.int64)
    amx.call("scratch", torch.empty(0), floats, sizes)
    return torch.empty(int(floats[int(backward)]))


def dense(vectors: Tensor, weight: Tensor, bias: Tensor | None, amx: Kernels) -> Tensor:
    """Scores (N, units) of vectors (N, D), bfloat16, with float32 weight (units, D); one that `suits_dense`."""
    return _Dense.apply(vectors, weight, bias, amx)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class AmxDense:
    """The functions here as a `DenseMethod`."""

    kernels: Kernels

    def suits_dense(self, vectors: Tensor, weight: Tensor) -> bool:
        return suits_dense(vectors, weight)

    def dense(self, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return dense(vectors, weight, bias, self.kernels)
