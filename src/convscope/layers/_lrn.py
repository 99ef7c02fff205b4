"""`lrn`: local response normalisation, AlexNet's competition between neighbouring maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Problem, Shape, maps_shape, number, whole, written_shape
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class lrn(Layer):
    """b = a / (k + alpha · Σ a²)^beta, the sum over `size` neighbouring maps at the same place.

    Args:
        size: how many maps, itself in the middle.
        alpha, beta, k: as printed in the paper (torch and Caffe divide alpha by `size`; here it is not divided).
        groups: maps in different groups are no neighbours, as in AlexNet's two towers.

    Source: Krizhevsky, Sutskever & Hinton 2012, §3.3.
    """

    _: KW_ONLY
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    groups: int = 1

    def _normalise(self) -> None:
        whole("lrn", "size", self.size)
        whole("lrn", "groups", self.groups)
        for argument, most in (("alpha", 1e6), ("beta", 100.0), ("k", 1e6)):
            self._set(argument, number("lrn", argument, getattr(self, argument), 0.0, most))

    def output_shape(self, input_shape: Shape) -> Shape:
        maps = maps_shape(self, input_shape)[0]
        if maps % self.groups:
            raise Problem(
                f"{self.groups} groups cannot share the {maps} maps of {written_shape(input_shape)} evenly",
                f"a number of groups that divides {maps}",
            )
        return input_shape

    def working(self, input_shape: Shape) -> Working:
        neighbours = f"the {self.size} maps around it" + (" in its group" if self.groups > 1 else "")
        return Working(
            f"b = a/(k + α·Σ a²)^β at each place, the sum over {neighbours}; k = {self.k:g}, α = {self.alpha:g}, "
            f"β = {self.beta:g}",
            ("what comes in goes out with the shape it has",),
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        # torch divides alpha by the size; the paper does not.
        constants = f"{self.size}, alpha={self.alpha * self.size}, beta={self.beta}, k={self.k}"
        if self.groups == 1:
            return (f"nn.LocalResponseNorm({constants})",)
        return (f"GroupedResponseNorm({self.groups}, nn.LocalResponseNorm({constants}))",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import ResponseNorm

        return ResponseNorm(self)

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        yield "set groups=1", (replace(self, groups=1),)
        yield from super().edits(input_shape)
