"""Images brighter, paler, more or less colourful, and the other changes of pixels that keep their places."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convscope.training.warping import NUMBERS_AT_ONCE, as_bytes

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count for the eye (ITU-R BT.601)."""


def coloured(images: Tensor, bright: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Images with other light, rounded to uint8; a factor of 1 changes nothing.

    Each channel becomes  bright·(mean + contrast·(gray + saturation·(channel − gray) − mean)), with the pixel's own
    gray and the image's mean gray (of some thousand pixels): torchvision's `ColorJitter` without hue, cut off once at
    its end.

    Args:
        images: uint8 (B, C, H, W); saturation says nothing unless there are three channels.
        bright, contrast, saturation: (B,), factors of at least 0.
    """
    channels = images.shape[1]
    weights = LUMA if channels == 3 else (1 / channels,) * channels
    some = images[:, :, :: _step(images.shape[2]), :: _step(images.shape[3])]  # enough for a mean
    sums = some.sum((2, 3), dtype=torch.int64).float()  # (B, C); whole numbers add up exactly
    mean = _weighted(sums, weights) / math.prod(some.shape[2:])
    saturation = saturation if channels == 3 else torch.ones_like(saturation)
    own, gray_too = bright * contrast * saturation, bright * contrast * (1 - saturation)
    level = bright * (1 - contrast) * mean + 0.5  # the half rounds
    result = torch.empty_like(images)
    at_once = max(1, NUMBERS_AT_ONCE // math.prod(images.shape[1:]))
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        given = images[part].float()
        shared = _weighted(given, weights).mul_(gray_too[part, None, None]).add_(level[part, None, None])
        given.mul_(own[part, None, None, None]).add_(shared[:, None])
        result[part] = as_bytes(given.clamp_(0, 255))
    return result


def _step(size: int) -> int:
    return max(1, size // 32)


def _weighted(images: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Channel by channel, so that the sum does not depend on what else is in the batch."""
    total = images[:, 0] * weights[0]
    for channel, weight in enumerate(weights[1:], start=1):
        total += images[:, channel] * weight
    return total


def posterized(images: Tensor, bits: Tensor) -> Tensor:
    """Only the upper bits of every number, `bits` (B,) of 8."""
    kept = (0xFF << (8 - bits)) & 0xFF
    return images & kept.to(torch.uint8)[:, None, None, None]


def solarized(images: Tensor, threshold: Tensor) -> Tensor:
    """Numbers from `threshold` (B,) on turned over."""
    return torch.where(images >= threshold[:, None, None, None], 255 - images, images)


def sharpened(images: Tensor, factor: Tensor) -> Tensor:
    """Images blended with a smooth copy, which 0 gives; 1 is the image, more than 1 sharpens. `factor` is (B,).

    The smooth copy is the mean of 3×3 pixels, the middle one counting five times; the border stays.
    """
    height, width = images.shape[2:]
    if min(height, width) < 3:
        return images
    deep = images.float()
    rows = deep[:, :, :-2] + deep[:, :, 1:-1] + deep[:, :, 2:]
    around = rows[:, :, :, :-2] + rows[:, :, :, 1:-1] + rows[:, :, :, 2:]  # whole numbers: exact
    inner = deep[:, :, 1:-1, 1:-1]
    smooth = ((around + 4 * inner) / 13).round_()
    blend = factor[:, None, None, None]
    deep[:, :, 1:-1, 1:-1] = (smooth + blend * (inner - smooth)).round_().clamp_(0, 255)
    return as_bytes(deep)


def equalized(images: Tensor) -> Tensor:
    """Each channel with its numbers spread evenly; torchvision's."""
    from torchvision.transforms.v2 import functional as torchvision

    result: Tensor = torchvision.equalize(images)
    return result


def autocontrasted(images: Tensor) -> Tensor:
    """Each channel stretched from its darkest to its brightest number; torchvision's."""
    from torchvision.transforms.v2 import functional as torchvision

    result: Tensor = torchvision.autocontrast(images)
    return result
