"""`residual`: layers beside a shortcut, added at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from convscope.layers._base import Layer, Problem, Shape, choice, written_shape
from convscope.layers._composite import Body, Composite, body_of, torch_call, written_items, written_keyword
from convscope.layers._conv import conv
from convscope.layers._pool import Pool
from convscope.layers._receptive_field import ReceptiveField, Window, union
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from torch import nn

SHORTCUTS = ("identity", "projection", "zeropad")


@dataclass(frozen=True, init=False, repr=False)
class residual(Composite):
    """F(x) + shortcut(x), number by number.

    Args:
        layers: the body F.
        shortcut: "identity" adds x itself; "projection" adds a 1×1 convolution of x without bias and its batch
            normalisation (option B of the paper); "zeropad" takes every S-th pixel of x and fills the new maps with
            zeros (option A). The stride S is the one that makes the sizes meet.

    Source: He, Zhang, Ren & Sun 2015.
    """

    layers: Body = field(default=())
    shortcut: str = "identity"

    def __init__(self, *layers: Any, shortcut: str = "identity", name: str | None = None) -> None:
        self._set("layers", body_of("residual", layers))
        self._set("shortcut", choice("residual", "shortcut", shortcut, SHORTCUTS))
        self._finish(name)

    @property
    def paths(self) -> tuple[Body, ...]:
        return (self.layers,)

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        return type(self)(*paths[0], shortcut=self.shortcut, name=self.name)

    def joined_shape(self, input_shape: Shape, output_shapes: tuple[Shape, ...]) -> Shape:
        body = output_shapes[0]
        meets = input_shape == body if self.shortcut == "identity" else self._meets(input_shape, body)
        if not meets:
            raise Problem(
                f"its two branches disagree: the body ends in {written_shape(body)} and the {self.shortcut} shortcut, "
                f"from {written_shape(input_shape)}, {_offer(self.shortcut)}",
                "two equal shapes to add",
            )
        return body

    def _meets(self, input_shape: Shape, body: Shape) -> bool:
        if len(input_shape) != 3 or len(body) != 3 or shortcut_stride(input_shape, body) is None:
            return False
        return self.shortcut == "projection" or body[0] >= input_shape[0]

    def joined_field(self, before: ReceptiveField, fields: tuple[ReceptiveField, ...]) -> ReceptiveField:
        rows, columns = fields[0].rows, fields[0].columns
        steps = (rows.jump / before.rows.jump, columns.jump / before.columns.jump)
        # The shortcut looks at one number of its input, every S-th one.
        shortcut = (
            before.through(Window(stride=steps), (0, rows.count, columns.count))
            if steps != (1, 1)
            else before
        )
        return union((fields[0], shortcut))

    def own_parameters(self, input_shape: Shape, output_shape: Shape) -> int:
        return (input_shape[0] + 2) * output_shape[0] if self.shortcut == "projection" else 0

    def own_macs(self, input_shape: Shape, output_shape: Shape) -> int:
        return input_shape[0] * math.prod(output_shape) if self.shortcut == "projection" else 0

    def joined_working(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...], output_shape: Shape
    ) -> Working:
        came, body = written_shape(input_shape), written_shape(output_shapes[0])
        stride = 1 if self.shortcut == "identity" else shortcut_stride(input_shape, output_shape) or 1
        if self.shortcut == "projection":
            return self._projection_working(input_shape, output_shape, stride)
        new = output_shape[0] - input_shape[0]
        kept = f"every {stride}. pixel" if stride > 1 else "every pixel"
        how = {
            "identity": f"the shortcut keeps {came}: both are the same, and F(x) + x adds number to number",
            "zeropad": f"the shortcut takes {kept} of {came} and adds {new} maps of zeros: {body}",
        }[self.shortcut]
        return Working(
            f"F(x) + shortcut(x), the body F ends in {body}",
            (how,),
            ("none beside those of its body",),
            ("none beside those of its body",),
        )

    def _projection_working(self, input_shape: Shape, output_shape: Shape, stride: int) -> Working:
        maps, new_maps = input_shape[0], output_shape[0]
        return Working(
            f"F(x) + shortcut(x), the body F ends in {written_shape(output_shape)}; the shortcut is a 1×1 convolution "
            "of x without bias, and its batch normalisation",
            (
                f"the shortcut, {new_maps} filters 1×1 with stride {stride}, brings {written_shape(input_shape)} to "
                f"{written_shape(output_shape)}: ⌈{input_shape[1]}/{stride}⌉ = {output_shape[1]} rows",
            ),
            (
                f"of the shortcut, 1·1·D·D′ + 2·D′ = {product(maps, new_maps)} + 2·{new_maps} = "
                f"{self.own_parameters(input_shape, output_shape):,}, beside those of its body",
            ),
            (
                f"of the shortcut, D′·H′·W′·D = {product(*output_shape, maps)} = "
                f"{self.own_macs(input_shape, output_shape):,}",
            ),
        )

    def joined_torch_code(self, paths: tuple[str, ...], input_shape: Shape, output_shape: Shape) -> str:
        if self.shortcut == "identity":
            return torch_call("Residual", paths[0])
        stride = shortcut_stride(input_shape, output_shape) or 1
        maps, new_maps = input_shape[0], output_shape[0]
        step = f", stride={stride}" if stride > 1 else ""
        if self.shortcut == "zeropad":
            return torch_call("Residual", paths[0], f"ZeroPadShortcut({stride}, {new_maps - maps})")
        projection = f"nn.Conv2d({maps}, {new_maps}, 1{step}, bias=False)"
        shortcut = f"nn.Sequential({projection}, nn.BatchNorm2d({new_maps}))"
        return torch_call("Residual", paths[0], shortcut)

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        from convscope.reference.modules import Residual

        return Residual(paths, self.shortcut, input_shape, output_shape)

    def join_edits(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...]
    ) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        for other in SHORTCUTS:
            if other != self.shortcut:
                yield f'set shortcut="{other}"', (type(self)(*self.layers, shortcut=other, name=self.name),)
        yield 'set padding="same" in its body', (self.with_paths((same_padding(self.layers),)),)
        yield from super().join_edits(input_shape, output_shapes)

    def arguments(self) -> list[str]:
        shortcut = written_keyword("shortcut", self.shortcut, "identity")
        return [*written_items(self.layers), *shortcut, *written_keyword("name", self.name, None)]


def shortcut_stride(input_shape: Shape, output_shape: Shape) -> int | None:
    """The stride S with which every S-th pixel of the input makes the output's size, or None when there is none."""
    rows, columns = input_shape[1:]
    stride = max(1, round(rows / output_shape[1]), round(columns / output_shape[2]))
    meets = (math.ceil(rows / stride), math.ceil(columns / stride)) == tuple(output_shape[1:])
    return stride if meets else None


def same_padding(layers: Body) -> Body:
    """The layers with padding "same" wherever a window slides, so that only strides change a size."""
    same: dict[str, Any] = {"padding": "same"}
    rounded_down: dict[str, Any] = {"padding": "same", "ceil": False}
    return tuple(
        replace(layer, **same)
        if isinstance(layer, conv)
        else replace(layer, **rounded_down)
        if isinstance(layer, Pool)
        else layer
        for layer in layers
    )


def _offer(shortcut: str) -> str:
    return {
        "identity": "stays as it is",
        "projection": "can change the number of maps and divide rows and columns by one whole number",
        "zeropad": "can add maps and divide rows and columns by one whole number",
    }[shortcut]
