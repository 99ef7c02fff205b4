"""`sigmoid`: 1/(1 + e^−a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class sigmoid(Layer):
    """z = 1/(1 + e^−a), number by number."""

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.Sigmoid()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Sigmoid()
