"""What a command says: results on stdout, everything else on stderr, JSON that any reader accepts."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any


def emit_json(document: Any) -> None:
    """One JSON document and a line break on stdout. NaN and infinities, which JSON has not, become null."""
    sys.stdout.write(json.dumps(jsonable(document), allow_nan=False) + "\n")
    sys.stdout.flush()


def jsonable(value: Any) -> Any:
    """Plain dicts, lists, strings and finite numbers.

    >>> jsonable({"loss": float("nan"), "shape": (1, 28, 28)})
    {'loss': None, 'shape': [1, 28, 28]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [jsonable(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    return value


def say(text: str) -> None:
    """A line of the result, for people."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line of progress or advice: stderr, so that a pipe gets the result alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns lined up with spaces; the first `left` columns flush left, the others flush right.

    >>> print(table(["name", "n"], [["mnist", "60,000"]]))
    name        n
    mnist  60,000
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for row in (headings, *rows):
        cells = [
            f"{cell:<{w}}" if k < left else f"{cell:>{w}}"
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape as people write it.

    >>> shape_text((1, 28, 28))
    '1×28×28'
    """
    return "×".join(map(str, shape)) if shape else "–"


def accuracy_lines(result: Mapping[str, Any]) -> list[str]:
    """The accuracies of a run, with the balanced one where the classes of a split are of unequal size."""
    lines = []
    for split in ("validation", "test"):
        if result[f"{split}_accuracy"] is not None:
            lines.append(f"{split + ' accuracy':<20}{result[f'{split}_accuracy']:.4f}")
        if result[f"{split}_balanced_accuracy"] is not None:
            balanced = result[f"{split}_balanced_accuracy"]
            lines.append(
                f"{'  balanced':<20}{balanced:.4f} (mean over the classes, which are of unequal size)"
            )
    return lines
