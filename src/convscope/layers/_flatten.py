"""`flatten`: maps to one row of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class flatten(Layer):
    """C×H×W → C·H·W numbers in a row, map by map and in each map row by row.

    >>> flatten().output_shape((64, 12, 12))
    (9216,)
    """

    only_passes_on = True

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def working(self, input_shape: Shape) -> Working:
        total = math.prod(input_shape)
        does = "the same numbers in one row, map by map and in each map row by row"
        return Working(does, (f"{product(*input_shape)} = {total:,}",))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.Flatten()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Flatten()
