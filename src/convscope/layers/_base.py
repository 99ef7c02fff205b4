"""What every word of the vocabulary is: a frozen description that knows its own shape rule, numbers and text.

Letters: C maps (channels), H rows, W columns, D numbers in a vector. Shapes here leave the batch out: (C, H, W) or
(D,). Nothing in this package needs torch until `module` is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from convscope.errors import ConvscopeError, NetTextError
from convscope.layers._receptive_field import POINT, Window
from convscope.layers._working import Working

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

MAX_NESTING = 32
MAX_LAYERS = 10_000  # after every repeat is written out
MAX_SIZE = 10_000_000  # filters, units, windows, strides

# What a torch module calls its own things: a layer of this name could not be a submodule.
# fmt: off
RESERVED_NAMES = frozenset(
    [
        "T_destination", "activations", "add_module", "apply", "bfloat16", "body", "buffers",
        "call_super_init", "children", "compile", "cpu", "cuda", "double", "dump_patches", "eval",
        "extra_repr", "float", "forward", "get_buffer", "get_extra_state", "get_parameter", "get_submodule",
        "half", "input_shape", "ipu", "kind", "load_state_dict", "modules", "mtia", "named_buffers",
        "named_children", "named_modules", "named_parameters", "net", "new_maps", "parameters", "paths",
        "probabilities", "projection", "projection_norm", "register_backward_hook", "register_buffer",
        "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
        "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook", "register_module", "register_parameter",
        "register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_", "run", "scored",
        "scores", "set_draw", "set_extra_state", "set_submodule", "share_memory", "shortcut", "state_dict",
        "stride", "to", "to_empty", "train", "training", "training_forward", "type", "weight", "xpu",
        "zero_grad",
    ]
)
# fmt: on


class Classes:
    """The placeholder `classes`: as many as the data has. There is one, and it is written `classes`."""

    _only: ClassVar[Classes | None] = None

    def __new__(cls) -> Classes:
        cls._only = cls._only or super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "classes"

    def __copy__(self) -> Classes:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Classes:
        return self

    def __reduce__(self) -> str:
        return "classes"


classes = Classes()


class Problem(Exception):
    """A layer cannot take a shape: the reason, with the formula and its numbers. `Net` adds where and what to do."""

    def __init__(self, reason: str, expected: str = "") -> None:
        self.reason, self.expected = reason, expected
        super().__init__(reason)


@dataclass(frozen=True, repr=False)
class Layer:
    """One word: a layer, or a composite of layers.

    A subclass says `output_shape`, and where it has any `parameters`, `macs` and `reach`; and `module`, its plain
    torch form. Fields are normalised and checked when the word is made, so two equal layers are equal words.
    """

    word: ClassVar[str]
    only_passes_on: ClassVar[bool] = False  # the same numbers leave that came, in the memory where they are
    name: str | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.word = cls.__name__

    def __post_init__(self) -> None:
        if self.name is not None:
            self._set("name", checked_name(self.name, self.word))
        self._normalise()

    def _normalise(self) -> None:
        """Check the fields and bring each into its one form."""

    def _set(self, field_name: str, value: object) -> None:
        object.__setattr__(self, field_name, value)

    # What it does to a shape -------------------------------------------------------------------

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape after this layer. Raises `Problem` when it cannot take `input_shape`."""
        return input_shape

    def parameters(self, input_shape: Shape) -> int:
        """How many trainable numbers it has."""
        return 0

    def macs(self, input_shape: Shape) -> int:
        """Multiply-adds for one image; convolutions and dense layers have them, nothing else."""
        return 0

    def reach(self, input_shape: Shape) -> Window:
        """Which inputs one output looks at, for the receptive field."""
        return POINT

    def bias_additions(self, input_shape: Shape) -> int:
        """Additions of a bias for one image, one an output; a FLOP count has them beside two a multiply-add."""
        return 0

    def connections(self, input_shape: Shape) -> int:
        """Connections as the LeNet-5 paper counts them: each use of a weight or bias at each place is one."""
        return 0

    def working(self, input_shape: Shape) -> Working:
        """How its numbers come about. Without an own form: the first line of its docstring, and a shape that stays."""
        does = (type(self).__doc__ or self.word).splitlines()[0].rstrip(".")
        return Working(does, ("what comes in goes out with the shape it has",))

    def torch_code(self, input_shape: Shape) -> tuple[str, ...]:
        """Python expressions of torch modules that do the same one after another; `nn` is torch.nn.

        A class that torch has not stands in `convscope.inspection.torch_parts`. Without an own form: what the module of
        torch.nn says of itself.
        """
        module = self.module(input_shape)
        if not type(module).__module__.startswith("torch.nn."):
            raise ConvscopeError(f"{self.word} has no plain torch code", "a torch_code in its layer file")
        return (f"nn.{module!r}",)

    def module(self, input_shape: Shape) -> nn.Module:
        """The plain torch module, float32, with torch's own initialisation."""
        raise AssertionError(f"{self.word} has no torch module of its own")

    def edits(self, input_shape: Shape) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        """Changes that may help when `input_shape` is refused: what to say, and the layers to put in its place."""
        yield f"leave out {self}", ()

    # What stands in it -------------------------------------------------------------------------

    @property
    def nesting(self) -> int:
        """How deep composites stand in each other; 0 for a plain layer."""
        return 0

    @property
    def expanded(self) -> int:
        """How many layers it stands for once every repeat is written out."""
        return 1

    @property
    def needs_classes(self) -> bool:
        """Whether the placeholder `classes` stands anywhere in it."""
        return any(getattr(self, f.name) is classes for f in fields(self))

    def bind(self, number_of_classes: int) -> Self:
        """The same layer with `classes` replaced by a number."""
        changed: dict[str, Any] = {
            f.name: number_of_classes for f in fields(self) if getattr(self, f.name) is classes
        }
        return replace(self, **changed) if changed else self

    # How it is written -------------------------------------------------------------------------

    def arguments(self) -> list[str]:
        """Its arguments as text: positions first, then keywords that are not at their default."""
        positions = [f for f in fields(self) if not f.kw_only]
        while positions and self._is_default(positions[-1]):
            positions.pop()
        words = [f for f in fields(self) if f.kw_only and f.name != "name" and not self._is_default(f)]
        written = [written_value(getattr(self, f.name)) for f in positions]
        written += [f"{f.name}={written_value(getattr(self, f.name))}" for f in words]
        return written + self._written_name()

    def _written_name(self) -> list[str]:
        return [f"name={written_value(self.name)}"] if self.name is not None else []

    def _is_default(self, f: Field[Any]) -> bool:
        return f.default is not MISSING and bool(getattr(self, f.name) == f.default)

    def __str__(self) -> str:
        arguments = self.arguments()
        return f"{self.word}({', '.join(arguments)})" if arguments else self.word

    def __repr__(self) -> str:
        return str(self)


