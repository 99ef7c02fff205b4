"""The text of a network, both ways: read with `ast` and a whitelist, and written in one canonical layout.

Text is a subset of Python expressions. Before `ast` sees it, its length, its characters and its nesting are bounded;
nothing is evaluated. A first line `# convscope net, format 1` may stand at its head.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, NoReturn

from convscope.errors import NetTextError, did_you_mean
from convscope.layers import WORDS, Layer, classes
from convscope.layers._base import MAX_NESTING
from convscope.layers._composite import Composite, as_layer, example_of

FORMAT_VERSION = 1
HEADER = f"# convscope net, format {FORMAT_VERSION}"
MAX_TEXT = 200_000
LINE_WIDTH = 88

# Everything a net's text may hold. A minus stands before a digit, a dot within a number; nothing else of Python.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+) | (?P<comment>\#[^\n]*)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<string>"[^"\\\n]*"|'[^'\\\n]*') | (?P<mark>[()\[\],=])""",
    re.VERBOSE | re.ASCII,
)
_HEADER = re.compile(r"\s*#\s*convscope net, format (\d{1,9})\s*(?:\n|$)")


# Reading ------------------------------------------------------------------------------------------


def parse(text: str) -> tuple[Layer, ...]:
    """The layers a text describes, written `Net(conv(32, 3), relu, …)` or without the `Net( )`.

    Raises NetTextError that says what stands where and what was expected. Time and memory are bounded by MAX_TEXT.
    """
    if not isinstance(text, str):
        raise NetTextError(f"a net's text of type {type(text).__name__}", "text such as 'conv(32, 3), relu'")
    if len(text) > MAX_TEXT:
        raise NetTextError(f"a net's text of {len(text):,} characters", f"at most {MAX_TEXT:,}")
    _check_version(text)
    _check_tokens(text)
    return _Reader(text).layers()


def _check_version(text: str) -> None:
    header = _HEADER.match(text)
    if header and int(header[1]) != FORMAT_VERSION:
        raise NetTextError(
            f"a net of format {header[1]}", f"format {FORMAT_VERSION}, which this version of Convscope reads",
            "Update Convscope" if int(header[1]) > FORMAT_VERSION else "",
        )  # fmt: skip


def _check_tokens(text: str) -> None:
    """Refuse any character that is not part of a net's text, and too deep nesting, before Python's parser sees it."""
    at, depth = 0, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise NetTextError(
                f"{_glimpse(text, at)} at {_position(text, at)} does not belong in a net's text",
                "words, numbers, strings, brackets, commas and keyword=value",
                "Write numbers out: 1024, not 2**10",
            )
        if token.lastgroup == "number" and text[token.end() : token.end() + 1].isalpha():
            raise NetTextError(
                f"a number with letters, {_glimpse(text, at)}, at {_position(text, at)}",
                "a comma or a bracket between them",
                "Write numbers out: 255, not 0xff",
            )
        if token.lastgroup == "number" and len(token[0]) > 40:
            raise NetTextError(
                f"a number of {len(token[0])} characters at {_position(text, at)}", "at most 40"
            )
        depth += (token[0] in "([") - (token[0] in ")]") if token.lastgroup == "mark" else 0
        if depth > 2 * MAX_NESTING + 8:
            raise NetTextError(
                f"brackets {depth} deep at {_position(text, at)}", f"at most {2 * MAX_NESTING + 8}"
            )
        at = token.end()


def _glimpse(text: str, at: int) -> str:
    return repr(text[at : at + 12].split("\n")[0] or text[at])


def _position(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - (text.rfind(chr(10), 0, at) + 1) + 1}"


