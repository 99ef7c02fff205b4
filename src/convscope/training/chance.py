"""What augmentation draws: numbers that follow from seed, epoch and turn, and from what they are for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.engine.random import Draw


@dataclass(frozen=True)
class Chance:
    """The draws for the images of a batch in one epoch.

    Args:
        seed: the run's.
        epoch: counted from 0.
        number: (B,), int64, of each turn; see `turns.Turns`.
        device: where the numbers are wanted.
    """

    seed: int
    epoch: int
    number: Tensor
    device: torch.device

    def below(self, limit: int, what: str, count: int = 2) -> Tensor:
        """Whole numbers for each image, even over 0 … limit − 1, (B, count), int64."""
        return (self._bits(what, count).long() & 0x7FFFFFFF) % limit

    def share(self, what: str, count: int = 2) -> Tensor:
        """Numbers for each image, even over [0, 1) in steps of 2⁻²⁴, (B, count), float32."""
        return (self._bits(what, count) & 0xFFFFFF).float() / 2**24

    def around(self, most: float, what: str, count: int = 2) -> Tensor:
        """Numbers for each image, even over −most … most, (B, count), float32."""
        return (2 * self.share(what, count) - 1) * most

    def _bits(self, what: str, count: int) -> Tensor:
        return Draw(self.seed, self.epoch, self.number).bits(f"augmentation: {what}", count, self.device)
