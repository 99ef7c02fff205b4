"""`Net`: a network as a description, text ⇄ layers ⇄ shapes. Nothing here needs torch until `build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convscope import text
from convscope.errors import NetTextError, ShapeError
from convscope.inference import Inference, Node, Step, expand, infer, smallest_input
from convscope.layers import Layer
from convscope.layers._base import Shape, whole, written_shape
from convscope.layers._composite import body_of, check_bounds

if TYPE_CHECKING:
    from convscope.reference import Network

DEFAULT_CLASSES = 10
MAX_BUILT_PARAMETERS = 2_000_000_000
MAX_SIDE_PX = 100_000

__all__ = ["DEFAULT_CLASSES", "Inference", "Net", "Node", "Step"]


@dataclass(frozen=True, init=False, repr=False)
class Net:
    """Layers in a row, from a picture to scores.

    Args:
        layers: words of the vocabulary; those without arguments may stand without brackets.

    Two nets are equal when their layers are. `str(net)` is its canonical text and `Net.parse` reads it back.

    >>> from convscope.layers import classes, conv, dense, flatten, relu
    >>> net = Net(conv(16, 5), relu, flatten, dense(classes))
    >>> print(net)
    Net(conv(16, 5), relu, flatten, dense(classes))
    >>> Net.parse(str(net)) == net, net.infer((1, 28, 28)).parameters
    (True, 92586)
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Any) -> None:
        body = body_of("Net", layers)
        if not body:
            raise NetTextError("a net without layers", "at least one, such as dense(classes)")
        check_bounds("Net", max(layer.nesting for layer in body), sum(layer.expanded for layer in body))
        object.__setattr__(self, "layers", body)
        expand(body)  # names that come twice are refused when the net is made

    @staticmethod
    def parse(source: str) -> Net:
        """Read a net from its text; see `convscope.text`. Raises NetTextError."""
        return Net(*text.parse(source))

    def __str__(self) -> str:
        return text.layout("Net", self.layers)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """How a notebook shows it: the table and the drawing, for the pictures it most probably takes."""
        from convscope.inspection.html import net_page

        return net_page(self)

    def to_text(self) -> str:
        """What a `.net` file holds: the format's version on the first line, then the canonical text."""
        return f"{text.HEADER}\n{self}\n"

    # Classes -----------------------------------------------------------------------------------

    @property
    def needs_classes(self) -> bool:
        """Whether the placeholder `classes` stands in it."""
        return any(layer.needs_classes for layer in self.layers)

    def bind(self, classes: int) -> Net:
        """The same net with a number for the placeholder `classes`."""
        number = whole("Net", "classes", classes)
        return Net(*(layer.bind(number) for layer in self.layers)) if self.needs_classes else self

    # Shapes ------------------------------------------------------------------------------------

    def infer(self, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> Inference:
        """Names, shapes, parameters, multiply-adds and receptive fields for a picture of `input_shape` (C, H, W).

        Raises ShapeError that names the layer, what reached it, the formula with its numbers, and edits that work.
        """
        return infer(self.bind(classes).layers, checked_input_shape(input_shape))

    def output_classes(self, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> int:
        """How many scores come out. Raises ShapeError when maps come out instead of a vector."""
        shape = self.infer(input_shape, classes).output_shape
        if len(shape) != 1:
            raise ShapeError(
                f"the net ends in maps {written_shape(shape)}",
                "a vector of scores, one a class",
                "End it with flatten, dense(classes) or with globalpool",
            )
        return shape[0]

    def smallest_input(self, channels: int, classes: int = DEFAULT_CLASSES) -> int | None:
        """The smallest side in pixels of a square picture that the net takes, or None when there is none."""
        return smallest_input(self.bind(classes).layers, (channels, 1, 1))

    # Torch -------------------------------------------------------------------------------------

    def build(self, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> Network:
        """The reference: a plain torch module with one submodule a word, float32, torch's own initialisation.

        Raises ShapeError as `infer` does, and when the net would have over two billion parameters.
        """
        inference = self.infer(input_shape, classes)
        total = inference.parameters + inference.parameters_training_only
        if total > MAX_BUILT_PARAMETERS:
            raise ShapeError(f"a net of {total:,} parameters", f"at most {MAX_BUILT_PARAMETERS:,} to build")
        from convscope.reference import Network

        return Network(self.bind(classes), inference)


def checked_input_shape(input_shape: Shape) -> Shape:
    """(C, H, W) of whole numbers of at least 1."""
    sizes = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()
    if len(sizes) != 3 or not all(isinstance(s, int) and 1 <= s <= MAX_SIDE_PX for s in sizes):
        raise ShapeError(
            f"input shape {input_shape!r}",
            f"(channels, rows, columns), each from 1 to {MAX_SIDE_PX:,}",
            "For example 1,28,28",
        )
    return sizes
