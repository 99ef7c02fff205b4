"""Operations: what a fast form runs for a module. Here, of one module alone, with torch's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from convscope.layers import lrn
from convscope.reference.modules import GlobalPool, LpPool, PaddedConv2d, Residual, ResponseNorm

Outputs = list[tuple[float, Tensor]]  # weight and scores of each training-only output
Operation = Callable[[Tensor, Outputs | None], Tensor]


def operation_of(module: nn.Module) -> Operation:
    """A module in the numbers it is given; its own numbers are cast, or where it would lose too much, the images."""
    if isinstance(module, ResponseNorm):
        return lambda images, _: _in_float32(images, lambda wide: _response_norm(wide, module.layer))
    if isinstance(module, nn.Conv2d):
        return lambda images, _: _convolved(images, module)
    if isinstance(module, nn.Linear):
        return lambda images, _: functional.linear(images, *_cast(module, images.dtype))
    if isinstance(module, LpPool | GlobalPool) or _has_other_numbers(module):
        return lambda images, _: _in_float32(images, module)
    return lambda images, _: module(images)


def scores_of(module: nn.Linear) -> Operation:
    """In the weights' own numbers."""
    return lambda vectors, _: functional.linear(vectors.to(module.weight.dtype), module.weight, module.bias)


def _has_other_numbers(module: nn.Module) -> bool:
    """Whether it has parameters or buffers; torch's batch norms take maps of another precision than their own."""
    has_some = any(True for _ in (*module.parameters(), *module.buffers()))
    return has_some and not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)


def _in_float32(images: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    return work(images.float()).to(images.dtype) if images.dtype == torch.bfloat16 else work(images)


def _convolved(images: Tensor, module: nn.Conv2d) -> Tensor:
    weight, bias = _cast(module, images.dtype)
    return functional.conv2d(
        with_border(images, module),
        weight,
        bias,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )


def with_border(images: Tensor, module: nn.Conv2d) -> Tensor:
    return functional.pad(images, module.sides) if isinstance(module, PaddedConv2d) else images


class _ZeroPadded(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, module: Residual) -> Tensor:
        lies_by_pixel = maps.is_contiguous(memory_format=torch.channels_last)
        ctx.format = torch.channels_last if lies_by_pixel else torch.contiguous_format
        ctx.shape, ctx.stride = maps.shape, module.stride
        return module.shortcut(maps)

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor, None]:
        gradient = torch.zeros_like(out_gradient.new_empty(1).expand(ctx.shape), memory_format=ctx.format)
        gradient[:, :, :: ctx.stride, :: ctx.stride] = out_gradient[:, : ctx.shape[1]]
        return gradient, None


def zero_padded(module: Residual) -> Operation:
    """Its shortcut of every other pixel and maps of zeros. torch's gradient of it passes four times over maps."""
    return lambda maps, _: _ZeroPadded.apply(maps, module)


def _cast(module: nn.Conv2d | nn.Linear, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    return module.weight.to(dtype), None if module.bias is None else module.bias.to(dtype)


def _response_norm(images: Tensor, layer: lrn) -> Tensor:
    """a / (k + alpha·Σ a²)^beta of images (N, C, H, W), with the sum as one convolution."""
    maps = images.shape[1]
    place = torch.arange(maps, device=images.device)
    distance = place[None, :] - place[:, None]  # (C, C), from each map to each other
    near = (distance >= -(layer.size // 2)) & (distance <= (layer.size - 1) // 2)
    group = place // (maps // layer.groups)
    band = (near & (group[None, :] == group[:, None])).to(images.dtype) * layer.alpha
    sums = functional.conv2d(images * images, band[:, :, None, None], images.new_full((maps,), layer.k))
    return images * sums.pow(-layer.beta)


def chained(operations: Iterable[Operation]) -> Operation:
    """One after the other."""
    steps = tuple(operations)

    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        for step in steps:
            images = step(images, outputs)
        return images

    return run


def rectified(maps: Tensor, relu: bool) -> Tensor:
    """Their relu in place, if there is one."""
    return maps.relu_() if relu else maps
