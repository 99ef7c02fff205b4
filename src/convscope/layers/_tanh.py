"""`tanh`: the squashing function, also in LeNet-5's scaled form."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, number

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class tanh(Layer):
    """z = amplitude · tanh(slope · a), number by number.

    LeNet-5 has amplitude 1.7159 and slope 2/3, so that ±1 stays ±1 (LeCun et al. 1998, appendix A).
    """

    _: KW_ONLY
    amplitude: float = 1.0
    slope: float = 1.0

    def _normalise(self) -> None:
        for argument in ("amplitude", "slope"):
            self._set(argument, number("tanh", argument, getattr(self, argument), 1e-6, 1e6))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return (
            "nn.Tanh()" if self == tanh(name=self.name) else f"ScaledTanh({self.amplitude}, {self.slope})",
        )

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        from convscope.reference.modules import ScaledTanh

        return nn.Tanh() if self == tanh(name=self.name) else ScaledTanh(self.amplitude, self.slope)
