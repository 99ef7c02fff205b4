"""convscope predict: what a trained model sees in picture files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.ahead import SCORING, load_torch
from convscope.cli.options import Device, Json
from convscope.cli.output import emit_json, note, say
from convscope.errors import DataError

if TYPE_CHECKING:
    from convscope.prediction import Failure, Prediction


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run folder or a model file.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Picture files and folders of them.")],
    top: Annotated[int, typer.Option(help="How many classes to list for each picture.")] = 3,
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap dark and light first (scans of digits).")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what each picture shows, folders recursively, a line a file in path order."""
    load_torch(SCORING)
    from convscope.prediction import predict as predict_files

    outcomes = predict_files(model, paths, top=top, invert=invert, device=device, notice=note)
    write = _write_json if as_json else _write_text
    _say_all(outcomes, write)


def _say_all(outcomes: Iterable[Prediction | Failure], write: Callable[[Prediction | Failure], None]) -> None:
    """Write each outcome as it comes; files that cannot be read wait for the first that can.

    If none can be read the command has failed: stdout stays empty and the message tells of every file.
    """
    from convscope.prediction import Failure

    waiting: list[Failure] = []
    any_read = False
    for outcome in outcomes:
        if not any_read and isinstance(outcome, Failure):
            waiting.append(outcome)
            continue
        for failure in waiting:
            write(failure)
        waiting.clear()
        any_read = True
        write(outcome)
    if not any_read:
        raise _none_read(waiting)


def _none_read(failures: list[Failure]) -> DataError:
    received = f"none of {len(failures)} files could be read" if failures else "no picture file"
    if len(failures) == 1:
        received = "the only file could not be read"
    reasons = "".join(f"\n  {failure.path}: {failure.error}" for failure in failures)
    return DataError(
        received,
        "at least one picture that can be read",
        "Name picture files (PNG, JPEG, WebP, BMP, GIF, TIFF) or folders that hold some" + reasons,
    )


def _write_json(outcome: Prediction | Failure) -> None:
    emit_json(outcome.to_json())


def _write_text(outcome: Prediction | Failure) -> None:
    from convscope.prediction import Failure

    if isinstance(outcome, Failure):
        say(f"{outcome.path}: cannot be read: {outcome.error}")
    else:
        is_unknown = outcome.label != outcome.top[0][0]
        others = ", ".join(
            f"{label} {probability:.3f}" for label, probability in outcome.top[0 if is_unknown else 1 :]
        )
        said = outcome.label if is_unknown else f"{outcome.label}  {outcome.probability:.3f}"
        say(f"{outcome.path}: {said}" + (f"   ({others})" if others else ""))
    sys.stdout.flush()
