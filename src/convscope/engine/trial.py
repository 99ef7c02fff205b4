"""Which way to compute is fastest here: a short measurement of real training steps, remembered for the machine.

bfloat16 halves what is moved and doubles or octuples the products a second where the processor has instructions for
it (AVX512-BF16, AMX, GPUs), and is slower than float32 where it has not. No table says that as surely as a trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import platformdirs
import torch
from torch.nn import functional

from convscope import __version__, compiling
from convscope.engine.fast import Fast, fast
from convscope.engine.kernels import library
from convscope.engine.plan import Plan, Trial, make_plan
from convscope.engine.random import Draw
from convscope.net import Net

WORTH_A_TRIAL = 2e12
"""Operations in all from which a trial pays: some 10 s on a laptop. A shorter training takes the plain plan."""
WORK_A_STEP = 1e10
"""Operations that a trial's step may take; a larger network is tried with fewer images, at least two."""
ROUNDS = 2
GAIN = 1.1
"""How much faster bfloat16 must be to be taken."""


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
    how = (" compiled" if trial.compiled else "") + (", Winograd" if trial.convolution == "winograd" else "")
    return trial.precision + how


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
    times: dict[Plan, list[float]] = {way: [] for way in forms if _runs(forms[way], images, labels)}
    for _ in range(ROUNDS):
        for way, seconds in times.items():
            seconds.append(_step_s(forms[way], images, labels))
    torch.set_num_threads(before)
    return tuple(
        Trial(way.precision, way.compiled, size / min(seconds), way.convolution)
        for way, seconds in times.items()
    )


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
        kinds = (
            ("direct", "winograd")
            if compiled and library.load("winograd").library is not None
            else ("direct",)
        )
        return [
            replace(plain, precision=name, compiled=compiled, convolution=kind)
            for name in ("float32", "bfloat16")
            for kind in kinds
        ]
    return [
        replace(plain, precision=name, compiled=recorded)
        for recorded in (False, True)
        for name in ("float32", "bfloat16")
    ]


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
        usable = bool(found) and all(trial.images_per_s > 0 for trial in found)
    except (OSError, ValueError, TypeError):
        return None
    return found if usable else None


def _remember(place: Path, trials: Sequence[Trial]) -> None:
    """Write beside and rename; a cache that cannot be written costs a second next time, and nothing else."""
    beside = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps([asdict(trial) for trial in trials]))
        beside.replace(place)
    except OSError:
        return
