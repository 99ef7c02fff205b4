"""Exit status and messages: whatever goes wrong is one message on stderr and nothing on stdout."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from convscope.cli import app, status
from convscope.errors import ConvscopeError, Interrupted


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make every command end with this exception."""

    def fail_with(error: BaseException) -> None:
        def command() -> NoReturn:
            raise error

        monkeypatch.setattr(app, "command", command)

    return fail_with


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (
            ConvscopeError("rate -1", "a rate above 0", "Try --rate 0.1"),
            2,
            "Error: rate -1. Expected a rate above 0.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a"),
            2,
            "Error: No space left on device: runs/a.",
        ),
        (MemoryError(), 2, "Error: The memory is not enough for this."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (Interrupted(Path("runs/a"), "Stopped after step 7; kept in runs/a."), 130, "Stopped after step 7"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "Defect in convscope: ZeroDivisionError: division by zero",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "Defect in convscope: FileNotFoundError"),
    ],
    ids=["ours", "disk", "memory", "ctrl-c", "ctrl-c in training", "defect", "defect with a file"],
)
def test_error_becomes_status_and_message(
    error: BaseException, expected: int, message: str, convscope: Any, failing: Any
) -> None:
    failing(error)
    outcome = convscope("nets")
    assert outcome.status == expected
    assert outcome.out == ""
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_traceback_is_shown_when_asked_for(
    convscope: Any, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(status.DEBUG_VARIABLE, "1")
    failing(ZeroDivisionError())
    assert "Traceback" in convscope("nets").err


def test_debug_option_sets_the_variable(convscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(status.DEBUG_VARIABLE, "")
    assert convscope("--debug", "inspect", "nonsense(").status == 2
    assert os.environ[status.DEBUG_VARIABLE] == "1"
    assert "Traceback" in convscope("inspect", "nonsense(").err


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["trian"], ["No such command 'trian'", "Did you mean 'train', 'transfer'?"]),
        (["train", "--epcohs", "3"], ["No such option: --epcohs", "Did you mean '--epochs'?"]),
        (
            ["train", "--epochs", "abc"],
            ["'--epochs'", "valid integer", "(received 'abc')", "Try: convscope train --help"],
        ),
        (["train", "--epochs"], ["'--epochs' requires an argument"]),
        (["evaluate"], ["Missing argument 'MODEL'"]),
        (["predict", "runs/a"], ["Missing argument 'PATH"]),
        (["data", "lst"], ["No such command 'lst'", "Did you mean 'list'?"]),
        (["lecture", "runn"], ["Did you mean 'run'?"]),
        (
            ["inspect", "lecture", "--input", "28x28"],
            ["--input '28x28'", "channels,height,width", "--input 1,28,28"],
        ),
        (["inspect", "lecture", "--input", "1,28,0"], ["--input '1,28,0'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_says_what_is_wrong_and_what_to_type(
    arguments: list[str], texts: list[str], convscope: Any
) -> None:
    convscope(*arguments).refused(*texts)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["data"], ["lecture"], ["train", "--help"]])
def test_help_goes_to_stdout(arguments: list[str], convscope: Any) -> None:
    outcome = convscope(*arguments)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("Usage: convscope")


def test_every_command_in_the_help_is_there(convscope: Any) -> None:
    out = convscope("--help").out
    commands = [line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.strip()]
    assert commands[:3] == ["train", "evaluate", "predict"]
    assert {"inspect", "nets", "data", "lecture"} <= set(commands)
    assert len(set(commands)) == len(commands)
    for command in commands:
        assert convscope(command, "--help").status == 0


def test_python_m_convscope_is_convscope() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "convscope", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("convscope ")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_reader_that_leaves_early_is_no_error() -> None:
    line = f"{sys.executable} -m convscope nets | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_while_loading_is_130() -> None:
    # A shell's background job is born deaf to Ctrl-C, and so are its children.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = "import time, sys; from convscope.cli import app, main; app.command = lambda: time.sleep(20); main(['nets'])"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{hear}; print('up', flush=True); {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == "Interrupted.\n"
