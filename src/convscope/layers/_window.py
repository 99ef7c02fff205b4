"""The sliding window that convolutions and pools share: padding in its one form, and the size formula in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convscope.layers._base import MAX_SIZE, Problem, Shape, whole, written_shape, wrong

# The columns before and after, then the rows before and after, as torch.nn.functional.pad has them.
Sides = tuple[int, int, int, int]
Padding = int | Sides | str

SIDES = 'a number, (rows, columns), (left, right, top, bottom) or "same"'


def checked_padding(word: str, value: object) -> Padding:
    """Padding in its one form: a number where all sides agree, (left, right, top, bottom) where not, or "same"."""
    if value == "same":
        return "same"
    if isinstance(value, tuple | list) and len(value) == 2:
        rows, columns = value
        return checked_padding(word, (columns, columns, rows, rows))
    if isinstance(value, tuple | list) and len(value) == 4:
        left, right, top, bottom = (whole(word, "padding", item, 0, MAX_SIZE) for item in value)
        return left if left == right == top == bottom else (left, right, top, bottom)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
        raise wrong(word, "padding", tuple(value) if isinstance(value, list) else value, SIDES)
    return value


def sides(padding: Padding, shape: Shape, extent: tuple[int, int], stride: tuple[int, int]) -> Sides:
    """(left, right, top, bottom) in pixels; "same" as TensorFlow has it, the odd pixel after, not before."""
    if isinstance(padding, tuple):
        return padding
    if isinstance(padding, int):
        return (padding, padding, padding, padding)
    top, bottom = _same(shape[1], extent[0], stride[0])
    left, right = _same(shape[2], extent[1], stride[1])
    return (left, right, top, bottom)


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Slide:
    """One axis of a window sliding over a map: the lecture's W, F, P (both sides, summed) and S."""

    size: int
    extent: int
    before: int
    after: int
    stride: int
    ceil: bool = False

    @property
    def positions(self) -> int:
        """How many places the window fits; at most 0 when it does not fit at all."""
        room = self.size + self.before + self.after - self.extent
        if room < 0:
            return 0
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # A last window that would start in the padding after the map is dropped (as torch and Caffe do).
        return count - 1 if (count - 1) * self.stride >= self.size + self.before else count

    @property
    def formula(self) -> str:
        """The size formula with its numbers: (W − F + 2P)/S + 1 = (28 − 5 + 2·0)/1 + 1."""
        if self.before == self.after:
            return f"(W − F + 2P)/S + 1 = ({self.size} − {self.extent} + 2·{self.before})/{self.stride} + 1"
        return f"(W − F + P)/S + 1 = ({self.size} − {self.extent} + {self.before + self.after})/{self.stride} + 1"

    @property
    def exact(self) -> float:
        """The formula's value before rounding."""
        return (self.size - self.extent + self.before + self.after) / self.stride + 1


def slides(
    shape: Shape, extent: tuple[int, int], stride: tuple[int, int], padding: Padding, ceil: bool = False
) -> tuple[Slide, Slide]:
    """The two axes (rows, columns) of a window over maps of `shape` (C, H, W)."""
    left, right, top, bottom = sides(padding, shape, extent, stride)
    return (
        Slide(shape[1], extent[0], top, bottom, stride[0], ceil),
        Slide(shape[2], extent[1], left, right, stride[1], ceil),
    )


def slid_size(word: str, shape: Shape, axes: tuple[Slide, Slide]) -> tuple[int, int]:
    """(H', W') after the window, or the problem with the formula and its numbers."""
    for axis, direction in zip(axes, ("high", "wide"), strict=True):
        if axis.positions < 1:
            raise Problem(
                f"its window is {axis.extent} {direction} and the map {written_shape(shape)} that reaches it is only "
                f"{axis.size} {direction}{_with_padding(axis)}: {axis.formula} = {axis.exact:g}",
                "an output of at least 1",
            )
    return axes[0].positions, axes[1].positions


def _with_padding(axis: Slide) -> str:
    padded = axis.before + axis.after
    return f" ({axis.size + padded} with padding)" if padded else ""
