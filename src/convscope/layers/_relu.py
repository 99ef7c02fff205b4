"""`relu`: max(0, a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class relu(Layer):
    """z = max(0, a), number by number."""

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.ReLU()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.ReLU()
