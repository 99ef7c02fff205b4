"""`globalpool`: each map becomes one number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, choice, maps_shape
from convscope.layers._receptive_field import EVERYTHING, Window
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class globalpool(Layer):
    """C×H×W → C numbers, one a map: its mean, or its maximum. It stands where `flatten` would.

    Args:
        kind: "avg" or "max".

    >>> globalpool("max").output_shape((64, 3, 3))
    (64,)
    """

    kind: str = "avg"

    def _normalise(self) -> None:
        choice("globalpool", "kind", self.kind, ("avg", "max"))

    def output_shape(self, input_shape: Shape) -> Shape:
        return maps_shape(self, input_shape)[:1]

    def reach(self, input_shape: Shape) -> Window:
        return EVERYTHING

    def working(self, input_shape: Shape) -> Working:
        word = {"avg": "mean", "max": "largest number"}[self.kind]
        places = f"{product(*input_shape[1:])} = {math.prod(input_shape[1:]):,} places"
        return Working(
            f"the {word} of each map, over all {places}", (f"D = {input_shape[0]} maps, a number each",)
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return f"nn.Adaptive{self.kind.title()}Pool2d(1)", "nn.Flatten()"

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import GlobalPool

        return GlobalPool(self.kind)
