"""`aux`: a second output that only training sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from convscope.layers._base import Problem, Shape, number, written_shape
from convscope.layers._composite import Body, Composite, body_of, torch_call, written_items, written_keyword
from convscope.layers._receptive_field import ReceptiveField
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, init=False, repr=False)
class aux(Composite):
    """Passes its input on; in training its layers make scores of their own, whose loss counts `weight`.

    Args:
        layers: from the input to scores, a vector with one number a class.
        weight: how much its loss counts beside the main one.

    Source: the auxiliary classifiers of Szegedy et al. 2014, whose weight is 0.3.
    """

    only_passes_on = True

    layers: Body = field(default=())
    weight: float = 0.3

    def __init__(self, *layers: Any, weight: float = 0.3, name: str | None = None) -> None:
        self._set("layers", body_of("aux", layers))
        self._set("weight", number("aux", "weight", weight, 0.0, 1e6))
        self._finish(name)

    @property
    def paths(self) -> tuple[Body, ...]:
        return (self.layers,)

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        return type(self)(*paths[0], weight=self.weight, name=self.name)

    def joined_shape(self, input_shape: Shape, output_shapes: tuple[Shape, ...]) -> Shape:
        if len(output_shapes[0]) != 1:
            raise Problem(
                f"its scores are maps {written_shape(output_shapes[0])}", "a vector, one number a class"
            )
        return input_shape

    def joined_field(self, before: ReceptiveField, fields: tuple[ReceptiveField, ...]) -> ReceptiveField:
        return before

    def joined_working(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...], output_shape: Shape
    ) -> Working:
        return Working(
            f"passes its input on; in training its layers make {output_shapes[0][0]} scores of their own, whose "
            f"loss counts {self.weight:g} beside the main one",
            ("what comes in goes out with the shape it has",),
            ("those of its layers, which are for training only and not in the net's total",),
            ("those of its layers, likewise",),
        )

    def joined_torch_code(self, paths: tuple[str, ...], input_shape: Shape, output_shape: Shape) -> str:
        return torch_call("Auxiliary", paths[0], f"weight={self.weight}")

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        from convscope.reference.modules import Auxiliary

        return Auxiliary(paths, self.weight)

    def arguments(self) -> list[str]:
        weight = written_keyword("weight", self.weight, 0.3)
        return [*written_items(self.layers), *weight, *written_keyword("name", self.name, None)]
