"""`dropout`: in training, numbers set to zero at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, number

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class dropout(Layer):
    """In training each number becomes zero with probability `rate` and is divided by 1 − rate otherwise.

    Args:
        rate: the share that is dropped, in [0, 1).

    In evaluation nothing happens. Source: Srivastava et al. 2014, in its inverted form.
    """

    rate: float

    def _normalise(self) -> None:
        self._set("rate", number("dropout", "rate", self.rate, 0.0, 0.999))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return (f"nn.Dropout({self.rate})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import Dropout

        return Dropout(self.rate)
