"""TrivialAugment: one change for each image, of a strength drawn evenly (Müller & Hutter 2021, the wide space).

    identity · brightness · colour · contrast · sharpness · posterize · solarize · autocontrast · equalize
    shear x · shear y · move x · move y · rotate

Strengths run from nothing to the paper's largest, and where a change has two directions both are as likely. Moves go up
to 1/7 of the side, which is the paper's 32 pixels at 224. Warps and light are handed on as numbers, so that an image
is sampled once whatever else happens to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.training.chance import Chance
from convscope.training.colouring import (
    autocontrasted,
    coloured,
    equalized,
    posterized,
    sharpened,
    solarized,
)
from convscope.training.warping import Warp

CHANGES = (
    "identity", "brightness", "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
    "shear x", "shear y", "move x", "move y", "rotate",
)  # fmt: skip
MOST_FACTOR, MOST_SHEAR, MOST_MOVE, MOST_TURN = 0.99, 0.99, 1 / 7, math.radians(135)


@dataclass(frozen=True)
class Trivial:
    """What was drawn for the images of a batch.

    Attributes:
        change: (B,), int64, a position in `CHANGES`.
        strength: (B,), float32, in [0, 1).
        sign: (B,), float32, −1 or 1.
    """

    change: Tensor
    strength: Tensor
    sign: Tensor

    @classmethod
    def drawn(cls, chance: Chance) -> Trivial:
        """One change for each image."""
        change, sign = chance.below(len(CHANGES), "trivial")[:, 0], chance.below(2, "trivial sign")[:, 0]
        return cls(change, chance.share("trivial strength")[:, 0], (2 * sign - 1).float())

    @property
    def is_moved(self) -> Tensor:
        """Which images it does something to places of, (B,), bool."""
        return self.change >= CHANGES.index("shear x")

    def warp(self, height: int, width: int) -> Warp:
        """What it does to places."""
        zero = torch.zeros_like(self.strength)

        def only(name: str, most: float) -> Tensor:
            return torch.where(self.change == CHANGES.index(name), self.sign * self.strength * most, zero)

        moved = Warp.of(
            zero,
            xy=only("shear x", MOST_SHEAR),
            yx=only("shear y", MOST_SHEAR),
            x0=only("move x", MOST_MOVE * width),
            y0=only("move y", MOST_MOVE * height),
        )
        return Warp.turned(only("rotate", MOST_TURN)) @ moved

    def on_pixels(self, images: Tensor) -> Tensor:
        """What it does to the numbers of uint8 images (B, C, H, W)."""
        result = images.clone()
        factor = 1 + self.sign * self.strength * MOST_FACTOR
        for name in CHANGES:
            which = torch.nonzero(self.change == CHANGES.index(name))[:, 0]
            if len(which) and name in _ON_PIXELS:
                result[which] = _ON_PIXELS[name](images[which], factor[which], self.strength[which])
        return result


def _light(images: Tensor, **factors: Tensor) -> Tensor:
    one = torch.ones(len(images), device=images.device)
    return coloured(images, **{"bright": one, "contrast": one, "saturation": one, **factors})


_ON_PIXELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "brightness": lambda images, factor, strength: _light(images, bright=factor),
    "colour": lambda images, factor, strength: _light(images, saturation=factor),
    "contrast": lambda images, factor, strength: _light(images, contrast=factor),
    "sharpness": lambda images, factor, strength: sharpened(images, factor),
    "posterize": lambda images, factor, strength: posterized(images, 8 - (strength * 7).long()),
    "solarize": lambda images, factor, strength: solarized(images, 255 - (strength * 256).long()),
    "autocontrast": lambda images, factor, strength: autocontrasted(images),
    "equalize": lambda images, factor, strength: equalized(images),
}
