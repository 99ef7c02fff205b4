"""`avgpool`: each window replaced by its mean."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Shape, flag
from convscope.layers._pool import Pool

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class avgpool(Pool):
    """The mean of each window, map by map.

    Args:
        window, stride, padding, ceil: as in `maxpool`.
        count_padding: whether the zeros of the padding count in the mean; pixels past the padding never do.
    """

    _: KW_ONLY
    count_padding: bool = False

    def _normalise(self) -> None:
        super()._normalise()
        flag("avgpool", "count_padding", self.count_padding)

    _does = "the mean"

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        sides = self.padded_sides(input_shape)
        if self.torch_pads(input_shape):
            counted = "" if self.count_padding or not any(sides) else ", count_include_pad=False"
            return (f"nn.AvgPool2d({self._torch_window(input_shape)}{counted})",)
        if self.count_padding:
            return f"nn.ZeroPad2d({sides})", f"nn.AvgPool2d({self._bare_window()})"
        return (f"PaddedAvgPool2d({self.extent}, {self.step}, {sides})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference import modules

        return modules.average_pooling(self, input_shape)
