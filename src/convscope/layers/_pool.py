"""What the pools share: a window per map, no parameters, a stride that is the window's side unless given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, Field, dataclass, replace
from typing import Any, ClassVar

from convscope.layers._base import Layer, Shape, both, flag, maps_shape, pair, torch_option, torch_pair, wrong
from convscope.layers._receptive_field import Window
from convscope.layers._window import Padding, Sides, Slide, checked_padding, sides, slid_size, slides
from convscope.layers._working import Working, size_lines


@dataclass(frozen=True, repr=False)
class Pool(Layer):
    """A window that slides over each map on its own."""

    window: int | tuple[int, int]
    _: KW_ONLY
    stride: int | tuple[int, int] | None = None
    padding: Padding = 0
    ceil: bool = False

    def _normalise(self) -> None:
        self._set("window", pair(self.word, "window", self.window))
        self._set("stride", self.window if self.stride is None else pair(self.word, "stride", self.stride))
        self._set("padding", checked_padding(self.word, self.padding))
        flag(self.word, "ceil", self.ceil)
        if self.ceil and not isinstance(self.padding, int):
            raise wrong(self.word, "padding", self.padding, "one number of rings when ceil=True")
        self._check_padding()

    def _check_padding(self) -> None:
        """No window may lie in the padding alone: it would have no largest number and no mean."""
        rows, columns = self.extent
        if isinstance(self.padding, int) and self.padding * 2 > min(self.extent):
            raise wrong(
                self.word, "padding", self.padding, f"at most half the window's side of {min(self.extent)}"
            )
        if isinstance(self.padding, tuple) and (
            max(self.padding[:2]) >= columns or max(self.padding[2:]) >= rows
        ):
            raise wrong(
                self.word, "padding", self.padding, f"on each side less than the window's {rows}×{columns}"
            )

    def _is_default(self, f: Field[Any]) -> bool:
        return self.stride == self.window if f.name == "stride" else super()._is_default(f)

    @property
    def extent(self) -> tuple[int, int]:
        """The window's (rows, columns)."""
        return both(self.window)

    @property
    def step(self) -> tuple[int, int]:
        """The stride as (rows, columns)."""
        return both(self.window if self.stride is None else self.stride)

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring windows share pixels (the lecture says they do not; AlexNet's do)."""
        return any(side > step for side, step in zip(self.extent, self.step, strict=True))

    def _slides(self, input_shape: Shape) -> tuple[Slide, Slide]:
        return slides(maps_shape(self, input_shape), self.extent, self.step, self.padding, self.ceil)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *slid_size(self.word, input_shape, self._slides(input_shape)))

    _does: ClassVar[str]  # what becomes of a window

    def working(self, input_shape: Shape) -> Working:
        rows, columns = self.extent
        overlap = "overlap" if self.overlaps else "do not overlap"
        return Working(
            f"{self._does} of each {rows}×{columns} window, map by map; the windows {overlap}",
            (*size_lines(self._slides(input_shape)), f"D′ = D = {input_shape[0]}: maps do not mix"),
        )

    def _torch_window(self, input_shape: Shape) -> str:
        """The arguments that torch's pools share, where they can pad so."""
        left, _, top, _ = self.padded_sides(input_shape)
        stride = "" if self.step == self.extent else f", stride={torch_pair(self.step)}"
        rounding = ", ceil_mode=True" if self.ceil else ""
        return f"{torch_pair(self.extent)}{stride}{torch_option('padding', (top, left), 0)}{rounding}"

    def _bare_window(self) -> str:
        """The window's arguments without padding."""
        stride = "" if self.step == self.extent else f", stride={torch_pair(self.step)}"
        return f"{torch_pair(self.extent)}{stride}"

    def torch_pads(self, input_shape: Shape) -> bool:
        """Whether torch's pools can pad so: the same on both sides, and at most half the window."""
        left, right, top, bottom = self.padded_sides(input_shape)
        fits = 2 * top <= self.extent[0] and 2 * left <= self.extent[1]
        return (left, top) == (right, bottom) and fits

    def filled_sides(self, input_shape: Shape) -> Sides:
        """The ring, and after the map as much more as a rounded-up last window needs."""
        left, right, top, bottom = self.padded_sides(input_shape)
        _, out_rows, out_columns = self.output_shape(input_shape)
        rows = (out_rows - 1) * self.step[0] + self.extent[0]
        columns = (out_columns - 1) * self.step[1] + self.extent[1]
        return (
            left,
            max(right, columns - input_shape[2] - left),
            top,
            max(bottom, rows - input_shape[1] - top),
        )

    def reach(self, input_shape: Shape) -> Window:
        rows, columns = self._slides(input_shape)
        return Window(self.extent, self.step, (rows.before, columns.before))

    def padded_sides(self, input_shape: Shape) -> Sides:
        """The ring around a map of this shape: (left, right, top, bottom)."""
        return sides(self.padding, input_shape, self.extent, self.step)

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        if len(input_shape) == 3:
            fitting = min(*input_shape[1:], *self.extent)
            stride = min(fitting, *self.step)
            yield (
                f"use a {fitting}×{fitting} window",
                (replace(self, window=fitting, stride=stride, padding=0),),
            )
            if not self.ceil:
                yield 'set padding="same"', (replace(self, padding="same"),)
        yield from super().edits(input_shape)
