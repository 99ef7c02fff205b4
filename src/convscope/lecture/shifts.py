"""`lecture shift`: what three networks answer when the picture moves by a few pixels.

The lecture says that ConvNets are translationally invariant. This measures it: the lecture's network, a fully connected
one with as many parameters, and the lecture's network with a global maximum in the place of `flatten` are trained alike
and judged on test images moved by 0, 1, 2 … pixels; and the maps themselves are compared (`shift_maps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from convscope import nets
from convscope.errors import DataError, RunError
from convscope.inference import first_that
from convscope.layers import globalpool
from convscope.lecture.shift_study import Contender, NetShifts, ShiftStudy
from convscope.net import Net
from convscope.nets import mlp

if TYPE_CHECKING:
    from convscope.data import ImageData
    from convscope.engine.plan import Plan
    from convscope.training import Event, Listener, Run
    from convscope.training.asked import Data

MOST_PX = 6
MLP_DEPTH = 2
FILES = ("shift.json", "shift.svg")
BACKWARD = 2.5  # a training step costs about this many forward passes more than the forward pass itself


def contenders(input_shape: tuple[int, int, int], classes: int) -> tuple[Contender, ...]:
    """The three networks for pictures (C, H, W), the fully connected one with the nearest number of parameters.

    >>> [(each.name, each.parameters) for each in contenders((1, 28, 28), 10)]
    [('mlp-2x767', 1198831), ('lecture', 1199882), ('lecture-globalmax', 28426)]
    """
    lecture = nets.get("lecture").net
    target = lecture.infer(input_shape, classes).parameters
    width = mlp_width(target, input_shape, classes)
    globalmax = Net(*(globalpool("max") if layer.word == "flatten" else layer for layer in lecture.layers))
    named = (
        (
            f"mlp-{MLP_DEPTH}x{width}",
            f"fully connected, two hidden layers of {width}",
            mlp.net(MLP_DEPTH, width),
        ),
        ("lecture", "the lecture's network", lecture),
        ("lecture-globalmax", "the lecture's network with a global maximum in place of flatten", globalmax),
    )
    return tuple(
        Contender(name, words, net, net.infer(input_shape, classes).parameters) for name, words, net in named
    )


def mlp_width(target: int, input_shape: tuple[int, int, int], classes: int) -> int:
    """The width at which a fully connected net of two hidden layers comes nearest to `target` parameters."""

    def count(width: int) -> int:
        return mlp.net(MLP_DEPTH, width).infer(input_shape, classes).parameters

    above = first_that(lambda width: count(width) >= target, mlp.MAX_WIDTH) or mlp.MAX_WIDTH
    return min((above, max(1, above - 1)), key=lambda width: abs(count(width) - target))


def shift(
    data: Data | None = None,
    *,
    steps: int | None = None,
    seeds: Sequence[int] = (0,),
    most_px: int = MOST_PX,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    data_dir: str | Path | None = None,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
) -> ShiftStudy:
    """Train the three networks with recipe `fast` and judge them on test images that are moved.

    Args:
        data: what `load_data` takes, with a test split; None for MNIST, or the bundled part of it.
        steps: the length of each training, in place of the recipe's.
        seeds: each network is trained once for each.
        most_px: pictures are moved by 0 to this many pixels, in four directions, zeros where nothing comes from.
        out: holds a run folder for each network and seed, shift.json and shift.svg; None: runs/<data>-shift-<number>.
        resume: take the finished runs in `out` as they are and go on with the others.
        overwrite: train all of them again.
        device, data_dir, offline, listeners: as for `train`.

    Raises:
        ConvscopeError: as `train` does; no test split; a shift that leaves nothing of the picture; `out` in the way.
    """
    from convscope.data import ImageData, load_data
    from convscope.engine.plan import make_plan
    from convscope.training.folder import next_free
    from convscope.training.telling import Teller

    _check_folder_options(out, resume, overwrite)
    once = [_Once(listeners)]
    note = Teller(once).note
    loaded = load_data(data, data_dir=data_dir, offline=offline, progress=note)
    _check(loaded, most_px, seeds)
    folder = Path(out).expanduser() if out is not None else next_free(loaded.name, "shift")
    _require_free(folder, resume or overwrite)
    three = contenders(loaded.input_shape, len(loaded.class_names))
    plan = make_plan(device)
    plan.apply()
    note(_opening(three, loaded, steps, seeds, most_px, plan, _missing(three, seeds, folder, resume)))
    # A name can be found again by a later --resume; what came from Python is handed over as it is.
    given = loaded if isinstance(data, ImageData) else loaded.name if data is None else data
    how = _How(given, steps, resume, overwrite, device, data_dir, offline, once)
    trained = {}
    for number, (seed, each) in enumerate(product(seeds, three), start=1):
        note(f"{number} of {len(seeds) * len(three)}: {each.name}, {each.words}, seed {seed}.")
        trained[each.name, seed] = _trained(each, seed, folder, how)
    note("Judging them on moved test images.")
    study = _study(loaded, three, seeds, trained, most_px, plan, folder)
    _keep(study)
    return study


# ---- before ---------------------------------------------------------------------------------------------------------


def _check(data: ImageData, most_px: int, seeds: Sequence[int]) -> None:
    if data.test is None:
        raise DataError(f"{data.name} has no test split", "one, to move its images", "Use mnist or mnist-10k")
    smallest = min(data.input_shape[1:])
    if not 1 <= most_px < smallest:
        raise DataError(
            f"a shift of {most_px} pixels", f"1 to {smallest - 1} for pictures of {smallest} pixels"
        )
    if len(set(seeds)) < len(seeds) or not seeds:
        raise DataError(f"seeds {', '.join(map(str, seeds))}", "at least one, each once")


def _check_folder_options(out: str | Path | None, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise RunError("both --resume and --overwrite", "one of the two")
    if resume and out is None:
        raise RunError(
            "--resume without --out", "the folder of the measurement to go on with", "Add --out FOLDER"
        )


def _require_free(folder: Path, allowed: bool) -> None:
    """Nothing but an earlier measurement may be there, and that only where the user wants to go on or replace it."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file", "a folder for the runs", "Give another --out")
    present = sorted(child.name for child in folder.iterdir()) if folder.exists() else []
    if any(name not in FILES and "-seed-" not in name for name in present):
        raise RunError(
            f"{folder} holds other things than a measurement of shifts", "an empty folder, or a new one",
            "Give another --out; nothing there was touched",
        )  # fmt: skip
    if present and not allowed:
        raise RunError(
            f"{folder} holds an earlier measurement", "a folder without one",
            "Add --resume to use its runs, --overwrite to train again, or give another --out",
        )  # fmt: skip


