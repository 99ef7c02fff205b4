"""convscope transfer: a classifier for few pictures, from a network that was trained on many."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.ahead import SCORING, load_torch, training_kernels
from convscope.cli.options import (
    Augment,
    DataDir,
    Device,
    Epochs,
    Fit,
    Json,
    MostUnreadable,
    Offline,
    Overwrite,
    Quiet,
    Resume,
    Salvage,
)
from convscope.cli.output import accuracy_lines, emit_json, say
from convscope.cli.progress import duration, progress_listener
from convscope.errors import ConvscopeError
from convscope.transfer_learning.modes import STUDIES, require_meant


def transfer(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A folder, table or archive of pictures, or a data set's name."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="BACKBONE", help="A published model's name, a run folder or a model file."
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(help="extract (the default), finetune, scratch, compare, or layers."),
    ] = "extract",
    freeze_until: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="With finetune and compare: everything up to this layer stays as it is; none: nothing does.",
        ),
    ] = None,
    epochs: Epochs = None,
    class_weights: Annotated[
        str, typer.Option(help="equal, or balanced: every class counts the same.")
    ] = "equal",
    penalty: Annotated[
        float | None, typer.Option(help="Of the head's weights; default: chosen by cross-validation.")
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(help="Share of known pictures that predict may call unknown; default: 0.05."),
    ] = None,
    per_class: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", help="With compare and layers: how many images of each class to learn from."
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="With compare and layers: how often to draw those images anew.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="With compare and layers: about how long it may take."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random number follows from it.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<data>-<backbone>-<number>.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels of the images; default: the backbone's own.")
    ] = None,
    fit: Fit = None,
    augment: Augment = None,
    salvage: Salvage = False,
    most_unreadable: MostUnreadable = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a classifier for few pictures from a network that was trained on many, and keep the run in a folder."""
    _require_sense(data, mode, resume)
    if not resume:  # which has the mode of the run
        studied = {"--per-class": per_class, "--draws": draws, "--budget": budget}
        trained = {"--freeze-until": freeze_until, "--epochs": epochs, "--augment": augment}
        fitted = {"--penalty": penalty, "--false-alarms": false_alarms}
        require_meant(mode, {**studied, **trained, **fitted})
    given: dict[str, Any] = {
        "seed": seed,
        "out": out,
        "overwrite": overwrite,
        "device": device,
        "data_dir": data_dir,
        "offline": offline,
        "size_px": size,
        "fit": fit,
        "augment": augment,
        "salvage": salvage,
        "class_weights": class_weights,
        "penalty": penalty,
        "epochs": epochs,
    }
    sometimes = {
        "most_unreadable": most_unreadable,
        "freeze_until": freeze_until,
        "false_alarms": false_alarms,
    }
    given |= {name: value for name, value in sometimes.items() if value is not None}
    load_torch(SCORING if mode == "extract" else training_kernels())
    with progress_listener(quiet) as listener:
        if mode in STUDIES:
            amount = {"per_class": counts(per_class), "draws": draws, "budget_minutes": budget}
            report = _study(mode)(data, backbone, **amount, listeners=[listener], **given)
            document, text = report.to_json(), report.render()
        else:
            from convscope.transfer_learning import transfer as transfer_to

            run = transfer_to(data, backbone, mode, resume=resume, listeners=[listener], **given)
            document, text = run.result, result_text(run.result)
    return emit_json(document) if as_json else say(text)


def _require_sense(data: str | None, mode: str, resume: bool) -> None:
    if resume and mode in STUDIES:
        raise ConvscopeError(
            f"--resume with --mode {mode}",
            "the folder of a run of finetune or scratch in --out",
            f"Leave it out: --mode {mode} begins anew, from the features that are kept",
        )
    if data is None and not resume:
        raise ConvscopeError(
            "no DATA", "a folder of class folders, or a data set's name", "Try: convscope transfer photos/"
        )


def _study(mode: str) -> Callable[..., Any]:
    from convscope.transfer_learning import compare, layers

    studies: dict[str, Callable[..., Any]] = {"compare": compare, "layers": layers}
    return studies[mode]


def counts(text: str | None) -> tuple[int, ...] | None:
    """`5,10,20` as numbers.

    Raises:
        ConvscopeError: not whole numbers of at least 1.

    >>> counts("5,10,20")
    (5, 10, 20)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 10**7 for part in parts):
        raise ConvscopeError(
            f"--per-class {text[:80]!r}", "whole numbers of at least 1, with commas between", "Try 5,10,20"
        )
    return tuple(sorted({int(part) for part in parts}))


def result_text(result: dict[str, Any]) -> str:
    """What came out, where it is, and what to type next."""
    run = shlex.quote(str(result["run"]))
    origin = f" from {result['backbone']}" if result["backbone"] is not None else ""
    lines = [f"{result['data']}{origin}, {result['mode']}", *accuracy_lines(result)]
    lines += [
        f"{'features':<20}{duration(result['features_s'])}" if result["features_s"] is not None else "",
        f"{'head':<20}{duration(result['head_s'])}" if result["head_s"] is not None else "",
        f"{'all of it':<20}{duration(result['wall_s'])}",
        f"{'run folder':<20}{result['run']}",
    ]
    following = [
        "",
        "Next:",
        f"  convscope predict {run} PICTURE.jpg",
        f"  convscope evaluate {run}",
        f"  convscope explain {run} PICTURE.jpg",
    ]
    return "\n".join([line for line in lines if line] + following)
