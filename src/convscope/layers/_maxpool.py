"""`maxpool`: each window replaced by its largest number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Shape
from convscope.layers._pool import Pool

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class maxpool(Pool):
    """The largest number of each window, map by map; padding never wins.

    Args:
        window: the window's side in pixels, or (rows, columns).
        stride: pixels it moves each step; without it the window's own side, so that windows do not overlap.
        padding: rings around the map; or (left, right, top, bottom); or "same".
        ceil: round the size up instead of down, so that the last pixels are not left out.

    >>> maxpool(2).output_shape((64, 24, 24))
    (64, 12, 12)
    """

    _does = "the largest number"

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        if self.torch_pads(input_shape):
            return (f"nn.MaxPool2d({self._torch_window(input_shape)})",)
        border = f'nn.ConstantPad2d({self.padded_sides(input_shape)}, float("-inf"))'
        return border, f"nn.MaxPool2d({self._bare_window()})"

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference import modules

        return modules.max_pooling(self, input_shape)