def _missing(three: Sequence[Contender], seeds: Sequence[int], folder: Path, resume: bool) -> list[Contender]:
    """The networks still to be trained, one entry a seed."""
    return [
        each for each in three for seed in seeds
        if not (resume and _has_run(folder / f"{each.name}-seed-{seed}"))
    ]  # fmt: skip


def _has_run(folder: Path) -> bool:
    from convscope.training.folder import RunFolder

    return RunFolder(folder).config.exists()


def _opening(
    three: Sequence[Contender],
    data: ImageData,
    steps: int | None,
    seeds: Sequence[int],
    most_px: int,
    plan: Plan,
    missing: Sequence[Contender],
) -> str:
    """What is about to happen and about how long it takes, from the time of one batch through each network."""
    from convscope.training import recipes

    recipe = recipes.get("fast").adjusted(steps=steps)
    assert data.test is not None
    judged = (4 * most_px + 1) * len(data.test) * len(seeds)
    seconds = {each.name: _seconds_an_image(each, data, plan) for each in three}
    learned = (recipe.steps or 0) * recipe.batch_size * (1 + BACKWARD)
    total = sum(judged * each for each in seconds.values()) + sum(
        learned * seconds[each.name] for each in missing
    )
    described = "; ".join(f"{each.name} ({each.parameters:,} parameters)" for each in three)
    return (
        f"Three networks: {described}. Each is trained for {recipe.steps} steps"
        f"{f', {len(seeds)} times' if len(seeds) > 1 else ''}, then judged on {len(data.test):,} test images "
        f"moved by 0 to {most_px} pixels. All of it takes about {_minutes(total)}."
    )