class _Reader:
    """Turns the syntax tree of a text into layers; every word and value is checked against what may stand there."""

    def __init__(self, text: str) -> None:
        self.text = text

    def layers(self) -> tuple[Layer, ...]:
        try:
            tree = ast.parse(f"({self.text}\n)", mode="eval").body
        except SyntaxError as error:
            self._refuse_syntax(error)
        items = tree.elts if isinstance(tree, ast.Tuple) else [tree]
        if len(items) == 1 and isinstance(items[0], ast.Call) and self._called(items[0]) == "Net":
            if items[0].keywords:
                self._refuse(items[0], "Net takes layers only, no keywords", "Net(conv(32, 3), relu)")
            items = items[0].args
        layers = tuple(self.layer(item) for item in items)
        if not layers:
            self._refuse(tree, "a net without layers", "at least one, such as dense(classes)")
        return layers

    def layer(self, node: ast.expr) -> Layer:
        value = self.value(node)
        if not isinstance(value, Layer):
            self._refuse(node, f"{self._source(node)} is not a layer", "a layer such as conv(32, 3) or relu")
        return value

    def value(self, node: ast.expr) -> Any:
        """A layer, number, string, True, False, None, `classes`, or a tuple or list of them."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
            return self._finite(node, node.value)
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and isinstance(node.operand, ast.Constant)
        ):
            return -self._finite(node, node.operand.value)
        if isinstance(node, ast.Tuple):
            return tuple(self.value(item) for item in node.elts)
        if isinstance(node, ast.List):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._refuse(
            node, f"{self._source(node)} is not a layer or a value", "words of the vocabulary and numbers"
        )

    def _finite(self, node: ast.expr, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(node, f"the number {self._source(node)} is not finite", "a finite number")
        return value

    def _named(self, node: ast.Name) -> Any:
        if node.id == "classes":
            return classes
        return self._at(node, lambda: as_layer("Net", self._word(node, node.id)))

    def _call(self, node: ast.Call) -> Layer:
        word = self._word(node, self._called(node))
        if any(keyword.arg is None for keyword in node.keywords) or any(
            isinstance(a, ast.Starred) for a in node.args
        ):
            self._refuse(node, "a star", "arguments written out")
        arguments = [self.value(argument) for argument in node.args]
        keywords = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        self._check_arguments(node, word, arguments, keywords)
        return self._at(node, lambda: word(*arguments, **keywords))

    def _called(self, node: ast.Call) -> str:
        if not isinstance(node.func, ast.Name):
            self._refuse(
                node, f"{self._source(node)} calls something that is not a word", "a word of the vocabulary"
            )
        return node.func.id

    def _word(self, node: ast.expr, name: str) -> type[Layer]:
        if name not in WORDS:
            suggestion = did_you_mean(name, [*WORDS, "classes"])
            self._refuse(node, f"unknown word {name[:60]!r}", f"one of {', '.join(WORDS)}", suggestion)
        return WORDS[name]

    def _check_arguments(
        self, node: ast.expr, word: type[Layer], arguments: list[Any], keywords: dict[str, Any]
    ) -> None:
        """Refuse unknown, missing and doubled arguments with the word's own list of them."""
        name, known = word.__name__, keyword_names(word)
        for keyword in keywords:
            if keyword not in known:
                fix = did_you_mean(keyword, known) or f"For example {example_of(word)}"
                self._refuse(
                    node, f"{name} has no keyword {keyword[:60]!r}", f"one of {', '.join(known)}", fix
                )
        if issubclass(word, Composite):
            return
        positions = [f.name for f in fields(word) if not f.kw_only]
        if len(arguments) > len(positions):
            self._refuse(
                node,
                f"{name} with {len(arguments)} arguments before its keywords",
                f"at most {len(positions)}" + (f" ({', '.join(positions)})" if positions else ""),
                f"For example {example_of(word)}",
            )
        doubled = [p for p in positions[: len(arguments)] if p in keywords]
        required = [
            f.name for f in fields(word) if not f.kw_only and f.name not in keywords and _is_required(f)
        ]
        missing = [r for r in required if r not in positions[: len(arguments)]]
        if doubled or missing:
            fault = (
                f"{name} gets {doubled[0]} twice"
                if doubled
                else f"{name} without its {' and '.join(missing)}"
            )
            self._refuse(node, fault, "every argument once", f"For example {example_of(word)}")

    def _at(self, node: ast.expr, make: Any) -> Layer:
        """Make a layer; a refusal of its values gets the position added."""
        try:
            made: Layer = make()
            return made
        except NetTextError as error:
            if " at line " in error.received:
                raise
            raise NetTextError(
                f"{error.received} at {self._where(node)}", error.expected, error.fix
            ) from None

    def _where(self, node: ast.expr) -> str:
        # The text was read behind one bracket of our own, which moves the first line by one.
        return f"line {node.lineno}, column {max(node.col_offset + (node.lineno > 1), 1)}"

    def _source(self, node: ast.expr) -> str:
        source = ast.get_source_segment(f"({self.text}\n)", node) or ""
        flat = " ".join(source.split())
        return repr(flat if len(flat) <= 60 else flat[:59] + "…")

    def _refuse(self, node: ast.expr, received: str, expected: str = "", fix: str = "") -> NoReturn:
        raise NetTextError(f"{received} at {self._where(node)}", expected, fix)

    def _refuse_syntax(self, error: SyntaxError) -> NoReturn:
        line, column = error.lineno or 1, error.offset or 1
        column -= line == 1
        lines = self.text.split("\n")
        seen = lines[line - 1][max(column - 1, 0) :][:30] if line <= len(lines) else ""
        raise NetTextError(
            f"the net's text cannot be read at line {min(line, len(lines))}, column {max(column, 1)}"
            + (f", near {seen!r}" if seen else ""),
            "layers with commas between them and every bracket closed",
            "For example conv(16, 5), relu, maxpool(2), flatten, dense(classes)",
        ) from None


