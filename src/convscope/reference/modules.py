"""The plain torch modules of words that torch has no module for, and the composites.

All work on images (N, C, H, W) or vectors (N, D), float32. Each says exactly what its word's docstring says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.layers._base import Shape, both
from convscope.layers._residual import shortcut_stride
from convscope.layers._window import Sides
from convscope.reference.glyphs import class_codes

if TYPE_CHECKING:
    from convscope.engine.random import Draw
    from convscope.layers import avgpool, conv, lppool, lrn, maxpool, subsample

Paths = tuple[tuple[tuple[str, nn.Module], ...], ...]  # the modules of each path with their local names


# Convolution ----------------------------------------------------------------------------------------


def convolution(layer: conv, input_shape: Shape) -> nn.Module:
    """torch's own Conv2d where it can say the word, else one of the two below."""
    left, right, top, bottom = layer.padded_sides(input_shape)
    if layer.table is not None:
        return TableConv2d(layer, input_shape)
    maps, filters = input_shape[0], layer.output_shape(input_shape)[0]
    if (left, top) == (right, bottom):
        return nn.Conv2d(
            maps,
            filters,
            both(layer.kernel),
            both(layer.stride),
            (top, left),
            both(layer.dilation),
            layer.groups,
            layer.bias,
        )
    padded = PaddedConv2d(
        maps,
        filters,
        both(layer.kernel),
        both(layer.stride),
        0,
        both(layer.dilation),
        layer.groups,
        layer.bias,
    )
    padded.sides = (left, right, top, bottom)
    return padded


class PaddedConv2d(nn.Conv2d):
    """A convolution with padding of its own on each side: (left, right, top, bottom)."""

    sides: Sides

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.sides))


class TableConv2d(nn.Module):
    """A convolution whose filters see only the maps their row of the table names.

    `weight` (links, rows, columns) holds one kernel a link and nothing else, in the order of the table.
    """

    def __init__(self, layer: conv, input_shape: Shape) -> None:
        super().__init__()
        table = layer.table or ()
        links = [(filter_number, map_number) for filter_number, row in enumerate(table) for map_number in row]
        self.full_shape = (len(table), input_shape[0], *both(layer.kernel))
        self.sides = layer.padded_sides(input_shape)
        self.stride, self.dilation = both(layer.stride), both(layer.dilation)
        self.weight = nn.Parameter(torch.empty(len(links), *both(layer.kernel)))
        self.bias = nn.Parameter(torch.zeros(len(table))) if layer.bias else None
        self.register_buffer("links", torch.tensor(links).T.contiguous(), persistent=False)  # (2, links)
        nn.init.kaiming_uniform_(self.weight.view(len(links), 1, *both(layer.kernel)), a=5**0.5)

    def full_weight(self) -> Tensor:
        """The kernels in their places among zeros, (filters, C, rows, columns)."""
        filters, maps = self.get_buffer("links")
        return self.weight.new_zeros(self.full_shape).index_put((filters, maps), self.weight)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(
            F.pad(images, self.sides), self.full_weight(), self.bias, self.stride, 0, self.dilation
        )


# Pools ----------------------------------------------------------------------------------------------


def max_pooling(layer: maxpool, input_shape: Shape) -> nn.Module:
    """torch's MaxPool2d, behind a border of −∞ where the padding is not the same on both sides."""
    left, _, top, _ = sides = layer.padded_sides(input_shape)
    if _torch_pads(sides, layer.extent):
        return nn.MaxPool2d(layer.extent, layer.step, (top, left), ceil_mode=layer.ceil)
    return PaddedMaxPool2d(layer.extent, layer.step, sides)


def _torch_pads(sides: Sides, extent: tuple[int, int]) -> bool:
    """Whether torch's pools can pad so: the same on both sides, and at most half the window."""
    left, right, top, bottom = sides
    return (left, top) == (right, bottom) and 2 * top <= extent[0] and 2 * left <= extent[1]


class PaddedMaxPool2d(nn.Module):
    """Maximum over windows, with a border that never wins: (left, right, top, bottom)."""

    def __init__(self, extent: tuple[int, int], step: tuple[int, int], sides: Sides) -> None:
        super().__init__()
        self.extent, self.step, self.sides = extent, step, sides

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(images, self.sides, value=float("-inf")), self.extent, self.step)


