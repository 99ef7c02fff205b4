"""`batchnorm`: each map brought to mean 0 and variance 1, then scaled and shifted."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, number
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class batchnorm(Layer):
    """z = γ·(a − mean)/√(variance + eps) + β for each map, or each number of a vector: 2·C parameters.

    Args:
        eps: added to the variance.
        momentum: the share of the new batch in the running mean and variance (torch's sense; Keras says 1 − this).

    In training the batch's mean and variance are used, in evaluation the running ones. Source: Ioffe & Szegedy 2015.
    """

    _: KW_ONLY
    eps: float = 1e-5
    momentum: float = 0.1

    def _normalise(self) -> None:
        self._set("eps", number("batchnorm", "eps", self.eps, 1e-12, 1.0))
        self._set("momentum", number("batchnorm", "momentum", self.momentum, 0.0, 1.0))

    def parameters(self, input_shape: Shape) -> int:
        return 2 * input_shape[0]

    def working(self, input_shape: Shape) -> Working:
        what, total = "map" if len(input_shape) == 3 else "number", self.parameters(input_shape)
        return Working(
            f"z = γ·(a − mean)/√(variance + {self.eps:g}) + β, with the mean and variance of each {what}: "
            "the batch's in training, running ones in evaluation",
            ("what comes in goes out with the shape it has",),
            (
                f"2·D = 2·{input_shape[0]} = {total:,}: γ and β for each {what} (the running mean and variance are "
                "not trained)",
            ),
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        eps = "" if self.eps == 1e-5 else f", eps={self.eps}"
        momentum = "" if self.momentum == 0.1 else f", momentum={self.momentum}"
        return (f"nn.BatchNorm{2 if len(input_shape) == 3 else 1}d({input_shape[0]}{eps}{momentum})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        kind = nn.BatchNorm2d if len(input_shape) == 3 else nn.BatchNorm1d
        return kind(input_shape[0], eps=self.eps, momentum=self.momentum)
