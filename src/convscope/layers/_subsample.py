"""`subsample`: LeNet-5's trainable sub-sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Shape
from convscope.layers._pool import Pool

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class subsample(Pool):
    """coefficient · Σ window + bias, one coefficient and one bias a map: 2·C parameters.

    Args:
        window, stride, padding, ceil: as in `maxpool`.

    Source: LeCun, Bottou, Bengio & Haffner 1998, layers S2 and S4.

    >>> subsample(2).parameters((6, 28, 28))
    12
    """

    def parameters(self, input_shape: Shape) -> int:
        return 2 * input_shape[0]

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import Subsample

        return Subsample(self, input_shape)
