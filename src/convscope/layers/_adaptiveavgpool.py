"""`adaptiveavgpool`: maps of any size to maps of one size, by means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Layer, Shape, both, maps_shape, pair, torch_pair, whole
from convscope.layers._receptive_field import Window
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class adaptiveavgpool(Layer):
    """C×H×W → C×rows×columns: output i is the mean of the inputs from ⌊i·H/rows⌋ to ⌈(i + 1)·H/rows⌉.

    Args:
        size: rows and columns that come out, or (rows, columns).

    Where H/rows is not whole the windows differ by a pixel; the receptive field given is the largest.
    """

    size: int | tuple[int, int]

    def _normalise(self) -> None:
        self._set("size", pair("adaptiveavgpool", "size", self.size))
        for side in both(self.size):
            whole("adaptiveavgpool", "size", side, most=4096)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (maps_shape(self, input_shape)[0], *both(self.size))

    def reach(self, input_shape: Shape) -> Window:
        sizes = tuple(zip(input_shape[1:], both(self.size), strict=True))
        rows, columns = (_widest(size, parts) for size, parts in sizes)
        row_step, column_step = (size / parts for size, parts in sizes)
        return Window((rows, columns), (row_step, column_step))

    def working(self, input_shape: Shape) -> Working:
        (rows, columns), window = both(self.size), self.reach(input_shape)
        sides = " and ".join(
            dict.fromkeys(
                f"{size}/{parts} = {size / parts:g} inputs to the next, windows of at most {extent}"
                for size, parts, extent in zip(input_shape[1:], (rows, columns), window.extent, strict=True)
            )
        )
        does = f"output i is the mean of the inputs from ⌊i·H/H′⌋ to ⌈(i + 1)·H/H′⌉, map by map: {sides}"
        said = f"H′ = {rows}, W′ = {columns}, whatever size comes; D′ = D = {input_shape[0]}"
        return Working(does, (said,))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        return (f"nn.AdaptiveAvgPool2d({torch_pair(both(self.size))})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from torch import nn

        return nn.AdaptiveAvgPool2d(both(self.size))


def _widest(size: int, parts: int) -> int:
    return max(-((-(i + 1) * size) // parts) - i * size // parts for i in range(parts))
