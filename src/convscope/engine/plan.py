"""The machine plan: where and how a run computes, decided once, with the reason, and stored with the run.

`make_plan` takes what is safe anywhere; `trial.plan_for` measures what is fastest here for one network.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from convscope.errors import RunError

EVALUATION_BATCH = 500
EVALUATION_BATCH_CPU = 128  # stays in the caches; with 500 the lecture's network peaks 0.3 GB higher
PRECISIONS = ("auto", "float32", "bfloat16")
CONVOLUTIONS = ("direct", "winograd", "amx")
YOUNGER = {"trials", "convolution", "deterministic"}
"""Fields that plans written before there were these have not."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's numbers for `mallopt`."""


@dataclass(frozen=True)
class Trial:
    """What one way to compute was measured at: training images a second."""

    precision: str
    compiled: bool
    images_per_s: float
    convolution: str = "direct"


@dataclass(frozen=True)
class Plan:
    """How this run computes. It never changes within a run, so that a resumed run gives the same bits.

    Args:
        device: "cpu", "cuda" or "mps".
        precision: of maps and products, "float32" or "bfloat16"; the weights stay float32.
        threads: how many CPU threads torch uses.
        layout: how maps lie in memory.
        compiled: whether our compiled kernels run on the CPU, or steps are recorded as graphs on a GPU.
        evaluation_batch: images scored at a time.
        reason: why, in a sentence.
        trials: what was measured to choose, if anything was.
        convolution: "direct", torch's own; "winograd", ours: for 3×3 windows with a quarter of the products, and for
            other windows and dense layers with products of our own; "amx", ours in bfloat16 with matrix instructions.
        deterministic: whether only arithmetic is used that gives the same bits each time; on the CPU it always is.
    """

    device: str
    precision: str
    threads: int
    layout: str
    compiled: bool
    evaluation_batch: int
    reason: str
    trials: tuple[Trial, ...] = ()
    convolution: str = "direct"
    deterministic: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values. What is younger than the first plans is left out where it changes nothing."""
        values = asdict(self)
        if not self.deterministic:
            del values["deterministic"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` wrote. Raises RunError when a field is missing or unknown."""
        names = {f.name for f in fields(cls)}
        if set(values) | YOUNGER != names:
            raise RunError(f"a machine plan with {sorted(values)}", f"the fields {sorted(names)}")
        return cls(**{**values, "trials": tuple(Trial(**trial) for trial in values.get("trials", ()))})

    def apply(self) -> None:
        """Set torch's threads and choose arithmetic that gives the same bits each time."""
        torch.set_num_threads(self.threads)
        _keep_freed_memory()
        # Not torch.use_deterministic_algorithms: that loads torch's compiler, 1.6 s and 150 MB, to tell it the same.
        strict = self.device == "cpu" or self.deterministic
        torch.set_deterministic_debug_mode("error" if strict else "default")
        if self.deterministic:
            require_deterministic_products()
        # Else every empty tensor is first filled with NaN, at 5 % of a step; nothing here reads what it did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def make_plan(device: str = "auto", threads: int | None = None, precision: str = "auto") -> Plan:
    """The plan for this machine without any measurement: the GPU where there is one, else every core; float32.

    Raises RunError when `device` or `precision` is unknown, or the device is not there.
    """
    chosen = _device(device)
    count = threads or available_cores()
    if precision not in PRECISIONS:
        raise RunError(f"precision {precision!r}", f"one of {', '.join(PRECISIONS)}", "Leave it out for auto")
    named = "float32" if precision == "auto" else precision
    return Plan(
        chosen,
        named,
        count,
        "channels_last",
        False,
        EVALUATION_BATCH_CPU if chosen == "cpu" else EVALUATION_BATCH,
        f"{named} on {_found(chosen, device, count)}",
    )


def require_deterministic_products() -> None:
    """Let NVIDIA's matrix products give the same bits each time; it must be said before the first of them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False


def _found(chosen: str, asked: str, threads: int) -> str:
    """What was chosen and why, in a few words."""
    if chosen == "cuda":
        return f"{torch.cuda.get_device_name(0)}, the GPU found here"
    if chosen == "mps":
        return "the Apple GPU found here"
    cores = f"{threads} CPU core{'s' if threads > 1 else ''}"
    return cores + (", as no GPU was found" if asked == "auto" else ", as asked")


def give_back_memory() -> None:
    """Let glibc hand the pages that are kept for the next step to the system: when a training is over."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: else every step gives its maps back to the system and fetches them again.

    The fetching is work for the system (a page at a time), a fifth of a step and more. What is larger than 32 MB, as
    maps of large batches are, glibc would fetch anew each time unless it may not at all. Elsewhere nothing happens.
    """
    if _has_glibc():
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)  # never


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def available_cores() -> int:
    """CPU cores this process may use; fewer where OMP_NUM_THREADS says so, as every tool of the field takes it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(1, int(wished))) if wished.isdecimal() else cores


def _device(device: str) -> str:
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    if device not in present:
        raise RunError(
            f"device {device!r}", "auto, cpu, cuda or mps", "Leave it out, and the best one is taken"
        )
    if not present[device]:
        raise RunError(f"device {device!r}, and torch finds none on this machine", fix="Try --device cpu")
    return device