def _seconds_an_image(contender: Contender, data: ImageData, plan: Plan) -> float:
    """Forward, in evaluation, measured on one batch after one to warm up."""
    import time

    from convscope.engine import fast
    from convscope.engine.scoring import score

    module = fast(contender.net.build(data.input_shape, len(data.class_names)).to(plan.device))
    images = data.train.images[: plan.evaluation_batch].copy()
    score(module, images, data.preprocessing, plan)
    began_at = time.perf_counter()
    score(module, images, data.preprocessing, plan)
    return (time.perf_counter() - began_at) / len(images)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


# ---- the work -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _How:
    """What every one of the trainings is told."""

    data: Data
    steps: int | None
    resume: bool
    overwrite: bool
    device: str
    data_dir: str | Path | None
    offline: bool
    listeners: Sequence[Listener]


class _Once:
    """Hands events on, but no sentence twice: every training would repeat those about the data."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners, self._said = listeners, set[str]()

    def __call__(self, event: Event) -> None:
        text = getattr(event, "text", None)
        if text is not None and text in self._said:
            return
        self._said |= {text} if text is not None else set()
        for listener in self._listeners:
            listener(event)


def _trained(contender: Contender, seed: int, folder: Path, how: _How) -> Run:
    from convscope.training import train

    own = folder / f"{contender.name}-seed-{seed}"
    by_name = contender.net == _named_net(contender.name)
    return train(
        how.data,
        contender.name if by_name else contender.net,
        "fast",
        steps=how.steps,
        seed=seed,
        out=own,
        resume=how.resume and _has_run(own),
        overwrite=how.overwrite,
        device=how.device,
        data_dir=how.data_dir,
        offline=how.offline,
        listeners=how.listeners,
    )


def _named_net(name: str) -> Net | None:
    """The zoo's network of that name, so that the run can be called by it."""
    entry = mlp.from_name(name)
    if entry is None and name in nets.names():
        entry = nets.get(name)
    return entry.net if entry else None


def _study(
    data: ImageData,
    three: Sequence[Contender],
    seeds: Sequence[int],
    trained: Mapping[tuple[str, int], Run],
    most_px: int,
    plan: Plan,
    folder: Path,
) -> ShiftStudy:
    """All that is measured on the trained networks."""
    from convscope.lecture.shift_maps import equivariance
    from convscope.lecture.shift_pictures import cut_off, judged

    assert data.test is not None
    first = trained["lecture", seeds[0]]
    return ShiftStudy(
        data=data.name,
        origin=data.origin,
        images=len(data.test),
        steps=int(first.result["steps"]),
        seeds=tuple(seeds),
        nets=tuple(
            NetShifts(
                each,
                tuple(judged(trained[each.name, s].model(), data.test, plan, most_px, s) for s in seeds),
            )
            for each in three
        ),
        maps=equivariance(first.model(), data, most_px),
        cut=cut_off(data.test.images, most_px),
        folder=folder,
    )


def _keep(study: ShiftStudy) -> None:
    """shift.json and shift.svg beside the runs."""
    import json

    from convscope.lecture.shift_plot import plot
    from convscope.model_file import write_text

    write_text(study.folder / FILES[0], json.dumps(study.to_json(), indent=2, allow_nan=False) + "\n")
    write_text(study.folder / FILES[1], plot(study))
