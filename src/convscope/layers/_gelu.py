"""`gelu`: a times the probability that a standard normal number is below a."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class gelu(Layer):
    """z = a·Φ(a) = a·(1 + erf(a/√2))/2, number by number.

    Source: Hendrycks & Gimpel 2016; the exact form, not the one with a tanh.
    """

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.GELU()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.GELU()
