"""A command line in this process: its status, stdout and stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from convscope.cli.status import run


@dataclass(frozen=True)
class Outcome:
    """What one command line left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document it must be, with no NaN or infinity in it."""
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))

    def refused(self, *texts: str) -> None:
        """Check that the user was told all of `texts`: status 2, an empty stdout, no traceback."""
        assert self.status == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        for text in texts:
            assert text in self.err


CommandLine = Callable[..., Outcome]


@pytest.fixture
def convscope(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`convscope("train", "mnist")` as in a shell."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
