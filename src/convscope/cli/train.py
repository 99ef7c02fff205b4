"""convscope train: from images to a judged network in one command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from convscope.cli.ahead import load_torch, training_kernels
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
from convscope.cli.progress import counted, duration, progress_listener

if TYPE_CHECKING:
    from convscope.training.events import Event, Listener


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A data set's name, or a folder, table or archive of pictures; default: digits.",
        ),
    ] = None,
    net: Annotated[
        str | None,
        typer.Option(help="A network's name, a .net file, or text such as 'flatten, dense(classes)'."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How to optimise: fast (the default), lecture, lenet5; mnist9893, cifar94 … for the clock."
        ),
    ] = None,
    epochs: Epochs = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in one step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random number follows from it; default: 0.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<data>-<net>-<number>.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels that a folder's images are resized to.")
    ] = None,
    fit: Fit = None,
    augment: Augment = None,
    balance: Annotated[
        str | None,
        typer.Option(help="For classes of unequal size: weights (in the loss) or sampler; default: none."),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share of the training images to validate on, where the data bring no such split."),
    ] = None,
    limit_per_class: Annotated[
        int | None, typer.Option(help="Learn from at most so many images of each class.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet: start from torchvision's published weights (convscope nets lists them)."
        ),
    ] = None,
    salvage: Salvage = False,
    most_unreadable: MostUnreadable = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (the faster one, by a short trial), float32 or bfloat16.")
    ] = "auto",
    auto_batch: Annotated[
        bool, typer.Option("--auto-batch", help="Halve the batch where the memory is not enough for it.")
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="The same bits each time on a GPU too; on the CPU it is so."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a network on images, judge it on the test split, and keep the run in a folder."""
    load_torch(training_kernels())
    from convscope.cli.defaults import chosen_net
    from convscope.training import train as train_network

    chosen, why = (net, "") if resume else chosen_net(data, net)
    with progress_listener(quiet) as listener:
        opening = Opening(listener, why)
        run = train_network(
            data,
            chosen,
            recipe,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            rate=rate,
            seed=seed,
            out=out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            precision=precision,
            data_dir=data_dir,
            offline=offline,
            size_px=(size, size) if size is not None else None,
            salvage=salvage or None,
            most_unreadable=most_unreadable,
            fit=cast("Any", fit),  # train refuses what is none
            augment=augment,
            balance=balance,
            hold_out=holdout,
            limit_per_class=limit_per_class,
            weights=weights,
            auto_batch=auto_batch,
            deterministic=deterministic,
            listeners=[opening, listener],
        )
    if as_json:
        return emit_json(run.result)
    say(result_text(run.result, opening.origin))


class Opening:
    """Says why the network was chosen once training is about to start, and remembers where the data came from."""

    def __init__(self, listener: Listener, why: str) -> None:
        self._listener, self._why = listener, why
        self.origin: str | None = None

    def __call__(self, event: Event) -> None:
        from convscope.training.events import Note, Started

        if isinstance(event, Started):
            self.origin = event.origin
            if self._why:
                self._listener(Note(self._why))


def result_text(result: dict[str, Any], origin: str | None) -> str:
    """What came out, where it is, and what to type next."""
    run = shlex.quote(str(result["run"]))
    lines = [f"{result['net']} on {origin or result['data']}", *accuracy_lines(result)]
    if result["test_loss"] is not None:
        lines.append(f"{'test loss':<20}{result['test_loss']:.4f}")
    lines += [
        f"{'trained':<20}{counted(result['steps'], 'step')}, {counted(result['epochs'], 'epoch')}"
        f" in {duration(result['train_s'])}"
        f", {result['images_per_s'] or 0:,.0f} images/s",
        f"{'run folder':<20}{result['run']}",
        "",
        "Next:",
        f"  convscope evaluate {run}",
        f"  convscope predict {run} PICTURE.png",
        f"  convscope inspect {run}",
    ]
    return "\n".join(lines)
