"""Every error a user can mend, each built from one formula: what came, what was expected, what to do.

ConvscopeError (a ValueError)
├── NetTextError        a network's text cannot be read
├── ShapeError          a layer cannot take the shape that reaches it
├── DataError           images, labels, folders, downloads
├── RecipeError         a training setting
├── RunError            a run folder: in the way, foreign, finished, without a checkpoint
│   └── OutOfMemoryError  the memory is not enough for the batches of a run
├── ModelFileError      a model file: truncated, foreign, newer, changed, disagreeing with its net
├── DivergedError       the loss stopped being a number
└── MissingExtraError   an optional dependency is not installed
Interrupted (a KeyboardInterrupt)   training was stopped by the user after everything was saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ConvscopeError(ValueError):
    """What the user can mend. The message is `received`, `expected` and `fix`, one sentence each.

    >>> print(ConvscopeError("batch size 0", "a whole number of at least 1", "Try --batch-size 128"))
    batch size 0. Expected a whole number of at least 1. Try --batch-size 128.
    """

    def __init__(self, received: str, expected: str = "", fix: str = "") -> None:
        self.received, self.expected, self.fix = received, expected, fix
        super().__init__(
            " ".join(_sentence(part) for part in (received, _expectation(expected), fix) if part)
        )


class NetTextError(ConvscopeError):
    """The text of a network cannot be read."""


class ShapeError(ConvscopeError):
    """A layer cannot take the shape that reaches it."""


class DataError(ConvscopeError):
    """Images, labels, folders or downloads are not as they must be."""


class RecipeError(ConvscopeError):
    """A training setting is not possible."""


class RunError(ConvscopeError):
    """A run folder is in the way, foreign, or cannot be resumed."""


class OutOfMemoryError(RunError):
    """The memory is not enough for the batches of a run. `is_saved` tells whether it left a checkpoint."""

    def __init__(self, received: str, expected: str = "", fix: str = "", is_saved: bool = False) -> None:
        self.is_saved = is_saved
        super().__init__(received, expected, fix)


class ModelFileError(ConvscopeError):
    """A model file is truncated, foreign, newer, changed, or disagrees with its own network."""


class DivergedError(ConvscopeError):
    """The loss stopped being a finite number."""


class MissingExtraError(ConvscopeError):
    """An optional dependency is needed and not installed."""


class Interrupted(KeyboardInterrupt):
    """Training was interrupted; everything up to that step is saved in `run_folder`."""

    def __init__(self, run_folder: Path, message: str) -> None:
        self.run_folder = run_folder
        super().__init__(message)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A suggestion for a mistyped word, or the empty string.

    >>> did_you_mean("lectur", ["lecture", "mlp"])
    "Did you mean 'lecture'?"
    """
    close = difflib.get_close_matches(word[:100], list(choices), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


def _sentence(part: str) -> str:
    return part if part.endswith((".", "?", "!", ":")) or "\n" in part else f"{part}."


def _expectation(expected: str) -> str:
    return f"Expected {expected}" if expected else ""
