"""The small tools for output: JSON without NaN, tables, times, shapes, progress lines."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.cli.options import shape
from convscope.cli.output import emit_json, jsonable, table
from convscope.cli.progress import LiveLines, PlainLines, duration, epoch_line, progress_listener
from convscope.data import Transfer
from convscope.errors import ConvscopeError
from convscope.training.events import EpochEnd, Note, Step

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


@given(anything)
def test_everything_becomes_strict_json(value: object) -> None:
    json.dumps(jsonable(value), allow_nan=False)


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"loss": float("inf"), "path": Path("a b/ü.png"), "shape": (1, 28, 28)})
    assert capsys.readouterr().out == '{"loss": null, "path": "a b/\\u00fc.png", "shape": [1, 28, 28]}\n'


def test_table_lines_up() -> None:
    assert table(["name", "n"], [["mnist", "60,000"], ["x", "5"]]).splitlines() == [
        "name        n",
        "mnist  60,000",
        "x           5",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (74, "1 min 14 s"), (3600, "1 h 0 min"), (-1, "0 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("text", ["1,28,28", "1x28x28", " 1 , 28 ,28 "])
def test_shape(text: str) -> None:
    assert shape(text) == (1, 28, 28)


@pytest.mark.parametrize(
    "text",
    ["", "28", "28,28", "1,2,3,4", "0,28,28", "-1,28,28", "a,b,c", "1.5,28,28", "1,28,9999999", "٣,1,1"],
)
def test_shape_that_cannot_be(text: str) -> None:
    with pytest.raises(ConvscopeError, match="channels,height,width"):
        shape(text)


def test_plain_progress_is_a_line_an_epoch_and_never_a_flood(capsys: pytest.CaptureFixture[str]) -> None:
    listener = PlainLines(epoch_line)
    for k in range(1000):
        listener(Step(k, 1, 0.5, 0.8, 1e4, 12.0))
    listener(EpochEnd(1, 1000, 0.25, 0.9, 0.05, 0.98, 60.0, 2.0, 1234.5))
    listener(EpochEnd(2, 2000, 0.2, 0.9, None, None, 60.0, 2.0, 1234.5))
    listener(Note(Transfer("train.gz", 1_000_000, 9_000_000)))
    listener(Note("Something to know."))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "epoch 1: loss 0.2500  accuracy 0.9000  validation loss 0.0500  accuracy 0.9800  1 min  1,234 images/s",
        "epoch 2: loss 0.2000  accuracy 0.9000  1 min  1,234 images/s",
        "Something to know.",
    ]


def test_live_progress_is_one_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: a bar with the newest numbers, finished epochs above it, nothing left of the bar at the end."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    with progress_listener() as listener:
        assert isinstance(listener, LiveLines)
        listener(Note(Transfer("train.gz", 1_000_000, 9_000_000)))
        listener(Step(7, 1, 0.5, 0.8, 1e4, 12.0))
        listener.display.refresh()
        listener(EpochEnd(1, 1000, 0.25, 0.9, None, None, 60.0, 2.0, 1234.5))
    text = terminal.getvalue()
    assert "step 7/0  12 s left  loss 0.5000  accuracy 0.8000  10,000 images/s" in text
    assert "epoch 1: loss 0.2500  accuracy 0.9000  1 min  1,234 images/s\n" in text


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True
