"""`block`: layers in a row under one name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from convscope.layers._base import Shape, checked_name, written_value
from convscope.layers._composite import Body, Composite, body_of, written_items

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, init=False, repr=False)
class block(Composite):
    """Layers in a row that share a name: inside block "stage2" the third convolution is stage2.conv3.

    Args:
        block_name: the block's name; `name=` says the same.
        layers: the layers in it.
    """

    layers: Body = field(default=())

    def __init__(self, block_name: str | Any = None, /, *layers: Any, name: str | None = None) -> None:
        if name is not None:
            layers = (block_name, *layers) if block_name is not None else layers
            block_name = name
        self._set("layers", body_of("block", layers))
        self._finish(checked_name(block_name, "block"))

    @property
    def paths(self) -> tuple[Body, ...]:
        return (self.layers,)

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        return type(self)(self.name, *paths[0])

    @property
    def has_row(self) -> bool:
        return False

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        from convscope.reference.modules import Row

        return Row(paths)

    def arguments(self) -> list[str]:
        return [written_value(self.name), *written_items(self.layers)]
