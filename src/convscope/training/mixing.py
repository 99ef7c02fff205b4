"""MixUp and CutMix: two images and their labels as one. What is mixed how is a pure function of seed, epoch and turn.

A turn's own image always has the larger share, so that its label is the one that accuracy is counted by; as every image
has its turn, nothing is lost by that. Sources: Zhang, Cissé, Dauphin & Lopez-Paz 2018; Yun et al. 2019.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from convscope.training.chance import Chance

PARTS = 128
"""Shares are whole 128ths, so that 16-bit numbers hold a mixed pixel."""
_POINTS = 4096


class Mixer:
    """MixUp and CutMix at work in one run.

    Args:
        mixup: α of the shares, which are Beta(α, α); 0 for no MixUp.
        cutmix: likewise; where both are above 0, each turn is mixed one way or the other.
        seed: the run's.
    """

    def __init__(self, mixup: float, cutmix: float, seed: int) -> None:
        self.mixup, self.cutmix, self.seed = mixup, cutmix, seed

    def __call__(self, images: Tensor, others: Tensor, epoch: int, number: Tensor) -> tuple[Tensor, Tensor]:
        """The images of a batch, each mixed with another.

        Args:
            images: uint8 (B, C, H, W).
            others: likewise, the partners.
            epoch: counted from 0.
            number: (B,), int64, of each turn.

        Returns:
            uint8 (B, C, H, W), and the share of each turn's own image, (B,) float32 in [0.5, 1].
        """
        chance = Chance(self.seed, epoch, number, images.device)
        if not self.mixup:
            return _pasted(images, others, self._kept(self.cutmix, chance), chance)
        parts = self._kept(self.mixup, chance)
        blended, share = _blended(images, others, parts), parts.float() / PARTS
        if not self.cutmix:
            return blended, share
        pasted, pasted_share = _pasted(images, others, self._kept(self.cutmix, chance), chance)
        is_pasted = chance.below(2, "mix")[:, 0] == 1
        return torch.where(is_pasted[:, None, None, None], pasted, blended), torch.where(
            is_pasted, pasted_share, share
        )

    def _kept(self, alpha: float, chance: Chance) -> Tensor:
        """The share of the own image in 128ths, (B,), int64, 64 to 128."""
        return larger_shares(alpha).to(chance.device)[chance.below(_POINTS, "share")[:, 0]]


@cache
def larger_shares(alpha: float) -> Tensor:
    """The larger of x and 1 − x for x drawn from Beta(α, α), at 4096 evenly spaced chances, in 128ths, (4096,), int64.

    The smaller one's distribution up to y ≤ ½ is, with t = u^(1/α), the integral of (1 − u^(1/α))^(α − 1) from 0 to
    y^α, which has no pole for any α; it is summed up at many points and read backwards.
    """
    u = torch.linspace(0, 0.5**alpha, 2**16, dtype=torch.float64)
    slope = (1 - u ** (1 / alpha)) ** (alpha - 1)
    mass = torch.cat([u.new_zeros(1), ((slope[1:] + slope[:-1]) / 2).cumsum(0)])
    wanted = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS * mass[-1]
    smaller = u[torch.searchsorted(mass, wanted).clamp(max=len(u) - 1)] ** (1 / alpha)
    return ((1 - smaller) * PARTS).round().long()


def _blended(images: Tensor, others: Tensor, parts: Tensor) -> Tensor:
    """parts/128 of the one and the rest of the other, rounded."""
    weight = parts.to(torch.int16)[:, None, None, None]
    mixed = images.to(torch.int16).mul_(weight).add_(others.to(torch.int16).mul_(PARTS - weight))
    return mixed.add_(PARTS // 2).bitwise_right_shift_(7).to(torch.uint8)


def _pasted(images: Tensor, others: Tensor, parts: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """A box of the other, with its centre anywhere and cut off at the border; the share is what is really left."""
    height, width = images.shape[2:]
    side = (1 - parts.double() / PARTS).sqrt()  # of the box, as a share of the image's
    rows, tall = _span(chance.share("box")[:, 0], side, height)
    columns, wide = _span(chance.share("box")[:, 1], side, width)
    box = (rows[:, :, None] & columns[:, None, :])[:, None]  # (B, 1, H, W)
    return torch.where(box, others, images), (1 - (tall * wide).double() / (height * width)).float()


def _span(centre: Tensor, side: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Which of `size` places lie in each box, (B, size), bool; and how many, (B,)."""
    length = (side * size).floor()  # whole pixels, and never more than its share
    first = (centre.double() * size - length / 2).round()
    last = (first + length).clamp(0, size).long()
    first = first.clamp(0, size).long()
    place = torch.arange(size, device=centre.device)
    return (place >= first[:, None]) & (place < last[:, None]), last - first
