"""`relu6`: max(0, a), and never more than 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class relu6(Layer):
    """z = min(max(0, a), 6), number by number."""

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.ReLU6()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.ReLU6()
