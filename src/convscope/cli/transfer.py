"""convscope transfer: a classifier for few pictures, from a network that was trained on many."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.ahead import SCORING, TRAINING, load_torch
from convscope.cli.options import DataDir, Device, Json, MostUnreadable, Offline, Salvage
from convscope.cli.output import emit_json, say
from convscope.cli.progress import duration, progress_listener
from convscope.errors import ConvscopeError


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
            help="With finetune: everything up to this layer stays as it is; none: nothing does.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="With finetune and scratch: passes over the training images.")
    ] = None,
    class_weights: Annotated[
        str, typer.Option(help="equal, or balanced: every class counts the same.")
    ] = "equal",
    penalty: Annotated[
        float | None, typer.Option(help="Of the head's weights; default: chosen by cross-validation.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Share of known pictures that predict may call unknown.")
    ] = 0.05,
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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the finetune or scratch in --out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels of the images; default: the backbone's own.")
    ] = None,
    salvage: Salvage = False,
    most_unreadable: MostUnreadable = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    as_json: Json = False,
) -> None:
    """Make a classifier for few pictures from a network that was trained on many, and keep the run in a folder."""
    if resume and mode in ("compare", "layers"):
        raise ConvscopeError(
            f"--resume with --mode {mode}",
            "the folder of a run of finetune or scratch in --out",
            f"Leave it out: --mode {mode} begins anew, from the features that are kept",
        )
    if data is None and not resume:
        raise ConvscopeError(
            "no DATA", "a folder of class folders, or a data set's name", "Try: convscope transfer photos/"
        )
    common: dict[str, Any] = {
        "seed": seed,
        "out": out,
        "overwrite": overwrite,
        "device": device,
        "data_dir": data_dir,
        "offline": offline,
        "size_px": size,
    }
    reading: dict[str, Any] = {"salvage": True} if salvage else {}
    reading |= {} if most_unreadable is None else {"most_unreadable": most_unreadable}
    if reading and mode in ("compare", "layers"):
        raise ConvscopeError(
            f"--{next(iter(reading)).replace('_', '-')} with --mode {mode}",
            "--mode extract, finetune or scratch",
            "Leave it out, or mend the files that `convscope data check` names",
        )
    load_torch(TRAINING if mode in ("finetune", "scratch", "compare", "layers") else SCORING)
    with progress_listener(quiet) as listener:
        if mode in ("compare", "layers"):
            from convscope.transfer_learning import compare, layers

            study = compare if mode == "compare" else layers
            assert data is not None
            report = study(
                data,
                backbone,
                per_class=counts(per_class),
                draws=draws,
                budget_minutes=budget,
                listeners=[listener],
                **common,
            )
        else:
            from convscope.transfer_learning import transfer as transfer_to

            run = transfer_to(
                data,
                backbone,
                mode,
                class_weights=class_weights,
                penalty=penalty,
                false_alarms=false_alarms,
                freeze_until=freeze_until,
                epochs=epochs,
                listeners=[listener],
                resume=resume,
                **reading,
                **common,
            )
    if mode in ("compare", "layers"):
        return emit_json(report.to_json()) if as_json else say(report.render())
    return emit_json(run.result) if as_json else say(result_text(run.result))


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
    lines = [f"{result['data']}{origin}, {result['mode']}"]
    for split in ("validation", "test"):
        if result[f"{split}_accuracy"] is not None:
            lines.append(f"{split + ' accuracy':<20}{result[f'{split}_accuracy']:.4f}")
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