def checked_name(name: object, word: str) -> str:
    """A layer name: a Python identifier of at most 60 characters that a torch module does not use itself."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,59}", name):
        raise NetTextError(
            f"{word}: name {str(name)[:80]!r}",
            "a letter, then letters, digits or _, at most 60 in all",
            'For example name="conv1"',
        )
    if name in RESERVED_NAMES:
        raise NetTextError(f"{word}: name {name!r} is taken by torch itself", fix=f'Try name="{name}1"')
    return name


def written_value(value: object) -> str:
    """A value as it stands in a net's text; strings with double quotes."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "(" + ", ".join(written_value(item) for item in value) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def wrong(word: str, argument: str, value: object, expected: str, fix: str = "") -> ConvscopeError:
    """The error for an argument that cannot be: which word, which argument, what came, what was expected."""
    return NetTextError(f"{word}: {argument} is {written_value(value)[:80]}", expected, fix)


def whole(word: str, argument: str, value: object, least: int = 1, most: int = MAX_SIZE) -> int:
    """A whole number between `least` and `most`; a float with a whole value is not one."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(word, argument, value, f"a whole number from {least} to {most:,}")
    return value


def whole_or_classes(word: str, argument: str, value: object) -> int | Classes:
    """A whole number of at least 1, or the placeholder `classes`."""
    return value if isinstance(value, Classes) else whole(word, argument, value)


def number(word: str, argument: str, value: object, least: float, most: float) -> float:
    """A finite number between `least` and `most`, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise wrong(word, argument, value, f"a number from {least:g} to {most:g}")
    return float(value)


def flag(word: str, argument: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise wrong(word, argument, value, "True or False")
    return value


def choice(word: str, argument: str, value: object, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(word, argument, value, " or ".join(f'"{c}"' for c in choices))
    return value


def pair(word: str, argument: str, value: object, least: int = 1) -> int | tuple[int, int]:
    """One number for rows and columns alike, or (rows, columns); two equal numbers become one."""
    if isinstance(value, tuple | list) and len(value) == 2:
        rows, columns = (whole(word, argument, item, least) for item in value)
        return rows if rows == columns else (rows, columns)
    if isinstance(value, tuple | list):
        raise wrong(word, argument, tuple(value), "one number, or (rows, columns)")
    return whole(word, argument, value, least)


def both(value: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a value that may be one number."""
    return value if isinstance(value, tuple) else (value, value)


def torch_pair(value: tuple[int, int]) -> str:
    """(rows, columns) as torch code: one number where both agree."""
    return str(value[0]) if value[0] == value[1] else str(value)


def torch_option(keyword: str, value: tuple[int, int], default: int) -> str:
    """`, keyword=value` as torch code, or nothing at torch's default."""
    return "" if value == (default, default) else f", {keyword}={torch_pair(value)}"


def maps_shape(layer: Layer, input_shape: Shape) -> tuple[int, int, int]:
    """`input_shape` as (C, H, W), or the problem that it is a vector."""
    if len(input_shape) != 3:
        raise Problem(f"{layer.word} works on maps (C, H, W), and a vector {written_shape(input_shape)} came")
    channels, rows, columns = input_shape
    return channels, rows, columns


def written_shape(shape: Shape) -> str:
    """A shape as people write it: 64×12×12, or 128 for a vector."""
    return "×".join(str(size) for size in shape)
