"""convscope evaluate: what a trained model does on images it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.ahead import SCORING, load_torch
from convscope.cli.options import DataDir, Device, Json, Offline
from convscope.cli.output import emit_json, say
from convscope.cli.progress import progress_listener

if TYPE_CHECKING:
    from convscope.training.events import Listener


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run folder or a model file.")],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="A data set's name, or a folder, table or archive; default: the model's own."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="test, validation or train; default: test, else validation.")
    ] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Judge a model: accuracy with its 95 % interval, loss, each class, the confusion matrix."""
    load_torch(SCORING)
    from convscope.evaluation import evaluate as evaluate_model

    with progress_listener() as listener:
        report = evaluate_model(
            model,
            data,
            split=split,
            device=device,
            data_dir=data_dir,
            offline=offline,
            progress=lambda line: _tell(listener, line),
        )
    if as_json:
        return emit_json(report.to_json())
    say(report.render())


def _tell(listener: Listener, line: str) -> None:
    from convscope.training.events import Note  # training is loaded only when there is something to say

    listener(Note(line))
