"""`softmax`: scores to probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class softmax(Layer):
    """z_k = e^{a_k} / Σ_j e^{a_j}, over the maps or the vector.

    At the end of a network it belongs to the description and to predictions; the loss sees the scores before it.
    """

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.Softmax(dim=1)",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Softmax(dim=1)
