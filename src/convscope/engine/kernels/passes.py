"""A convolution, its gradients and what is around it in one pass, whatever the method: the part that torch sees.

A method says how it lays out sizes and weights (`Work`); its C++ takes the same arguments as every other's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from convscope.engine.kernels.method import First, Then, fills_grains, in_whole_grains, maps_between
from convscope.engine.kernels.operations import (
    Convolving,
    Kernels,
    by_pixel,
    dropout_structure,
    few_sizes,
    maps_like,
)


class Sizes(Protocol):
    """What every method's structure of sizes has."""

    channels: int
    filters: int
    out_height: int
    out_width: int
    parts: int  # of the images, each with its own sums for the gradients of weight and bias


class Work(Protocol):
    """One convolution as a method's kernels take it."""

    @property
    def kernels(self) -> Kernels:
        """The method's."""

    @property
    def kind(self) -> str:
        """Behind the kernels' names, where a method has several."""

    @property
    def sizes(self) -> Sizes:
        """The structure, to be passed on."""

    def backward(self) -> Work:
        """The same, as the gradients' kernels take it."""

    def packed(self, weight: Tensor, turned: bool) -> Tensor:
        """The weight (filters, C, rows, columns) as the products take it; `turned`, as those for the maps' gradient."""

    def weight_parts(self) -> Tensor:
        """Unwritten sums for the weight's gradient, one of each part."""

    def summed(self, parts: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the weight (filters, C, rows, columns) of its parts."""


Preparing = Callable[[Tensor, Tensor, Convolving, Then], Work]
"""Work of maps (N, C, H, W), of which shape and kind of numbers count, weight, window, and what runs behind it."""


class _One(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        then: Then,
        prepare: Preparing,
    ) -> Tensor:
        maps, work = by_pixel(maps), prepare(maps, weight, by, then)
        out, winner, drop = _unwritten(maps, work.sizes, then.pool, False), None, dropout_structure(then.drop)
        if then.pool:
            winner = torch.empty(out.numel(), dtype=torch.uint8)
        work.kernels.call(
            f"convolve{work.kind}",
            maps,
            maps,
            work.packed(weight.detach(), False),
            _shift(bias, work.sizes.filters),
            out,
            winner,
            scratch(work.kernels, f"scratch{work.kind}", False, work.sizes),
            work.sizes,
            drop,
        )
        ctx.save_for_backward(maps, weight, out if then.relu and not then.pool else None, winner)
        ctx.work, ctx.scale = work, drop.scale
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, weight, out, winner = ctx.saved_tensors
        work: Work = ctx.work.backward()
        for_maps, for_weight, for_bias = ctx.needs_input_grad[:3]
        out_gradient = by_pixel(out_gradient)
        gradient = maps_like(maps, *maps.shape[1:]) if for_maps else None
        weights = work.weight_parts() if for_weight else None
        biases = torch.empty(work.sizes.parts, work.sizes.filters)
        work.kernels.call(
            f"convolve_gradient{work.kind}",
            maps,
            maps,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            work.packed(weight.detach(), True) if for_maps else None,
            gradient,
            weights,
            biases,
            scratch(work.kernels, f"scratch{work.kind}", True, work.sizes),
            work.sizes,
        )
        weight_gradient = None if weights is None else work.summed(weights, weight)
        return gradient, weight_gradient, biases.sum(0) if for_bias else None, None, None, None


# ---- with the first convolution of the network before it ---------------------------------------------------


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
        prepare: Preparing,
    ) -> Tensor:
        pictures = by_pixel(images.float())
        few, turned = few_sizes(pictures, first_weight.detach(), first_by)
        between = maps_between(images, First(first_weight, first_bias, first_by))
        work = prepare(between, weight, by, then).backward()  # the first convolution's maps take their room
        before = _shift(first_bias, work.sizes.channels)
        out, winner, drop = (
            _unwritten(images, work.sizes, then.pool, then.flat),
            None,
            dropout_structure(then.drop),
        )
        if then.pool:
            winner = torch.empty(out.numel(), dtype=torch.uint8)
        work.kernels.call(
            f"convolve_two{work.kind}",
            out,
            pictures,
            turned,
            before,
            work.packed(weight.detach(), False),
            _shift(bias, work.sizes.filters),
            out,
            winner,
            then.flat,
            scratch(work.kernels, f"scratch_two{work.kind}", False, few, work.sizes),
            few,
            work.sizes,
            drop,
        )
        ctx.save_for_backward(
            pictures, turned, before, weight, out if then.relu and not then.pool else None, winner
        )
        ctx.few, ctx.work, ctx.flat, ctx.scale = few, work, then.flat, drop.scale
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        pictures, turned, before, weight, out, winner = ctx.saved_tensors
        work: Work = ctx.work
        _, for_first, for_first_bias, for_weight, for_bias = ctx.needs_input_grad[:5]
        out_gradient, sizes = by_pixel(out_gradient), work.sizes
        firsts = torch.empty(sizes.parts, turned[..., 0].numel() + 1, sizes.channels)
        weights = work.weight_parts() if for_weight else None
        biases = torch.empty(sizes.parts, sizes.filters)
        work.kernels.call(
            f"convolve_two_gradient{work.kind}",
            out_gradient,
            pictures,
            turned,
            before,
            out_gradient,
            out,
            winner,
            float(ctx.scale),
            ctx.flat,
            work.packed(weight.detach(), True) if for_first or for_first_bias else None,
            firsts,
            weights,
            biases,
            scratch(work.kernels, f"scratch_two{work.kind}", True, ctx.few, sizes),
            ctx.few,
            sizes,
        )
        total = firsts.sum(0)
        first_gradient = total[:-1].view(turned.shape).permute(3, 2, 0, 1)
        return (
            None,
            first_gradient if for_first else None,
            total[-1] if for_first_bias else None,
            None if weights is None else work.summed(weights, weight),
            biases.sum(0) if for_bias else None,
            None,
            None,
            None,
            None,
        )


# ---- a method ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class InOnePass:
    """A `Method`.

    Args:
        suits, suits_two: which layers it takes; see `Method`.
        prepare: how its kernels take them.
    """

    suits: Callable[[Tensor, Tensor, Convolving], bool]
    suits_two: Callable[[Tensor, First, Tensor, Convolving], bool]
    prepare: Preparing

    def convolve(
        self, maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        """What `then` makes of the convolution of maps (N, C, H, W) with float32 weight (filters, C, rows, columns)."""
        if fills_grains(maps.shape[1]):
            maps, weight = in_whole_grains(maps), in_whole_grains(weight)
        return _One.apply(maps, weight, bias, by, then, self.prepare)  # type: ignore[no-any-return]

    def convolve_two(
        self, images: Tensor, first: First, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        """The same, of the relu of the first convolution of images (N, C, H, W), whose maps are made again backward."""
        return _Two.apply(  # type: ignore[no-any-return]
            images, first.weight, first.bias, weight, bias, first.by, by, then, self.prepare
        )


# ---- memory ------------------------------------------------------------------------------------------------


def scratch(kernels: Kernels, name: str, backward: bool, *sizes: Any) -> Tensor:
    """Memory for all threads, as much as the kernel of this name says that the pass needs."""
    floats = torch.empty(2, dtype=torch.int64)
    kernels.call(name, torch.empty(0), floats, *sizes)
    return torch.empty(int(floats[int(backward)]))


def _shift(bias: Tensor | None, filters: int) -> Tensor:
    return torch.zeros(filters) if bias is None else bias.detach().contiguous()


def _unwritten(images: Tensor, sizes: Sizes, pool: bool, flat: bool) -> Tensor:
    """Vectors or maps, pixel by pixel, in the numbers of the images."""
    shrink = 2 if pool else 1
    rows, columns = sizes.out_height // shrink, sizes.out_width // shrink
    if flat:
        return images.new_empty(len(images), sizes.filters * rows * columns)
    return maps_like(images, sizes.filters, rows, columns)
