"""convscope lecture: the lecture's own run, made again and set beside its printed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import DataDir, Device, Json, Offline
from convscope.cli.output import emit_json, say
from convscope.cli.progress import epoch_line, progress_listener

if TYPE_CHECKING:
    from convscope.training.events import EpochEnd

app = typer.Typer(help="The lecture's run, made again.", rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def lecture(context: typer.Context) -> None:
    """The lecture's run, made again."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("run", short_help="Train as the lecture did and compare each epoch.")
def run(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Default: MNIST, else its bundled part.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Once or several times; one run each; default: 0.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="In place of the lecture's five.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<data>-lecture-<number>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    as_json: Json = False,
) -> None:
    """Train the lecture's network with the lecture's recipe; print each epoch beside the lecture's, and a verdict."""
    from convscope.lecture import render
    from convscope.lecture import run as run_lecture

    with progress_listener(quiet, beside_the_lecture) as listener:
        outcome = run_lecture(
            data,
            seeds=seeds or (0,),
            epochs=epochs,
            out=out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            data_dir=data_dir,
            offline=offline,
            listeners=[listener],
        )
    if as_json:
        return emit_json(outcome.to_json())
    say(render(outcome))


def beside_the_lecture(event: EpochEnd) -> str:
    """The line of a finished epoch, and under it what the lecture printed for the same one."""
    from convscope.lecture.run import LECTURE

    ours = epoch_line(event)
    if event.epoch > len(LECTURE):
        return ours
    lecture = LECTURE[event.epoch - 1]
    return (
        f"{ours}\n{'lecture:':>9} loss {lecture.loss:.4f}  accuracy {lecture.accuracy:.4f}"
        f"  validation loss {lecture.validation_loss:.4f}  accuracy {lecture.validation_accuracy:.4f}"
    )
