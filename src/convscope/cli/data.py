"""convscope data: the data sets that can be named, and what is wrong with one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import typer

from convscope.cli.options import DataDir, Json, Offline, Salvage
from convscope.cli.output import emit_json, note, say, shape_text, table
from convscope.cli.progress import progress_listener
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.data.checking import DataReport
    from convscope.data.load import DataSetRow
    from convscope.evaluation.leaks import Restated
    from convscope.model_file import Model
    from convscope.training.events import Event

app = typer.Typer(
    help="Data sets: which there are, and what is wrong with one.",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@dataclass(frozen=True)
class Line:
    """What `training.events.Note` is to a listener, without loading all of training and torch."""

    text: str
    kind: ClassVar[str] = "note"


class Fit(StrEnum):
    """How a picture of another shape is brought to the network's size."""

    SQUASH = "squash"
    CROP = "crop"
    PAD = "pad"


@app.callback()
def data(context: typer.Context) -> None:
    """Data sets: which there are, and what is wrong with one."""
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
    say(
        "\nBesides these, DATA can be a folder of class folders, a table of labels, a zip or tar, Parquet, .npz or IDX."
    )


@app.command()
def check(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A folder, table or archive of pictures, or a data set's name."),
    ],
    size: Annotated[
        int | None, typer.Option(help="Side in pixels that a network would get; default: as in training.")
    ] = None,
    fit: Annotated[
        Fit | None,
        typer.Option(help="How pictures are brought to that size; default: squash.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A run or model file: see with its eyes, restate its accuracy without leakage.",
        ),
    ] = None,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Also find pictures that are mirror images of others.")
    ] = False,
    salvage: Salvage = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as one page, with pictures.")
    ] = None,
    skip_list: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the unreadable files and their reasons.")
    ] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set: unreadable files, duplicates, leakage, blank and blurred pictures."""
    if model is not None and (size is not None or fit is not None):
        raise ConvscopeError(
            "--model with --size or --fit", "one or the other", "A model has its own size and fit"
        )
    with progress_listener() as listener:
        report, restated = _checked(
            data,
            model,
            size_px=size,
            fit=(fit or Fit.SQUASH).value,
            mirrored=mirrored,
            salvage=salvage,
            data_dir=data_dir,
            offline=offline,
            progress=lambda line: listener(cast("Event", Line(line))),
        )
    _write(report, restated, html, skip_list)
    if as_json:
        return emit_json({**report.to_json(), "model": restated and restated.to_json()})
    say(report.render())
    if restated:
        say(f"\n{restated.render()}")


def _checked(data: str, model: str | None, **how: Any) -> tuple[DataReport, Restated | None]:
    """The report, and a model's accuracy without leakage where one is named."""
    from convscope.data import check_data

    if model is None:
        return check_data(data, **how), None
    from convscope.evaluation.leaks import accuracy_without_leaks
    from convscope.model_file import load_model

    loaded: Model = load_model(model)
    report = check_data(data, preprocessing=loaded.preprocessing, **how)
    return report, accuracy_without_leaks(loaded, report, progress=how["progress"])


def _write(report: DataReport, restated: Restated | None, html: Path | None, skip_list: Path | None) -> None:
    """The files that were asked for, and a line on each."""
    if skip_list is not None:
        _writable(skip_list)
        report.write_skip_list(skip_list)
        note(f"{len(report.skipped):,} skipped files are listed in {skip_list}.")
    if html is not None:
        _writable(html)
        html.write_text(report.page(restated.render() if restated else ""), encoding="utf-8")
        note(f"Open {html} in a browser.")


def _writable(path: Path) -> None:
    """Refuse what would end in a defect of ours: a folder, or a place without one."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {os.fspath(path.parent)}, which does not exist"
        raise ConvscopeError(f"{path} {what}", "the name of a file to write", "Name another")


def _cells(row: DataSetRow) -> list[str]:
    counts = [f"{count:,}" if count else "–" for count in (row["classes"], row["train"], row["test"])]
    at_hand = "yes" if row["at_hand"] else "no"
    return [row["name"], *counts, shape_text(row["input_shape"]), at_hand, str(row["where"] or "–")]
