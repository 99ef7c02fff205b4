"""`lppool`: each window replaced by its Lp norm, the lecture's "L1 or L2 norm"."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Shape, number
from convscope.layers._pool import Pool

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class lppool(Pool):
    """(Σ |x|^p)^(1/p) over each window: p = 1 adds sizes, p = 2 is the Euclidean norm, a large p is nearly the maximum.

    Args:
        window, stride, padding, ceil: as in `maxpool`.
        p: the norm's power, from 1 to 1000. Large powers do not overflow: the largest number is taken out first.
    """

    _: KW_ONLY
    p: float = 2.0

    def _normalise(self) -> None:
        super()._normalise()
        self._set("p", number("lppool", "p", self.p, 1.0, 1000.0))

    _does = "the Lp norm (Σ |x|^p)^(1/p)"

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return (f"LpPool2d({self.p}, {self.extent}, {self.step}, {self.filled_sides(input_shape)})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import LpPool

        return LpPool(self, input_shape)
