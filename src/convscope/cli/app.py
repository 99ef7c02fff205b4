"""The commands and their order in `convscope --help`. A command that does not exist yet is not in the list."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.main import get_command

from convscope.cli import bench, data, evaluate, explain, inspect, lecture, nets, predict, train, transfer
from convscope.cli.status import DEBUG_VARIABLE

# rich_markup_mode=None: help is plain text, so `convscope --help` need not load rich.
app = typer.Typer(
    name="convscope",
    help="Train a ConvNet at hardware speed, and see through it.",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
_SHORT = {
    "train": "Train a network on images, judge it, keep the run.",
    "evaluate": "Judge a model on images it was not trained on.",
    "predict": "Say what picture files show.",
    "transfer": "Make a classifier from few pictures and a trained network.",
    "explain": "Look inside a network while it sees a picture.",
    "inspect": "Show a network layer by layer: shapes and costs.",
    "nets": "The networks that come with convscope.",
    "bench": "How fast this machine trains, and why.",
}
for function in (
    train.train,
    evaluate.evaluate,
    predict.predict,
    transfer.transfer,
    explain.explain,
    inspect.inspect,
    nets.nets,
    bench.bench,
):
    app.command(function.__name__, short_help=_SHORT[function.__name__])(function)
app.add_typer(data.app, name="data", short_help="Data sets: which there are, and what is wrong with one.")
app.add_typer(lecture.app, name="lecture", short_help="The lecture, made again: run, arithmetic, claims.")


@app.callback(invoke_without_command=True)
def convscope(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Train a ConvNet at hardware speed, and see through it.

    The first thing to type: convscope train
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(f"convscope {installed_version('convscope')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def command() -> Any:
    """The whole command line as one click command (typer ships its own click, hence no type to name here)."""
    return get_command(app)
