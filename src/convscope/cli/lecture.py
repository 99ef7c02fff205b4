"""convscope lecture: its run made again, its arithmetic checked, its claim about moved pictures measured."""

from __future__ import annotations

from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import DataDir, Device, Json, Offline
from convscope.cli.output import emit_json, note, say
from convscope.cli.progress import epoch_line, progress_listener
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.training.events import EpochEnd

HELP = "The lecture, made again: run, arithmetic, claims."
app = typer.Typer(help=HELP, rich_markup_mode=None, invoke_without_command=True)


@app.callback(help=HELP)
def lecture(context: typer.Context) -> None:
    """Without a command: what there is."""
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


@app.command("check", short_help="Compute every arithmetic claim of the lecture, with a verdict.")
def check(
    claims: Annotated[
        list[str] | None, typer.Argument(metavar="CLAIM", help="Such as L19; default: all of them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute what the lecture claims, without training: holds, holds with a caveat, or does not hold."""
    from convscope.lecture.check_text import render
    from convscope.lecture.checks import check as check_claims
    from convscope.lecture.checks import open_questions

    found, questions = check_claims(claims or ()), open_questions(claims or ())
    if as_json:
        for question in questions if claims else ():
            note(f"{question.id} needs training in part or whole: {question.experiment}.")
        return emit_json([claim.to_json() for claim in found])
    say(render(found, questions, in_full=bool(claims), width=get_terminal_size().columns))


@app.command("shift", short_help="Measure accuracy when the pictures move by a few pixels.")
def shift(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Default: MNIST, else its bundled part.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of each training; default: those of recipe fast.")
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Once or several times; three trainings each; default: 0."),
    ] = None,
    number_of_seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, max=100, help="So many seeds from 0 on, in place of --seed."),
    ] = None,
    most_px: Annotated[int, typer.Option("--pixels", help="Move by 0 to this many pixels.")] = 6,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for the runs and the plot; default: runs/<data>-shift-<number>."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Use the runs in --out, train what is missing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train the runs in --out again.")] = False,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    as_json: Json = False,
) -> None:
    """Train a dense net, the lecture's network and one with a global maximum; judge them on moved test images."""
    from convscope.lecture import shift as measure_shift

    with progress_listener(quiet) as listener:
        study = measure_shift(
            data,
            steps=steps,
            seeds=_seeds(seeds, number_of_seeds),
            most_px=most_px,
            out=out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            data_dir=data_dir,
            offline=offline,
            listeners=[listener],
        )
    if as_json:
        return emit_json(study.to_json())
    say(study.render())
    say(f"\nThe plot: {study.folder / 'shift.svg'}")


def _seeds(named: list[int] | None, number: int | None) -> tuple[int, ...]:
    if named and number is not None:
        raise ConvscopeError(
            "both --seed and --seeds", "one of the two", "--seeds 3 stands for --seed 0 --seed 1 --seed 2"
        )
    return tuple(named or range(number or 1))


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
