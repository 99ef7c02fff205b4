"""Whether maps move with the picture: measured on a trained network, exactly.

Test images stand on a background so large that nothing reaches its edges. Pixels and weights are rounded to multiples
of a power of two and added up in float64, so every sum is exact in whatever order torch takes it, and a difference of 0
is 0, not nearly 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convscope.lecture.shift_study import MapsRow
from convscope.net import Net

if TYPE_CHECKING:
    from convscope.data import ImageData
    from convscope.model_file import Model

IMAGES = 16
PIXEL_STEPS, WEIGHT_STEPS = (
    2**8,
    2**12,
)  # to the 1: (10 + 14 bits) · 9 inputs, then 14 bits · 288: under 53 bits
EDGE_PX = 8  # more than two 3×3 filters and a pool can see
LAYERS = ("relu2", "maxpool1")


def equivariance(model: Model, data: ImageData, most_px: int) -> tuple[MapsRow, ...]:
    """For 1 to `most_px` pixels: maps of moved pictures against moved maps, in the lecture's network."""
    assert data.test is not None
    margin = most_px + EDGE_PX
    pixels = torch.from_numpy(data.test.images[:IMAGES].copy())
    canvas = torch.nn.functional.pad(pixels, (margin, margin, margin, margin))  # (N, C, H + 2m, W + 2m)
    images = rounded(model.preprocessing.scale(canvas).double(), PIXEL_STEPS)
    module = up_to_the_pool(model, (images.shape[1], images.shape[2], images.shape[3]))
    at_rest = _maps(module, images)
    rows = []
    for px in range(1, most_px + 1):
        down = _compared(at_rest, _maps(module, images.roll(px, 2)), px, 2)
        right = _compared(at_rest, _maps(module, images.roll(px, 3)), px, 3)
        rows.append(MapsRow(px, *(max(pair) for pair in zip(down, right, strict=True))))
    return tuple(rows)


def up_to_the_pool(model: Model, input_shape: tuple[int, int, int]) -> torch.nn.Module:
    """The trained network as far as its pool, for larger pictures, its weights rounded and in float64."""
    layers = model.net.layers
    pool = next(position for position, layer in enumerate(layers) if layer.word == "maxpool")
    module = Net(*layers[: pool + 1]).build(input_shape).double().eval()
    trained = model.module.state_dict()
    module.load_state_dict(
        {name: rounded(trained[name].cpu().double(), WEIGHT_STEPS) for name in module.state_dict()}
    )
    return module


def rounded(numbers: Tensor, steps: int) -> Tensor:
    """The nearest multiples of 1/steps."""
    return (numbers * steps).round() / steps


@torch.no_grad()
def _maps(module: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found = module.activations(images, LAYERS)  # type: ignore[operator]
    return found[LAYERS[0]], found[LAYERS[1]]


def _compared(
    at_rest: tuple[Tensor, Tensor], shifted: tuple[Tensor, Tensor], px: int, side: int
) -> tuple[float, float, float]:
    """Maps before the pool, behind it, and their maxima: the largest difference over the largest number."""
    convolutions = _difference(at_rest[0].roll(px, side), shifted[0])
    whole = (px // 2, (px + 1) // 2)  # the pool's windows are two pixels apart
    pooled = min(_difference(at_rest[1].roll(by, side), shifted[1]) for by in whole)
    maxima = _difference(at_rest[1].amax((2, 3)), shifted[1].amax((2, 3)))
    return convolutions, pooled, maxima


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-300))
