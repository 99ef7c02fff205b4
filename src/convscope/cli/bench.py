"""convscope bench: how fast this machine trains, beside plain PyTorch and beside what the chip can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import DataDir, Device, Json, Offline, shape
from convscope.cli.output import emit_json, note, say
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.training.ablation import Ablation
    from convscope.training.spread import Spread


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
    spread: Annotated[
        bool, typer.Option("--spread", help="Train with several seeds: how far apart the accuracies lie.")
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="With --spread: how to optimise; default: fast.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="With --ablate or --spread: what to train on."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds, from 0: with --ablate 3, with --spread 5.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="With --ablate or --spread: passes over the images.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="With --ablate or --spread: steps, instead of epochs.")
    ] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure this machine: the plan and its reason, training beside plain PyTorch and the limit, evaluation."""
    how: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "device": device,
        "data_dir": data_dir,
        "offline": offline,
    }
    if seeds is not None:
        how["seeds"] = seeds
    if spread:
        _refuse_together("--spread", {"--plan": plan, "--fresh": fresh, "--ablate": ablate is not None})
        from convscope.training.spread import spread as spread_of

        return _several_trainings(partial(spread_of, data, net, recipe, **how), as_json)
    if ablate is not None:
        _refuse_together("--ablate", {"--plan": plan, "--fresh": fresh, "--recipe": recipe is not None})
        from convscope.training.ablation import ablate as ablation_of

        return _several_trainings(partial(ablation_of, ablate, data, net, **how), as_json)
    _refuse_without_training(
        {"--data": data, "--recipe": recipe, "--seeds": seeds, "--epochs": epochs, "--steps": steps}
    )
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


def _several_trainings(study: Callable[..., Ablation | Spread], as_json: bool) -> None:
    from convscope.cli.progress import progress_listener

    with progress_listener() as listener:
        found = study(listeners=[listener])
    emit_json(found.to_json()) if as_json else say(found.text())


def _refuse_together(option: str, others: dict[str, bool]) -> None:
    for other, is_given in others.items():
        if is_given:
            raise ConvscopeError(
                f"{option} with {other}", "one of them, since each is the whole answer", "Ask twice"
            )


def _refuse_without_training(given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConvscopeError(
                f"{option} {value} without --ablate or --spread",
                "it with --ablate RECIPE or --spread only",
                "Add one of them, or leave it out",
            )
