"""What every training setting shares: checks that name all problems at once, and a strict JSON form.

A setting is a frozen dataclass with a `kind`. Its `problems()` lists what cannot be; building one with problems
raises a single `RecipeError` that names them all. Whole numbers given for a fraction or a rate become floats, so
that equal settings have equal text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeVar, cast

from convscope.errors import RecipeError, did_you_mean

Bound = tuple[Callable[[float], bool], str]
SettingType = TypeVar("SettingType", bound="Setting")

ABOVE_ZERO: Bound = (lambda value: value > 0, "a finite number above 0")
AT_LEAST_ZERO: Bound = (lambda value: value >= 0, "a finite number of at least 0")
BELOW_ONE: Bound = (lambda value: 0 <= value < 1, "a number of at least 0 and below 1")
UP_TO_ONE: Bound = (lambda value: 0 <= value <= 1, "a number from 0 to 1")
INSIDE_ONE: Bound = (lambda value: 0 < value < 1, "a number above 0 and below 1")


@dataclass(frozen=True)
class Problem:
    """One thing that cannot be: what came, what was expected, what to do."""

    received: str
    expected: str
    fix: str = ""


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one `RecipeError` for all problems; with none, do nothing.

    >>> refuse([*number("rate", -1, ABOVE_ZERO), *whole("epochs", 0)])
    Traceback (most recent call last):
    convscope.errors.RecipeError: 2 settings are not possible:
      rate -1: expected a finite number above 0
      epochs 0: expected a whole number of at least 1
    """
    found = list(problems)
    if len(found) == 1:
        raise RecipeError(found[0].received, found[0].expected, found[0].fix)
    if found:
        lines = "".join(f"\n  {_in_one_line(problem)}" for problem in found)
        raise RecipeError(f"{len(found)} settings are not possible:{lines}")


def _in_one_line(problem: Problem) -> str:
    line = f"{problem.received}: expected {problem.expected}"
    return f"{line}. {problem.fix.rstrip('.')}." if problem.fix else line


def number(name: str, value: object, bound: Bound, fix: str = "") -> list[Problem]:
    """Problems of a setting that must be a finite number within `bound`."""
    test, expected = bound
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if plain and math.isfinite(cast(float, value)) and test(cast(float, value)):
        return []
    return [Problem(f"{name} {value!r}", expected, fix)]


def whole(name: str, value: object, least: int = 1, most: int = 2**40, fix: str = "") -> list[Problem]:
    """Problems of a setting that must be a whole number from `least` to `most`."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return []
    limit = "" if isinstance(value, int) and value < least else f" and at most {most:,}"
    return [Problem(f"{name} {value!r}", f"a whole number of at least {least}{limit}", fix)]


def one_of(name: str, value: object, choices: Iterable[str]) -> list[Problem]:
    """Problems of a setting that must be one of a few words."""
    words = list(choices)
    if value in words:
        return []
    return [Problem(f"{name} {value!r}", f"one of {', '.join(words)}", did_you_mean(str(value), words))]


class Setting:
    """Base of the frozen dataclasses that make up a recipe.

    `added` names the fields that are younger than the first files: at their default they are left out of the JSON,
    and where they are missing they have it, so that an older `config.json` reads and writes as before.
    """

    kind: ClassVar[str] = ""
    added: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        refuse(self.problems())
        for field in fields(cast(Any, self)):
            if field.type == "float":
                object.__setattr__(self, field.name, float(getattr(self, field.name)))

    def problems(self) -> list[Problem]:
        """All that is wrong with these values; empty when nothing is."""
        return []

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON, with the kind first."""
        values = {
            field.name: _plain(getattr(self, field.name))
            for field in fields(cast(Any, self))
            if field.name not in self.added or getattr(self, field.name) != field.default
        }
        return {"kind": self.kind, **values} if self.kind else values

    @classmethod
    def from_fields(cls, document: Mapping[str, Any]) -> Self:
        """Build from a JSON object whose keys must be exactly the fields, but for those `added` later.

        Raises:
            RecipeError: a key is missing or unknown, or a value is not possible.
        """
        names = [field.name for field in fields(cast(Any, cls))]
        unknown = [
            Problem(f"unknown setting {key!r}", f"one of {', '.join(names)}", did_you_mean(key, names))
            for key in document
            if key not in names
        ]
        missing = [
            Problem(f"setting {name!r} is missing", "every setting, spelled out")
            for name in names
            if name not in document and name not in cls.added
        ]
        refuse(unknown + missing)
        return cls(**{name: _frozen(value) for name, value in document.items()})


def from_json(document: object, kinds: Mapping[str, type[SettingType]], what: str) -> SettingType:
    """The setting that a JSON object with a `kind` describes.

    Raises:
        RecipeError: it is no object, its kind is unknown, or its values are not possible.
    """
    if not isinstance(document, Mapping):
        raise RecipeError(f"{what} {document!r:.80}", "an object with the key 'kind'")
    kind = document.get("kind")
    refuse(one_of(f"{what} kind", kind, kinds))
    return kinds[cast(str, kind)].from_fields(
        {key: value for key, value in document.items() if key != "kind"}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Setting):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
