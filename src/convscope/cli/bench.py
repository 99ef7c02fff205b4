"""convscope bench: how fast this machine trains, beside plain PyTorch and beside what the chip can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import DataDir, Device, Json, Offline, shape
from convscope.cli.output import emit_json, note, say
from convscope.errors import ConvscopeError


def bench(
    net: Annotated[
        str | None,
        typer.Option(help="A network's name, a .net file, or text; default: the lecture's."),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Channels, height and width of the images.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in one step.")] = 128,
    seconds: Annotated[float, typer.Option(help="About how long it may take.")] = 45.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only the machine and the plan chosen on it, with the reason.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure the plan again, even where it is remembered.")
    ] = False,
    ablate: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Train without each trick of a recipe: what each one bought."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="With --ablate: what to train on; default: the recipe's."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="With --ablate: how many seeds, from 0.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="With --ablate: passes over the images.")] = None,
    steps: Annotated[int | None, typer.Option(help="With --ablate: steps, instead of epochs.")] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure this machine: the plan and its reason, training beside plain PyTorch and the limit, evaluation."""
    if ablate is not None:
        _refuse_with_ablate(plan, fresh)
        return _ablate(
            ablate,
            data,
            net,
            seeds,
            epochs,
            steps,
            device,
            data_dir=data_dir,
            offline=offline,
            as_json=as_json,
        )
    _refuse_without_ablate(data, epochs, steps)
    from convscope.benchmark import bench as measure
    from convscope.benchmark import machine_plan

    images = shape(input_shape)
    found = (
        machine_plan(net or "lecture", input_shape=images, batch_size=batch_size, device=device, fresh=fresh)
        if plan
        else measure(
            net or "lecture",
            input_shape=images,
            batch_size=batch_size,
            device=device,
            seconds=seconds,
            fresh=fresh,
            progress=note,
        )
    )
    emit_json(found.to_json()) if as_json else say(found.text())


def _ablate(
    recipe: str,
    data: str | None,
    net: str | None,
    seeds: int,
    epochs: int | None,
    steps: int | None,
    device: str,
    *,
    data_dir: Path | None,
    offline: bool,
    as_json: bool,
) -> None:
    from convscope.cli.progress import progress_listener
    from convscope.training.ablation import ablate

    with progress_listener() as listener:
        found = ablate(
            recipe,
            data,
            net,
            seeds=seeds,
            epochs=epochs,
            steps=steps,
            device=device,
            data_dir=data_dir,
            offline=offline,
            listeners=[listener],
        )
    emit_json(found.to_json()) if as_json else say(found.text())


def _refuse_with_ablate(plan: bool, fresh: bool) -> None:
    if plan or fresh:
        raise ConvscopeError(
            f"--ablate with {'--plan' if plan else '--fresh'}",
            "one of them, since each is the whole answer",
            "Ask twice",
        )


def _refuse_without_ablate(data: str | None, epochs: int | None, steps: int | None) -> None:
    given = {"--data": data, "--epochs": epochs, "--steps": steps}
    for option, value in given.items():
        if value is not None:
            raise ConvscopeError(
                f"{option} {value} without --ablate",
                "it with --ablate RECIPE only",
                "Add --ablate, or leave it out",
            )
