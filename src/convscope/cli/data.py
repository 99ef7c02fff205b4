"""convscope data: the data sets that can be named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from convscope.cli.options import DataDir, Json
from convscope.cli.output import emit_json, say, shape_text, table

if TYPE_CHECKING:
    from convscope.data.load import DataSetRow

app = typer.Typer(help="The data sets that can be named.", rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def data(context: typer.Context) -> None:
    """The data sets that can be named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Every data set that can be named, its size, and whether it is at hand."""
    from convscope.data import datasets

    rows = datasets(data_dir=data_dir)
    if as_json:
        return emit_json(rows)
    say(
        table(
            ["name", "classes", "train", "test", "input", "at hand", "where"], [_cells(row) for row in rows]
        )
    )
    say("\nBesides these, DATA can be a folder with one folder of images for each class.")


def _cells(row: DataSetRow) -> list[str]:
    counts = [f"{count:,}" if count else "–" for count in (row["classes"], row["train"], row["test"])]
    at_hand = "yes" if row["at_hand"] else "no"
    return [row["name"], *counts, shape_text(row["input_shape"]), at_hand, str(row["where"] or "–")]
