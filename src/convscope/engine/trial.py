"""Which way to compute is fastest here: a short measurement of real training steps, remembered for the machine.

bfloat16 halves what is moved and doubles or octuples the products a second where the processor has instructions for
it (AVX512-BF16, AMX, GPUs), and is slower than float32 where it has not. No table says that as surely as a trial.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import platformdirs
import torch
from torch.nn import functional

from convscope import __version__, compiling
from convscope.engine.fast import Fast, fast
from convscope.engine.kernels import library
from convscope.engine.plan import CONVOLUTIONS, Plan, Trial, make_plan
from convscope.engine.random import Draw
from convscope.net import Net

WORTH_A_TRIAL = 2e11
"""Operations in all from which a trial pays: some 2 s on a laptop. A shorter training takes the plain plan."""
WORK_A_STEP = 1e10
"""Operations that a trial's step may take; a larger network is tried with fewer images, at least two."""
ROUNDS, MOST_ROUNDS = 2, 8
ENOUGH_S = 0.5
"""Short steps are tried more often, up to this long in all: a busy moment must not decide."""
GAIN = 1.1
"""How much faster bfloat16 must be to be taken."""
GLANCE = 8
"""With so few images a way is looked at first: bfloat16 without instructions for it takes ten times as long."""
HOPELESS = 2.0
"""A way that is so many times slower than another at a glance is not measured further; the glance is what counts."""


