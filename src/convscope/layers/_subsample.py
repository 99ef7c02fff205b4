"""`subsample`: LeNet-5's trainable sub-sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convscope.layers._base import Shape
from convscope.layers._pool import Pool
from convscope.layers._working import Working

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

    _does = "a coefficient times the sum, plus a bias,"

    def connections(self, input_shape: Shape) -> int:
        return (math.prod(self.extent) + 1) * math.prod(self.output_shape(input_shape))

    def working(self, input_shape: Shape) -> Working:
        maps, total = input_shape[0], self.parameters(input_shape)
        said = f"2·D = 2·{maps} = {total:,}: a coefficient and a bias for each map"
        return replace(super().working(input_shape), parameters=(said,))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        window = f"{self.extent}, {self.step}, {self.filled_sides(input_shape)}"
        return (f"Subsample({input_shape[0]}, {window})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import Subsample

        return Subsample(self, input_shape)
