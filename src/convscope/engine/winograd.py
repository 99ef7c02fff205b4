"""3×3 convolutions for scoring on a CPU with a quarter of the multiplications, by Winograd's method.

`winograd.h` does the arithmetic, with relu and a 2×2 pool behind it in one pass over memory, in float32. Compared
with the plain sum the last bits differ: in our measurement 4 times the rounding error of torch's convolution, some
6e-7 of the result. Training has `kernels.winograd_operations`.

Source: A. Lavin & S. Gray, Fast Algorithms for Convolutional Neural Networks (2016); the points are our choice.
"""

from __future__ import annotations

import ctypes
import threading

import torch
from torch import Tensor, nn

from convscope.engine.kernels import library
from convscope.engine.kernels.method import GRAIN, fills_grains, in_whole_grains, missing
from convscope.engine.kernels.operations import Kernels, no_dropout
from convscope.engine.kernels.passes import scratch
from convscope.engine.kernels.winograd_operations import MOST_WEIGHTS, TILES, Shape

POINTS = (0.625, 1.5)  # places.h has the same


def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, built once for this machine; None where there is no compiler or it is not wanted."""
    return library.load("winograd").library


def _kernels() -> Kernels:
    library_here = kernel()
    assert library_here is not None, "only asked where there is one"
    return Kernels(library_here)


class Winograd(nn.Module):
    """A convolution, with the relu and the 2×2 max-pool behind it, on float32 images (N, C, H, W) on the CPU.

    Maps so small that they fill less than half of the method's 4×4 tiles are left to torch, which then has less to do.

    Args:
        conv: one that `suits`.
        relu: whether a relu follows.
        pool: whether a 2×2 max-pool follows.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool, pool: bool) -> None:
        super().__init__()
        self.conv, self.relu, self.pool = conv, relu, pool
        self.top, self.left = (int(side) for side in conv.padding)
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self._bias, self._making = bias.contiguous(), threading.Lock()
        self._weight: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, filters, H', W'), pixel by pixel in memory."""
        rows, columns = images.shape[2] + 2 * self.top - 2, images.shape[3] + 2 * self.left - 2
        return self._by_tiles(images, rows, columns) if fills_tiles(rows, columns) else self._plain(images)

    def _by_tiles(self, images: Tensor, rows: int, columns: int) -> Tensor:
        images = in_whole_grains(images).contiguous(memory_format=torch.channels_last)
        count, channels, height, width = images.shape
        shrink, filters = 2 if self.pool else 1, self.conv.out_channels
        out = images.new_empty((count, rows // shrink, columns // shrink, filters))
        kernels = _kernels()
        sizes = (count, height, width, channels, filters, rows, columns, self.top, self.left)
        shape = Shape(*sizes, self.relu, self.pool, TILES, torch.get_num_threads(), 1)
        tiles = scratch(kernels, "scratch", False, shape)
        kernels.call(
            *("convolve", images, images, self._transformed(), self._bias, out, None, tiles, shape),
            no_dropout(),
        )
        return out.permute(0, 3, 1, 2)

    def _transformed(self) -> Tensor:
        """The weights in the method's form, made when they are first needed, once for all threads that score."""
        with self._making:
            if self._weight is None:
                self._weight = packed(transformed(in_whole_grains(self.conv.weight.detach())), _kernels())
            return self._weight

    def _plain(self, images: Tensor) -> Tensor:
        maps: Tensor = self.conv(images)
        if self.pool:
            maps = nn.functional.max_pool2d(maps, 2)
        return maps.relu_() if self.relu else maps


def fills_tiles(rows: int, columns: int) -> bool:
    """Whether maps of this size fill at least half of the 4×4 tiles that cover them.

    >>> fills_tiles(7, 7), fills_tiles(3, 3), fills_tiles(2, 2)
    (True, True, False)
    """
    return 2 * rows * columns >= -(-rows // 4) * -(-columns // 4) * 16


def joined(modules: list[nn.Module]) -> list[nn.Module]:
    """The modules of a row with each convolution that suits, and the relu and pool behind it, made one."""
    result: list[nn.Module] = []
    rest = list(modules)
    while rest:
        module = rest.pop(0)
        if not isinstance(module, nn.Conv2d) or not suits(module) or kernel() is None:
            result.append(module)
            continue
        found = {"relu": False, "pool": False}
        while rest and (what := _joins(rest[0])) and not found[what]:
            found[what] = True
            rest.pop(0)
        result.append(Winograd(module, **found))
    return result


def suits(conv: nn.Conv2d) -> bool:
    """Whether the kernel can take this convolution, and gains by it."""
    whole = conv.in_channels + missing(conv.in_channels)
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.stride, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and not isinstance(conv.padding, str)
        and conv.weight.dtype == torch.float32
        and conv.out_channels % GRAIN == 0
        and fills_grains(conv.in_channels)
        and whole * conv.out_channels <= MOST_WEIGHTS
    )


def _joins(module: nn.Module) -> str | None:
    """ "relu" or "pool" for what the kernel does before it writes; either order gives the same numbers."""
    if isinstance(module, nn.ReLU):
        return "relu"
    plain = isinstance(module, nn.MaxPool2d) and (module.padding, module.dilation) in ((0, 1), ((0, 0), 1))
    is_two_by_two = plain and module.kernel_size in (2, (2, 2)) and module.stride in (2, (2, 2))
    return "pool" if is_two_by_two and not module.ceil_mode else None


def transformed(weight: Tensor) -> Tensor:
    """Kernels (filters, C, 3, 3) at the 6×6 places of the method: (36, C, filters), rounded once.

    >>> transformed(torch.ones(16, 32, 3, 3)).shape
    torch.Size([36, 32, 16])
    """
    a, b = (point * point for point in POINTS)
    points = [(point, sign * point) for point in POINTS for sign in (1, -1)]
    rows = [[1 / (a * b), 0.0, 0.0]]
    for size, x in points:
        scale = 2 * size**2 * (size**2 - (b if size == POINTS[0] else a))
        rows.append([1 / scale, x / scale, x * x / scale])
    g = weight.new_tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)  # (6, 3)
    down = torch.tensordot(g, weight.double().permute(2, 3, 1, 0), dims=([1], [0]))  # (6, 3, C, filters)
    places = torch.tensordot(g, down, dims=([1], [1])).transpose(0, 1)  # (6, 6, C, filters)
    rounded: Tensor = places.reshape(36, *places.shape[2:]).to(weight.dtype)
    return rounded.contiguous()


def packed(places: Tensor, kernels: Kernels) -> Tensor:
    """Transformed weights (36, C, filters) as the kernel reads them."""
    result = torch.empty_like(places)
    kernels.call("pack_places", places, places, result, *places.shape)
    return result