def average_pooling(layer: avgpool, input_shape: Shape) -> nn.Module:
    """torch's AvgPool2d, or sums over counts where the padding is not the same on both sides."""
    left, _, top, _ = sides = layer.padded_sides(input_shape)
    if _torch_pads(sides, layer.extent):
        return nn.AvgPool2d(layer.extent, layer.step, (top, left), layer.ceil, layer.count_padding)
    return PaddedAvgPool2d(layer.extent, layer.step, sides, layer.count_padding)


class PaddedAvgPool2d(nn.Module):
    """Mean over windows with a border of zeros (left, right, top, bottom) that counts or does not."""

    def __init__(
        self,
        extent: tuple[int, int],
        step: tuple[int, int],
        sides: Sides,
        count_padding: bool,
    ) -> None:
        super().__init__()
        self.extent, self.step, self.sides, self.count_padding = extent, step, sides, count_padding

    def forward(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(F.pad(images, self.sides), self.extent, self.step)
        if self.count_padding:
            return means
        ones = F.pad(torch.ones_like(images[:1, :1]), self.sides)
        return means / F.avg_pool2d(ones, self.extent, self.step)


def _padded_for_windows(images: Tensor, layer: lppool | subsample, input_shape: Shape) -> Tensor:
    """Zeros around the map, and after it as many as a rounded-up last window needs."""
    left, right, top, bottom = layer.padded_sides(input_shape)
    _, out_rows, out_columns = layer.output_shape(input_shape)
    rows = (out_rows - 1) * layer.step[0] + layer.extent[0]
    columns = (out_columns - 1) * layer.step[1] + layer.extent[1]
    bottom, right = max(bottom, rows - input_shape[1] - top), max(right, columns - input_shape[2] - left)
    return F.pad(images, (left, right, top, bottom))


class LpPool(nn.Module):
    """The Lp norm of each window, scaled by its largest number so that no power overflows."""

    def __init__(self, layer: lppool, input_shape: Shape) -> None:
        super().__init__()
        self.layer, self.shape = layer, input_shape

    def forward(self, images: Tensor) -> Tensor:
        padded = _padded_for_windows(images, self.layer, self.shape)
        largest = F.max_pool2d(padded.detach().abs(), self.layer.extent, self.layer.step)
        scale = largest.clamp_min(torch.finfo(images.dtype).tiny)
        rows, columns = self.layer.extent
        windows = padded.unfold(2, rows, self.layer.step[0]).unfold(
            3, columns, self.layer.step[1]
        )  # N C H' W' F F
        scaled = (windows / scale[..., None, None]).flatten(4)
        norms: Tensor = torch.linalg.vector_norm(scaled, ord=self.layer.p, dim=-1)
        return norms * scale


class GlobalPool(nn.Module):
    """Each map's mean or maximum: (N, C, H, W) → (N, C)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        return images.amax((2, 3)) if self.kind == "max" else images.mean((2, 3))


class Subsample(nn.Module):
    """LeNet-5's S layers: the window's sum times a coefficient plus a bias, one of each a map."""

    def __init__(self, layer: subsample, input_shape: Shape) -> None:
        super().__init__()
        self.layer, self.shape = layer, input_shape
        # As a mean at first: the sum over the window divided by its size.
        self.weight = nn.Parameter(torch.full((input_shape[0],), 1 / (layer.extent[0] * layer.extent[1])))
        self.bias = nn.Parameter(torch.zeros(input_shape[0]))

    def forward(self, images: Tensor) -> Tensor:
        padded = _padded_for_windows(images, self.layer, self.shape)
        sums = F.avg_pool2d(padded, self.layer.extent, self.layer.step, divisor_override=1)
        return sums * self.weight[:, None, None] + self.bias[:, None, None]


# Numbers --------------------------------------------------------------------------------------------


class ScaledTanh(nn.Module):
    """amplitude · tanh(slope · a)."""

    def __init__(self, amplitude: float, slope: float) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, images: Tensor) -> Tensor:
        return self.amplitude * torch.tanh(self.slope * images)


class ResponseNorm(nn.Module):
    """AlexNet's response normalisation with the paper's alpha; groups are no neighbours."""

    def __init__(self, layer: lrn) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        layer = self.layer
        parts = images.chunk(layer.groups, dim=1) if layer.groups > 1 else (images,)
        # torch divides alpha by the size; the paper does not.
        normed = [
            F.local_response_norm(p, layer.size, layer.alpha * layer.size, layer.beta, layer.k) for p in parts
        ]
        return torch.cat(normed, dim=1) if len(normed) > 1 else normed[0]


def without_scale(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """The batch norm with γ = 1 for good: it is neither a parameter nor in the state dict."""
    ones = norm.weight.detach()
    del norm.weight
    norm.register_buffer("weight", ones, persistent=False)
    return norm


class Dropout(nn.Module):
    """Inverted dropout whose random numbers come from a counter, so that they can be had again.

    `draw` says seed, step and samples, and `key` the layer's name; without a draw torch's own generator is used, so
    that the module also works in a loop that knows nothing of Convscope.
    """

    draw: Draw | None = None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.key = ""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return images
        if self.draw is None:
            return F.dropout(images, self.rate, training=True)
        return images * self.draw.keep(self.key, images, self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class RadialBasis(nn.Module):
    """Scores −Σ (x − code)², with fixed codes (classes, D) of ±1."""

    codes: Tensor

    def __init__(self, inputs: int, number_of_classes: int) -> None:
        super().__init__()
        self.register_buffer(
            "codes", torch.tensor(class_codes(inputs, number_of_classes), dtype=torch.float32)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        return -(vectors[:, None, :] - self.codes).square().sum(2)


# Composites -----------------------------------------------------------------------------------------


class Row(nn.Module):
    """Modules in a row, registered under their local names; also the base of the other composites."""

    def __init__(self, paths: Paths) -> None:
        super().__init__()
        self.paths = [[name for name, _ in path] for path in paths]
        for name, module in (item for path in paths for item in path):
            self.add_module(name, module)

    def run(self, path: int, images: Tensor) -> Tensor:
        """Carry images through one path."""
        for name in self.paths[path]:
            images = self.get_submodule(name)(images)
        return images

    def forward(self, images: Tensor) -> Tensor:
        return self.run(0, images)


class Branches(Row):
    """Every path from the same input, their maps stacked."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.run(path, images) for path in range(len(self.paths))], dim=1)


class Residual(Row):
    """F(x) + shortcut(x); the projection shortcut owns `projection` (1×1, no bias) and `projection_norm`."""

    def __init__(self, paths: Paths, shortcut: str, input_shape: Shape, output_shape: Shape) -> None:
        super().__init__(paths)
        self.kind = shortcut
        if shortcut != "identity":
            self.stride = shortcut_stride(input_shape, output_shape) or 1
            self.new_maps = output_shape[0] - input_shape[0]
        if shortcut == "projection":
            self.projection = nn.Conv2d(input_shape[0], output_shape[0], 1, self.stride, bias=False)
            self.projection_norm = nn.BatchNorm2d(output_shape[0])

    def shortcut(self, images: Tensor) -> Tensor:
        """What the shortcut adds."""
        if self.kind == "identity":
            return images
        if self.kind == "projection":
            projected: Tensor = self.projection_norm(self.projection(images))
            return projected
        return F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_maps))

    def forward(self, images: Tensor) -> Tensor:
        return self.run(0, images) + self.shortcut(images)


class Auxiliary(Row):
    """Passes its input on; `scores` runs its layers, which only `Network.training_forward` asks for."""

    def __init__(self, paths: Paths, weight: float) -> None:
        super().__init__(paths)
        self.weight = weight

    def scores(self, images: Tensor) -> Tensor:
        """The training-only scores (N, K)."""
        return self.run(0, images)

    def forward(self, images: Tensor) -> Tensor:
        return images


def dropouts(modules: Iterable[nn.Module]) -> list[Dropout]:
    """The dropout modules among others."""
    return [module for module in modules if isinstance(module, Dropout)]
