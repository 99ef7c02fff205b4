"""From what went wrong to one clear message on stderr and an exit status; no traceback unless it is asked for."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

from convscope.errors import ConvscopeError, did_you_mean

DONE, DEFECT, USER_CAN_MEND, INTERRUPTED = 0, 1, 2, 130
DEBUG_VARIABLE = "CONVSCOPE_DEBUG"

# What the operating system refuses because of the user's disk, rights or paths rather than because of our code.
MENDABLE_ERRNOS = {
    getattr(errno, name, None)
    for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENAMETOOLONG")
}


_EXPECTED = {
    errno.EACCES: "a place that you may read and write",
    errno.EPERM: "a place that you may read and write",
    errno.EROFS: "a place that can be written",
    errno.ENOSPC: "room left on the disk",
    errno.EFBIG: "a disk and limits that take files of this size",
    errno.EIO: "a disk or terminal that answers",
    errno.ENAMETOOLONG: "a shorter name",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status. `arguments` are sys.argv[1:] where none are given."""
    _never_fail_on_letters()
    _share_the_cores()
    status = run(sys.argv[1:] if arguments is None else list(arguments))
    gc.freeze()  # else Python looks through every object of torch once more before it leaves: 0.7 s
    sys.exit(_flushed(status))


def _share_the_cores() -> None:
    """Let torch's threads that wait for each other sleep after some 10 µs, instead of a millisecond of spinning.

    Alone it makes no difference; beside other programs a step is two to three times faster (docs/log.md). It must be
    said before torch is loaded, and what the user says holds.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run(arguments: list[str]) -> int:
    """The exit status of one command line; what went wrong has been said on stderr."""
    try:
        return _dispatch(arguments)
    except BrokenPipeError:
        return _quiet_pipe()
    except KeyboardInterrupt as interruption:
        return _say(str(interruption) or "Interrupted.", INTERRUPTED)
    except typer.Abort:
        return _say("Interrupted.", INTERRUPTED)
    except typer.TyperException as error:
        return _say(f"Error: {usage_message(error)}", USER_CAN_MEND)
    except Exception as error:
        message = mendable_message(error)
        _show_traceback_if_asked()
        if message:
            return _say(f"Error: {message}", USER_CAN_MEND)
        return _say(_defect_message(error), DEFECT)


def usage_message(error: typer.TyperException) -> str:
    """What is wrong with the command line, with the nearest word that would be right."""
    message = error.format_message().rstrip()
    possibilities = getattr(error, "possibilities", None)
    if possibilities:
        message = (
            f"{error.message.rstrip('.')}. {did_you_mean(getattr(error, 'option_name', ''), possibilities)}"
        )
    message = _cut(message) + _what_came(error)
    context = getattr(error, "ctx", None)
    return f"{message.rstrip()}\nTry: {context.command_path} --help" if context else message


def _cut(text: str, most: int = 400) -> str:
    """A word that a user typed may be a megabyte long; the message is not."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _what_came(error: typer.TyperException) -> str:
    """The value that was refused, which typer's message leaves out; it is in the validation error behind it."""
    details = getattr(error.__cause__, "errors", None)
    return f" (received {str(details()[0].get('input', ''))[:80]!r})" if callable(details) else ""


def mendable_message(error: Exception) -> str:
    """The message for something the user can mend, or the empty string where the fault is ours."""
    if isinstance(error, ConvscopeError):
        return str(error)
    if isinstance(error, OSError) and error.errno in MENDABLE_ERRNOS:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}. Expected {_EXPECTED.get(error.errno or 0, 'a place that may be used')}."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "The memory is not enough for this. Try a smaller --batch-size, --size or network."
    return ""


def _dispatch(arguments: list[str]) -> int:
    # The steps of a click command's own main(), less its handling of errors: ours keeps an interruption's message.
    from convscope.cli.app import command

    try:
        with command().make_context("convscope", arguments) as context:
            context.command.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    return DONE


def _defect_message(error: Exception) -> str:
    kind = type(error).__name__
    return (
        f"Defect in convscope: {kind}: {error}\n"
        f"This is not your fault. Set {DEBUG_VARIABLE}=1 (or type convscope --debug …) to see the traceback."
    )


def _show_traceback_if_asked() -> None:
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        traceback.print_exc(file=sys.stderr)


def _say(message: str, status: int) -> int:
    """The message and the status; where the terminal is gone, the status alone."""
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return status


def _never_fail_on_letters() -> None:
    """A terminal that cannot show a letter (a file name, an ellipsis) gets its code instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")


def _flushed(status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _quiet_pipe()
    return status


def _quiet_pipe() -> int:
    """The reader has gone (`convscope nets | head -1`): nobody is left to tell, so leave without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
