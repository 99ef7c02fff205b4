"""`Settled`: the leading layers that a training never changes, in the form that scores.

They need no gradient and keep their norms' statistics, so the norms can go into the weights before them, and few
images at a time can go through all of them while their maps are in the caches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from convscope.engine.folding import Folded
from convscope.reference import Network

CACHED_BYTES = 32 << 20
"""The largest maps of so many images together stay about within the last cache beside the next ones."""


class Settled:
    """What the first layers make of images; equal to the reference up to the last bits of float32.

    The weights are read at the first batch, when the run has put them where they stay.
    """

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        self.network, self.names = network, tuple(names)
        self._form: Folded | None = None
        self._at_once = 1

    def __call__(self, images: Tensor, _: object) -> Tensor:
        """Their maps (N, C', H', W') for float images (N, C, H, W)."""
        # Not inference mode: what it makes may not be kept for the gradients of the layers behind.
        with torch.no_grad():
            if self._form is None:
                self._form, self._at_once = Folded(self.network, names=self.names), self._images_at_once()
            return torch.cat([self._form(few) for few in torch.split(images, self._at_once)])

    def _images_at_once(self) -> int:
        steps = self.network.net.infer(self.network.input_shape).steps
        largest = max(math.prod(step.output_shape) for step in steps)
        return max(1, CACHED_BYTES // (4 * largest))