def keyword_names(word: type[Layer]) -> list[str]:
    """What may stand before `=` in a word's brackets."""
    if issubclass(word, Composite):
        return {"residual": ["shortcut", "name"], "aux": ["weight", "name"]}.get(word.__name__, ["name"])
    return [f.name for f in fields(word) if f.name != "name"] + ["name"]


def _is_required(f: Any) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


# Writing ------------------------------------------------------------------------------------------


def layout(word: str, layers: Iterable[Layer], indent: int = 0) -> str:
    """The canonical text `word(…)`: on one line where it fits, else an item a line, four spaces deeper."""
    return _laid_out(word, [_piece(layer) for layer in layers], indent)


# A piece of text to lay out: a finished string, or an opening, its items and a closing.
_Piece = str | tuple[str, list["_Piece"], str]


def _piece(item: Any) -> Any:
    if not isinstance(item, Composite):
        return str(item)
    if item.word == "branches":
        lists = [("[", [_piece(layer) for layer in path], "]") for path in item.paths]
        inner: list[Any] = [*lists, *item.arguments()[len(lists) :]]
    else:
        layers = list(item.paths[0])
        arguments = item.arguments()
        start = 1 if item.word in ("repeat", "block") else 0
        inner = [*arguments[:start], *map(_piece, layers), *arguments[start + len(layers) :]]
    return (item.word + "(", inner, ")")


def _laid_out(word: str, pieces: list[Any], indent: int) -> str:
    return _write((word + "(", pieces, ")"), indent, 0)


def _write(piece: Any, indent: int, tail: int) -> str:
    flat: str = _flat(piece)
    if isinstance(piece, str) or indent + len(flat) + tail <= LINE_WIDTH or not piece[1]:
        return flat
    opening, items, closing = piece
    pad = " " * (indent + 4)
    lines = "".join(f"{pad}{_write(item, indent + 4, 1)},\n" for item in items)
    return f"{opening}\n{lines}{' ' * indent}{closing}"


def _flat(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    opening, items, closing = piece
    return f"{opening}{', '.join(_flat(item) for item in items)}{closing}"
