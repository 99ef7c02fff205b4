"""`repeat`: layers written once and used several times in a row, each time with weights of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from convscope.layers._base import MAX_LAYERS, Shape, whole
from convscope.layers._composite import Body, Composite, body_of, written_items, written_keyword

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, init=False, repr=False)
class repeat(Composite):
    """The layers `times` times in a row. Without a name the copies stand as if they were written out.

    Args:
        times: how often.
        layers: the layers of one copy.
    """

    times: int = 1
    layers: Body = field(default=())

    def __init__(self, times: int, /, *layers: Any, name: str | None = None) -> None:
        self._set("times", whole("repeat", "times", times, 1, MAX_LAYERS))
        self._set("layers", body_of("repeat", layers))
        self._finish(name)

    @property
    def paths(self) -> tuple[Body, ...]:
        return (self.layers,)

    @property
    def copies(self) -> int:
        return self.times

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        return type(self)(self.times, *paths[0], name=self.name)

    @property
    def has_row(self) -> bool:
        return False

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        from convscope.reference.modules import Row

        return Row(paths)

    def arguments(self) -> list[str]:
        return [str(self.times), *written_items(self.layers), *written_keyword("name", self.name, None)]
