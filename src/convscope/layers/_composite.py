"""What the composites share: layers inside, in one or several paths, that end in one output again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from textwrap import indent
from typing import TYPE_CHECKING, Any, Self

from convscope.errors import NetTextError
from convscope.layers._base import (
    MAX_LAYERS,
    MAX_NESTING,
    Layer,
    Shape,
    checked_name,
    written_shape,
    written_value,
)
from convscope.layers._receptive_field import ReceptiveField, union
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn

Body = tuple[Layer, ...]


@dataclass(frozen=True, init=False, repr=False)
class Composite(Layer):
    """A word with layers in it. A subclass says its paths and how their outputs join."""

    _nesting: int = field(default=0, compare=False)
    _expanded: int = field(default=0, compare=False)

    def _finish(self, name: str | None) -> None:
        """What every composite checks at its end: its name, and that it stays within bounds."""
        self._set("name", None if name is None else checked_name(name, self.word))
        nesting = 1 + max((layer.nesting for path in self.paths for layer in path), default=0)
        self._set("_nesting", nesting)
        self._set("_expanded", self.copies * sum(layer.expanded for path in self.paths for layer in path) + 1)
        check_bounds(self.word, nesting, self._expanded)

    @property
    def paths(self) -> tuple[Body, ...]:
        """The layers inside, path by path."""
        raise AssertionError(f"{self.word} says no paths")

    @property
    def copies(self) -> int:
        """How often its paths are written out in a row."""
        return 1

    def with_paths(self, paths: tuple[Body, ...]) -> Self:
        """The same composite with other layers inside."""
        raise AssertionError(f"{self.word} says no with_paths")

    @property
    def nesting(self) -> int:
        return self._nesting

    @property
    def expanded(self) -> int:
        return self._expanded

    @property
    def needs_classes(self) -> bool:
        return any(layer.needs_classes for path in self.paths for layer in path)

    def bind(self, number_of_classes: int) -> Self:
        if not self.needs_classes:
            return self
        return self.with_paths(
            tuple(tuple(layer.bind(number_of_classes) for layer in path) for path in self.paths)
        )

    # How the paths join ------------------------------------------------------------------------

    def joined_shape(self, input_shape: Shape, output_shapes: tuple[Shape, ...]) -> Shape:
        """The shape after the join. Raises `Problem` when the paths disagree."""
        return output_shapes[0]

    def joined_field(self, before: ReceptiveField, fields: tuple[ReceptiveField, ...]) -> ReceptiveField:
        """What a number after the join sees."""
        return union(fields)

    def own_parameters(self, input_shape: Shape, output_shape: Shape) -> int:
        """Parameters of the join itself, beside those of the layers inside."""
        return 0

    def own_macs(self, input_shape: Shape, output_shape: Shape) -> int:
        """Multiply-adds of the join itself."""
        return 0

    @property
    def has_row(self) -> bool:
        """Whether the join does something of its own, and so has a line in the table."""
        return True

    def joined_module(
        self, paths: tuple[tuple[tuple[str, nn.Module], ...], ...], input_shape: Shape, output_shape: Shape
    ) -> nn.Module:
        """The torch module around the modules of its paths, each with its local name."""
        raise AssertionError(f"{self.word} says no joined_module")

    def joined_working(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...], output_shape: Shape
    ) -> Working:
        """How the numbers of the join come about, from the shapes in which its paths end."""
        does = (type(self).__doc__ or self.word).splitlines()[0].rstrip(".")
        inside = ("those of its layers",)
        return Working(does, (f"the last layer inside leaves {written_shape(output_shape)}",), inside, inside)

    def joined_torch_code(self, paths: tuple[str, ...], input_shape: Shape, output_shape: Shape) -> str:
        """A Python expression of the torch module around those of its paths."""
        return paths[0]

    def join_edits(
        self, input_shape: Shape, output_shapes: tuple[Shape, ...]
    ) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        """Changes that may help when the paths disagree."""
        yield f"leave {self.word} out", ()


def body_of(word: str, layers: Iterable[Any]) -> Body:
    """Layers as a tuple, words without brackets made into layers; anything else is refused."""
    return tuple(as_layer(word, layer) for layer in layers)


def as_layer(word: str, item: Any) -> Layer:
    """One item of a network: a layer, or a word standing without brackets."""
    if isinstance(item, type) and issubclass(item, Layer):
        try:
            return item()
        except TypeError:
            raise NetTextError(
                f"{item.__name__} stands without brackets", f"arguments, as in {example_of(item)}"
            ) from None
    if not isinstance(item, Layer):
        raise NetTextError(
            f"{word}: {str(item)[:80]!r} is not a layer",
            "layers such as conv(32, 3) or relu",
            "Write each as a word of the vocabulary",
        )
    return item


def example_of(item: type[Layer]) -> str:
    """A typical use of a word, for messages."""
    examples = {
        "conv": "conv(32, 3)", "dense": "dense(128)", "dropout": "dropout(0.5)", "maxpool": "maxpool(2)",
        "avgpool": "avgpool(2)", "lppool": "lppool(2, p=2)", "adaptiveavgpool": "adaptiveavgpool(6)",
        "subsample": "subsample(2)", "rbf": "rbf(classes)", "residual": "residual(conv(64, 3, padding=1), relu)",
        "branches": "branches([conv(8, 1)], [conv(8, 3, padding=1)])", "repeat": "repeat(3, conv(64, 3), relu)",
        "block": 'block("stage1", conv(64, 3), relu)', "aux": "aux(flatten, dense(classes), weight=0.3)",
    }  # fmt: skip
    return examples.get(item.__name__, item.__name__)


def check_bounds(word: str, nesting: int, expanded: int) -> None:
    """Refuse what is too deep or too long, before anything is written out or built."""
    if nesting > MAX_NESTING:
        raise NetTextError(f"{word}: composites stand {nesting} deep in each other", f"at most {MAX_NESTING}")
    if expanded > MAX_LAYERS:
        raise NetTextError(
            f"{word}: {expanded:,} layers once every repeat is written out", f"at most {MAX_LAYERS:,}"
        )


def torch_call(word: str, *arguments: str) -> str:
    """A call as torch code, an argument a line."""
    inner = "".join(f"{argument},\n" for argument in arguments)
    return f"{word}(\n{indent(inner, '    ')})"


def written_items(items: Iterable[Layer]) -> list[str]:
    """Each layer's text."""
    return [str(item) for item in items]


def written_keyword(keyword: str, value: object, default: object) -> list[str]:
    """`keyword=value`, or nothing at its default."""
    return [] if value == default else [f"{keyword}={written_value(value)}"]
