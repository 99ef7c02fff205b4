"""`conv`: convolution, the lecture's local filters that slide over the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING

from convscope.layers._base import (
    Classes,
    Layer,
    Problem,
    Shape,
    both,
    flag,
    maps_shape,
    pair,
    torch_option,
    torch_pair,
    whole,
    whole_or_classes,
    written_shape,
    wrong,
)
from convscope.layers._receptive_field import Window
from convscope.layers._window import Padding, Sides, Slide, checked_padding, sides, slid_size, slides
from convscope.layers._working import Working, product, side_letters, size_lines

if TYPE_CHECKING:
    from torch import nn

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, repr=False)
class conv(Layer):
    """Filters that slide over maps: C×H×W → filters×H'×W' with H' = (H − F + 2P)/S + 1, rounded down.

    Args:
        filters: how many filters, so how many maps come out; or `classes`.
        kernel: the window's side F in pixels, or (rows, columns).
        stride: pixels S the window moves each step, or (rows, columns).
        padding: rings of zeros P around the map; or (left, right, top, bottom); or "same" as TensorFlow has it.
        dilation: pixels between neighbouring inputs of the window.
        groups: the maps are split into this many parts that do not see each other.
        bias: whether each filter has a bias.
        table: for each filter the maps it sees, as LeNet-5 has it; its parameters count only the links it names.

    A filter has F·F·C/groups weights and one bias: (5·5·3 + 1) = 76. What slides is a correlation: the kernel is not
    flipped, as in every framework.

    >>> conv(6, 5).output_shape((3, 32, 32)), conv(6, 5).parameters((3, 32, 32))
    ((6, 28, 28), 456)
    """

    filters: int | Classes
    kernel: int | tuple[int, int]
    _: KW_ONLY
    stride: int | tuple[int, int] = 1
    padding: Padding = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: bool = True
    table: Table | None = None

    def _normalise(self) -> None:
        self._set("filters", whole_or_classes("conv", "filters", self.filters))
        for argument in ("kernel", "stride", "dilation"):
            self._set(argument, pair("conv", argument, getattr(self, argument)))
        self._set("padding", checked_padding("conv", self.padding))
        whole("conv", "groups", self.groups)
        flag("conv", "bias", self.bias)
        if self.table is not None:
            self._set("table", _checked_table(self))
        elif isinstance(self.filters, int) and self.filters % self.groups:
            raise wrong("conv", "groups", self.groups, f"a number that divides the {self.filters} filters")

    @property
    def _extent(self) -> tuple[int, int]:
        """The window's side with the gaps of dilation."""
        (rows, columns), (row_gap, column_gap) = both(self.kernel), both(self.dilation)
        return (rows - 1) * row_gap + 1, (columns - 1) * column_gap + 1

    def _slides(self, input_shape: Shape) -> tuple[Slide, Slide]:
        return slides(maps_shape(self, input_shape), self._extent, both(self.stride), self.padding)

    def _count(self) -> int:
        if isinstance(self.filters, Classes):
            raise Problem("its number of filters is the placeholder `classes`, which no data has bound yet")
        return self.filters

    def output_shape(self, input_shape: Shape) -> Shape:
        maps = maps_shape(self, input_shape)[0]
        if maps % self.groups:
            raise Problem(
                f"{self.groups} groups cannot share the {maps} maps of {written_shape(input_shape)} evenly: "
                f"{maps}/{self.groups} = {maps / self.groups:g}",
                f"a number of groups that divides {maps}",
            )
        if self.table is not None and max(max(row) for row in self.table) >= maps:
            raise Problem(
                f"its table names map {max(max(row) for row in self.table)}, and maps 0 to {maps - 1} of "
                f"{written_shape(input_shape)} reach it"
            )
        return (self._count(), *slid_size("conv", input_shape, self._slides(input_shape)))

    def _links(self, maps: int) -> int:
        """Pairs of an input map and a filter that are connected."""
        return sum(len(row) for row in self.table) if self.table else maps // self.groups * self._count()

    def parameters(self, input_shape: Shape) -> int:
        rows, columns = both(self.kernel)
        return self._links(input_shape[0]) * rows * columns + (self._count() if self.bias else 0)

    def macs(self, input_shape: Shape) -> int:
        rows, columns = both(self.kernel)
        _, out_rows, out_columns = self.output_shape(input_shape)
        return self._links(input_shape[0]) * rows * columns * out_rows * out_columns

    def reach(self, input_shape: Shape) -> Window:
        rows, columns = self._slides(input_shape)
        return Window(self._extent, both(self.stride), (rows.before, columns.before))

    def padded_sides(self, input_shape: Shape) -> Sides:
        """The zeros around a map of this shape: (left, right, top, bottom)."""
        return sides(self.padding, input_shape, self._extent, both(self.stride))

    def bias_additions(self, input_shape: Shape) -> int:
        return math.prod(self.output_shape(input_shape)) if self.bias else 0

    def connections(self, input_shape: Shape) -> int:
        return self.parameters(input_shape) * math.prod(self.output_shape(input_shape)[1:])

    def working(self, input_shape: Shape) -> Working:
        return Working(
            f"{self._filters_words(input_shape)}: a = Σ w·x{' + b' if self.bias else ''} at every place "
            "(a correlation: the kernel is not flipped)",
            (*self._extent_lines(), *size_lines(self._slides(input_shape)), self._depth_line()),
            (self._parameters_line(input_shape),),
            (self._macs_line(input_shape),),
        )

    def _filters_words(self, input_shape: Shape) -> str:
        rows, columns = both(self.kernel)
        filters, bias = self._count(), " and a bias" if self.bias else ""
        if self.table is not None:
            kernels = f"a {rows}×{columns} kernel for each map in its row of the table{bias}"
            return f"{filters} filters, each of {kernels}, slide over those maps"
        maps = input_shape[0] // self.groups
        where = f"its group's {maps} of the maps" if self.groups > 1 else "the maps"
        weights = f"{rows}×{columns}×{maps} = {rows * columns * maps:,} weights{bias}"
        return f"{filters} filters, each of {weights}, slide over {where}"

    def _extent_lines(self) -> tuple[str, ...]:
        if self.dilation == 1:
            return ()
        kernel, gaps = both(self.kernel), both(self.dilation)
        pairs = dict.fromkeys(zip(kernel, gaps, self._extent, strict=True))
        return tuple(
            f"F = ({side} − 1)·{gap} + 1 = {extent} with dilation {gap}" for side, gap, extent in pairs
        )

    def _depth_line(self) -> str:
        return f"D′ = {self._count()}, one map a filter"

    def _parameters_line(self, input_shape: Shape) -> str:
        rows, columns = both(self.kernel)
        filters, area, total = self._count(), side_letters((rows, columns)), self.parameters(input_shape)
        if self.table is not None:
            biases, added = (" + D′", f" + {filters}") if self.bias else ("", "")
            links = self._links(input_shape[0])
            return f"links·{area}{biases} = {product(links, rows, columns)}{added} = {total:,}"
        groups, share = (
            ("/G", f"{input_shape[0]}/{self.groups}") if self.groups > 1 else ("", f"{input_shape[0]}")
        )
        a_filter = f"{rows}·{columns}·{share}"
        if not self.bias:
            return f"{area}·D{groups}·D′ = {a_filter}·{filters} = {total:,} (no biases)"
        return f"({area}·D{groups} + 1)·D′ = ({a_filter} + 1)·{filters} = {total // filters:,}·{filters} = {total:,}"

    def _macs_line(self, input_shape: Shape) -> str:
        rows, columns = both(self.kernel)
        filters, out_rows, out_columns = self.output_shape(input_shape)
        total, area = self.macs(input_shape), side_letters((rows, columns))
        if self.table is not None:
            links = self._links(input_shape[0])
            return f"links·H′·W′·{area} = {product(links, out_rows, out_columns, rows * columns)} = {total:,}"
        groups = "/G" if self.groups > 1 else ""
        each = rows * columns * input_shape[0] // self.groups
        return f"D′·H′·W′·({area}·D{groups}) = {product(filters, out_rows, out_columns, each)} = {total:,}"

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        left, right, top, bottom = self.padded_sides(input_shape)
        if self.table is not None:
            links = f"{self.table}, {input_shape[0]}, {both(self.kernel)}"
            options = f", stride={both(self.stride)}, padding={(left, right, top, bottom)}"
            options += f", dilation={both(self.dilation)}, bias={self.bias}"
            return (f"TableConv2d({links}{options})",)
        even = (left, top) == (right, bottom)
        options = torch_option("stride", both(self.stride), 1) + (
            torch_option("padding", (top, left), 0) if even else ""
        )
        options += torch_option("dilation", both(self.dilation), 1)
        options += (f", groups={self.groups}" if self.groups > 1 else "") + (
            "" if self.bias else ", bias=False"
        )
        kernel = torch_pair(both(self.kernel))
        written = f"nn.Conv2d({input_shape[0]}, {self._count()}, {kernel}{options})"
        return (written,) if even else (f"nn.ZeroPad2d({(left, right, top, bottom)})", written)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference import modules

        return modules.convolution(self, input_shape)

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        if len(input_shape) != 3:
            yield from super().edits(input_shape)
            return
        if input_shape[0] % self.groups:
            yield "set groups=1", (replace(self, groups=1),)
        yield 'set padding="same"', (replace(self, padding="same"),)
        fitting = min(*input_shape[1:], *both(self.kernel))
        yield f"use a {fitting}×{fitting} window", (replace(self, kernel=fitting, dilation=1),)
        yield from super().edits(input_shape)


def _checked_table(layer: conv) -> Table:
    table = layer.table
    if (
        not isinstance(table, tuple | list)
        or not table
        or not all(isinstance(row, tuple | list) and row for row in table)
    ):
        raise wrong("conv", "table", str(table), "one row of map numbers for each filter")
    rows = tuple(tuple(whole("conv", "table", item, 0) for item in row) for row in table)
    if len(rows) != layer.filters or layer.groups != 1 or any(len(set(row)) != len(row) for row in rows):
        raise wrong(
            "conv",
            "table",
            f"{len(rows)} rows",
            f"{layer.filters} rows, one for each filter, no map twice, and groups=1",
        )
    return rows
