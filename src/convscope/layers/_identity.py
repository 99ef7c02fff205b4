"""`identity`: what comes in goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class identity(Layer):
    """Passes its input on; a place to name, tap or hook."""

    only_passes_on = True

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return ("nn.Identity()",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Identity()
