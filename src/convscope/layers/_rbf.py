"""`rbf`: LeNet-5's output, the distance to one fixed code a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.layers._base import Classes, Layer, Problem, Shape, whole_or_classes, written_shape
from convscope.layers._receptive_field import EVERYTHING, Window
from convscope.layers._working import Working, product

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, repr=False)
class rbf(Layer):
    """Scores y_k = −Σ_j (x_j − code_kj)²: the nearer the code of class k, the larger the score.

    Args:
        units: how many classes, or `classes`.

    The codes are fixed numbers ±1, so it has no trainable parameters. With 84 inputs and at most 10 classes they are
    digits drawn 7×12 (ours: the paper's bitmaps are not reproduced); otherwise distinct codes from a fixed hash.
    Source: LeCun, Bottou, Bengio & Haffner 1998, §II-B; the sign is turned so that larger is better.
    """

    units: int | Classes

    def _normalise(self) -> None:
        self._set("units", whole_or_classes("rbf", "units", self.units))

    def _count(self) -> int:
        if isinstance(self.units, Classes):
            raise Problem("its number of units is the placeholder `classes`, which no data has bound yet")
        return self.units

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise Problem(
                f"it needs a vector, and maps {written_shape(input_shape)} reach it", "a vector (D,)"
            )
        if self._count() > 2 ** min(input_shape[0], 62):
            raise Problem(
                f"{input_shape[0]} inputs have only {2 ** input_shape[0]} codes, fewer than {self.units} classes"
            )
        return (self._count(),)

    def reach(self, input_shape: Shape) -> Window:
        return EVERYTHING

    def connections(self, input_shape: Shape) -> int:
        return self._count() * input_shape[0]

    def working(self, input_shape: Shape) -> Working:
        inputs, units = input_shape[0], self._count()
        return Working(
            f"y_k = −Σ_j (x_j − code_kj)², j = 1 … n = {inputs:,}: minus the squared distance to the "
            "fixed ±1 code of class k",
            (f"K = {units:,} classes, a score each",),
            ("none: the codes are fixed",),
            (
                f"none counted: {product(units, inputs)} squares of differences are not multiply-adds of weights",
            ),
        )

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        from convscope.reference.glyphs import class_drawings

        return (f"RadialBasis({class_drawings(input_shape[0], self._count())})",)

    def module(self, input_shape: Shape) -> nn.Module:
        from convscope.reference.modules import RadialBasis

        return RadialBasis(input_shape[0], self._count())

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        from convscope.layers import flatten

        yield f"put flatten before {self}", (flatten(), self)