def plan_for(
    net: Net,
    input_shape: tuple[int, int, int],
    batch_size: int,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    *,
    images: float = float("inf"),
    fresh: bool = False,
) -> Plan:
    """The fastest plan for training this network on this machine.

    Args:
        net: bound to its number of classes.
        input_shape: (C, H, W).
        batch_size: images a step.
        device, threads: as `make_plan`.
        precision: "float32" or "bfloat16" leaves only the kernels to be chosen.
        images: how many the training will process in all; for few, nothing is measured.
        fresh: measure again, also what is remembered.

    Raises:
        RunError: as `make_plan`.
    """
    plain = make_plan(device, threads, precision)
    inference = net.infer(input_shape)
    work = 6.0 * max(inference.macs, 1)  # an image's: two operations a product, three passes
    if work * images < WORTH_A_TRIAL or plain.device == "mps":
        return plain
    size = int(max(2, min(batch_size, WORK_A_STEP // work)))
    place = _place(net, input_shape, size, plain)
    trials = None if fresh else _remembered(place)
    if trials is None:
        trials = _measured(net, input_shape, size, plain)
        _remember(place, trials)
    return _chosen(plain, trials, precision)


def _chosen(plain: Plan, trials: Sequence[Trial], precision: str) -> Plan:
    """The fastest trial's way, with bfloat16 only where it is clearly faster or asked for."""
    allowed = [trial for trial in trials if precision in ("auto", trial.precision)]
    best = max(allowed, key=lambda t: t.images_per_s / (GAIN if t.precision == "bfloat16" else 1.0))
    return replace(
        plain,
        precision=best.precision,
        compiled=best.compiled,
        convolution=best.convolution,
        reason=f"{plain.reason.replace(plain.precision, best.precision, 1)}; {_why(best, trials)}",
        trials=tuple(trials),
    )


def _why(best: Trial, trials: Sequence[Trial]) -> str:
    others = ", ".join(f"{trial.images_per_s:,.0f} in {_way(trial)}" for trial in trials if trial is not best)
    return f"a trial made {best.images_per_s:,.0f} images/s in {_way(best)}" + (
        f", {others}" if others else ""
    )


def _way(trial: Trial) -> str:
    method = {"winograd": ", Winograd", "amx": ", AMX"}.get(trial.convolution, "")
    return trial.precision + (" compiled" if trial.compiled else "") + method


# ---- the measurement --------------------------------------------------------------------------------------


def _measured(net: Net, input_shape: tuple[int, int, int], size: int, plain: Plan) -> tuple[Trial, ...]:
    """Steps of every way in turns, so that a busy moment hurts all of them; the best of each counts."""
    before = torch.get_num_threads()
    torch.set_num_threads(plain.threads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        forms = {way: _form(net, input_shape, way) for way in _ways(plain)}
        images = torch.rand(size, *input_shape, device=plain.device)
        labels = torch.zeros(size, dtype=torch.int64, device=plain.device)
    rates = _at_a_glance(forms, images[:GLANCE], labels[:GLANCE])
    hopeful = [way for way, rate in rates.items() if HOPELESS * rate >= max(rates.values())]
    times: dict[Plan, list[float]] = {way: [] for way in hopeful}
    while not _is_enough(times):
        for way, seconds in times.items():
            seconds.append(_step_s(forms[way], images, labels))
    rates |= {
        way: size / min(seconds[1:]) for way, seconds in times.items()
    }  # the first pays for what happens once
    torch.set_num_threads(before)
    return tuple(Trial(way.precision, way.compiled, rate, way.convolution) for way, rate in rates.items())


def _is_enough(times: Mapping[Plan, Sequence[float]]) -> bool:
    """Whether each way has made its rounds: at least `ROUNDS` after the first, and more where they are short."""
    rounds = len(next(iter(times.values()))) - 1
    return rounds >= MOST_ROUNDS or (rounds >= ROUNDS and sum(map(sum, times.values())) >= ENOUGH_S)


def _at_a_glance(forms: Mapping[Plan, Fast], images: torch.Tensor, labels: torch.Tensor) -> dict[Plan, float]:
    """Images a second of the ways that work here, by the second of two steps with few images."""
    return {
        way: len(images) / _step_s(form, images, labels)
        for way, form in forms.items()
        if _runs(form, images, labels)
    }


def _runs(form: Fast, images: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether the first step, which pays for what happens once, comes through: recording may not know an operation."""
    try:
        _step_s(form, images, labels)
    except RuntimeError:
        if form.arithmetic.recorded:
            return False
        raise
    return True


def _ways(plain: Plan) -> list[Plan]:
    """What is tried: both precisions, with kernels where there are some; on a GPU also unrecorded."""
    if plain.device == "cpu":
        compiled = library.load().library is not None
        return [
            replace(plain, precision=name, compiled=compiled, convolution=kind)
            for name in ("float32", "bfloat16")
            for kind in ("direct", *(_methods(name) if compiled else ()))
        ]
    return [
        replace(plain, precision=name, compiled=recorded)
        for recorded in (False, True)
        for name in ("float32", "bfloat16")
    ]


def _methods(precision: str) -> tuple[str, ...]:
    """Our own methods that are worth a trial here: Winograd's is no match for matrix instructions."""
    tiles = library.load("tiles").library if precision == "bfloat16" else None
    if tiles is not None and tiles.has_matrix_instructions():
        return ("amx",)
    return ("winograd",) if library.load("winograd").library is not None else ()


def _form(net: Net, input_shape: tuple[int, int, int], way: Plan) -> Fast:
    return fast(net.build(input_shape).to(way.device), way).train()


def _step_s(form: Fast, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of one step without its optimizer, which is the same for every way."""
    form.set_draw(Draw(0, 0, torch.arange(len(images), device=images.device)))
    form.zero_grad(set_to_none=True)
    began_at = time.perf_counter()
    scores, extra = form.training_forward(images)
    loss = functional.cross_entropy(scores, labels)
    for weight, more in extra:
        loss = loss + weight * functional.cross_entropy(more, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    loss.item()  # waits for the device
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began_at


# ---- what is remembered -----------------------------------------------------------------------------------


def _place(net: Net, input_shape: tuple[int, int, int], size: int, plain: Plan) -> Path:
    """The file for this question on this machine: another processor, version or network is another question."""
    parts = (
        str(net), input_shape, size, plain.device, plain.threads, library.load().library is not None, library.sources(),
        __version__, str(torch.__version__), platform.machine(), compiling.processor(), os.cpu_count(),
        torch.cuda.get_device_name(0) if plain.device == "cuda" else "",
    )  # fmt: skip
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
    return Path(platformdirs.user_cache_dir("convscope")) / "plans" / f"{name}.json"


def _remembered(place: Path) -> tuple[Trial, ...] | None:
    """What was measured before; None where nothing was, or the file is not what it should be."""
    try:
        found = tuple(Trial(**entry) for entry in json.loads(place.read_text()))
        usable = bool(found) and all(_is_sound(trial) for trial in found)
    except (OSError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return found if usable else None


def _is_sound(trial: Trial) -> bool:
    """Whether a trial that was read says what one that was made could say."""
    return (
        trial.precision in ("float32", "bfloat16")
        and type(trial.compiled) is bool
        and trial.convolution in CONVOLUTIONS
        and 0 < trial.images_per_s < math.inf
    )


def _remember(place: Path, trials: Sequence[Trial]) -> None:
    """Write beside and rename; a cache that cannot be written costs a second next time, and nothing else."""
    beside = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps([asdict(trial) for trial in trials]))
        beside.replace(place)
    except OSError:
        return
