"""`branches`: several paths from one input, their maps stacked at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from convscope.layers._base import Layer, Problem, Shape, written_shape, wrong
from convscope.layers._composite import Body, Composite, body_of, torch_call, written_items, written_keyword
from convscope.layers._residual import same_padding
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, init=False, repr=False)
class branches(Composite):
    """Each list of layers sees the same input; the maps that come out are stacked, list after list.

    Args:
        lists: two or more lists of layers; an empty list passes its input on.

    Source: the inception module of Szegedy et al. 2014.
    """

    lists: tuple[Body, ...] = field(default=())

    def __init__(self, *lists: Any, name: str | None = None) -> None:
        if len(lists) < 2 or not all(isinstance(item, list | tuple) for item in lists):
            raise wrong(
                "branches",
                "lists",
                len(lists),
                "two or more lists of layers, as in branches([conv(8, 1)], [conv(8, 3)])",
            )
        self._set("lists", tuple(body_of("branches", item) for item in lists))
        self._finish(name)

    @property
    def paths(self) -> tuple[Body, ...]:
        return self.lists

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        return type(self)(*paths, name=self.name)

    def joined_shape(self, input_shape: Shape, output_shapes: tuple[Shape, ...]) -> Shape:
        if (
            len({shape[1:] for shape in output_shapes}) > 1
            or len({len(shape) for shape in output_shapes}) > 1
        ):
            ends = ", ".join(written_shape(shape) for shape in output_shapes)
            raise Problem(
                f"its branches disagree: they end in {ends}",
                "the same rows and columns in each, to stack the maps",
            )
        return (sum(shape[0] for shape in output_shapes), *output_shapes[0][1:])

    def joined_working(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...], output_shape: Shape
    ) -> Working:
        maps = " + ".join(str(shape[0]) for shape in output_shapes)
        place = f", all {written_shape(output_shape[1:])}" if output_shape[1:] else ""
        return Working(
            f"{len(output_shapes)} paths from the same input, what they make stacked",
            (f"D′ = {maps} = {output_shape[0]} maps{place}",),
            ("none beside those in its paths",),
            ("none beside those in its paths",),
        )

    def joined_torch_code(self, paths: tuple[str, ...], input_shape: Shape, output_shape: Shape) -> str:
        return torch_call("Branches", *paths)

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        from convscope.reference.modules import Branches

        return Branches(paths)

    def join_edits(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...]
    ) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        yield 'set padding="same" in every branch', (self.with_paths(tuple(map(same_padding, self.lists))),)
        for number, path in enumerate(self.lists, start=1):
            kept = self.lists[: number - 1] + self.lists[number:]
            if len(kept) > 1:
                yield (
                    f"leave out branch {number} [{', '.join(written_items(path))}]",
                    (self.with_paths(kept),),
                )
        yield from super().join_edits(input_shape, output_shapes)

    def arguments(self) -> list[str]:
        lists = ["[" + ", ".join(written_items(path)) + "]" for path in self.lists]
        return [*lists, *written_keyword("name", self.name, None)]
