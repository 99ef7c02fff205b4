"""`batchnorm`: each map brought to mean 0 and variance 1, then scaled and shifted."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, flag, number
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class batchnorm(Layer):
    """z = γ·(a − mean)/√(variance + eps) + β for each map, or each number of a vector: 2·C parameters.

    Args:
        eps: added to the variance.
        momentum: the share of the new batch in the running mean and variance (torch's sense; Keras says 1 − this).
        scale: whether γ is trained; without, it is 1 and no parameter, and C parameters β are left.

    In training the batch's mean and variance are used, in evaluation the running ones. Source: Ioffe & Szegedy 2015.
    """

    _: KW_ONLY
    eps: float = 1e-5
    momentum: float = 0.1
    scale: bool = True

    def _normalise(self) -> None:
        self._set("eps", number("batchnorm", "eps", self.eps, 1e-12, 1.0))
        self._set("momentum", number("batchnorm", "momentum", self.momentum, 0.0, 1.0))
        flag("batchnorm", "scale", self.scale)

    def parameters(self, input_shape: Shape) -> int:
        return (2 if self.scale else 1) * input_shape[0]

    def working(self, input_shape: Shape) -> Working:
        what, total = "map" if len(input_shape) == 3 else "number", self.parameters(input_shape)
        scale, count, trained = ("γ·", "2·", "γ and β") if self.scale else ("", "", "β")
        return Working(
            f"z = {scale}(a − mean)/√(variance + {self.eps:g}) + β, with the mean and variance of each {what}: "
            "the batch's in training, running ones in evaluation",
            ("what comes in goes out with the shape it has",),
            (
                f"{count}D = {count}{input_shape[0]} = {total:,}: {trained} for each {what} (the running mean and "
                "variance are not trained)",
            ),
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        eps = "" if self.eps == 1e-5 else f", eps={self.eps}"
        momentum = "" if self.momentum == 0.1 else f", momentum={self.momentum}"
        dims = "2d" if len(input_shape) == 3 else "1d"
        kind = f"nn.BatchNorm{dims}" if self.scale else f"UnscaledBatchNorm{dims}"
        return (f"{kind}({input_shape[0]}{eps}{momentum})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        from convscope.reference.modules import without_scale

        kind = nn.BatchNorm2d if len(input_shape) == 3 else nn.BatchNorm1d
        norm = kind(input_shape[0], eps=self.eps, momentum=self.momentum)
        return norm if self.scale else without_scale(norm)
