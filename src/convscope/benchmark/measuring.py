"""bench: the plan for this machine and what it is worth, in under a minute and without installing anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from convscope.benchmark.alternation import Entry, Rates, alternate
from convscope.benchmark.contestants import Size, Task
from convscope.benchmark.machine import machine
from convscope.benchmark.report import Bench, MachinePlan
from convscope.engine.trial import plan_for
from convscope.inspection import inspect
from convscope.net import Net
from convscope.training.settings import Problem, refuse, whole

SECONDS = 45.0
LEAST_SECONDS, MOST_SECONDS = 10.0, 3600.0
ROUNDS = 3
WARM_S = 1.5
LEAST_TURN_S = 0.3
BATCH_SIZE = 128
MOST_IMAGES_A_STEP = 65_536


def bench(
    net: Net | str | Path = "lecture",
    *,
    input_shape: Size | None = None,
    batch_size: int = BATCH_SIZE,
    device: str = "auto",
    seconds: float = SECONDS,
    fresh: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Measure training and evaluation of `net` on this machine, on noise: speed does not depend on the pictures.

    In alternation, each in a process of its own: training under the machine plan, training in float32 where the plan
    has another precision, plain PyTorch in float32 as tutorials write it (in its fastest form: data in memory), the
    measured limit of a step, and evaluation. The training recipe is the lecture's.

    Args:
        net: a name, a `.net` file, text or a Net.
        input_shape: (C, H, W) of an image; a named net brings its own.
        batch_size: images in a step.
        device: "auto", "cpu", "cuda" …
        seconds: about how long it may take; large networks take longer.
        fresh: measure the plan again, even where it is remembered.
        progress: told what is done, sentence by sentence.

    Raises:
        ConvscopeError: an unknown net or device, shapes that do not fit, numbers that are not possible.
    """
    deadline = time.monotonic() + _checked_seconds(seconds)
    say = progress or (lambda text: None)
    planned, task = _planned(net, input_shape, batch_size, device, fresh)
    say(f"The plan: {planned.plan.reason}.")
    training = _training(task)
    entries = {**training, "limit": Entry("limit", task), "evaluate": Entry("judge", task)}
    turns = iter(range(ROUNDS * len(entries), 0, -1))

    def turn_s() -> float:
        return max(LEAST_TURN_S, (deadline - time.monotonic()) / next(turns))

    say(f"Measuring {len(entries)} things in alternation, {ROUNDS} rounds; about {seconds:.0f} s in all.")
    rates = alternate(entries, ROUNDS, WARM_S, turn_s)
    found: dict[str, Rates] = {what: rates[what] for what in training}
    return Bench(planned, found, rates["limit"], rates["evaluate"])


def machine_plan(
    net: Net | str | Path = "lecture",
    *,
    input_shape: Size | None = None,
    batch_size: int = BATCH_SIZE,
    device: str = "auto",
    fresh: bool = False,
) -> MachinePlan:
    """This machine's facts and the plan that `train` would take for `net`, with the reason. Arguments as `bench`."""
    return _planned(net, input_shape, batch_size, device, fresh)[0]


def _planned(
    net: Net | str | Path, input_shape: Size | None, batch_size: int, device: str, fresh: bool
) -> tuple[MachinePlan, Task]:
    refuse(whole("batch size", batch_size, most=MOST_IMAGES_A_STEP, fix="Try --batch-size 128"))
    inspection = inspect(net, input_shape)
    bound = inspection.net.bind(inspection.classes)
    channels, height, width = inspection.inference.input_shape
    shape = (channels, height, width)
    bound.output_classes(shape)  # raises where maps come out instead of scores
    plan = plan_for(bound, shape, batch_size, device, fresh=fresh)
    label = "a net" if isinstance(net, Net) else str(net)
    return MachinePlan(machine(), label, shape, batch_size, plan), Task(bound, shape, batch_size, plan)


def _training(task: Task) -> dict[str, Entry]:
    """Who trains, the plan first and plain PyTorch last; float32 for itself only where the plan has another."""
    entries = {f"convscope, {task.plan.precision}": Entry("ours", task)}
    if task.plan.precision != "float32":
        net, shape, size = task.net, task.input_shape, task.batch_size
        float32 = plan_for(net, shape, size, task.plan.device, precision="float32")
        entries["convscope, float32"] = Entry("ours", Task(net, shape, size, float32))
    return {**entries, "plain PyTorch, float32": Entry("plain", task)}


def _checked_seconds(seconds: float) -> float:
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        expected = f"a number from {LEAST_SECONDS:.0f} to {MOST_SECONDS:.0f}"
        refuse([Problem(f"seconds {seconds:g}", expected, f"Try --seconds {SECONDS:.0f}")])
    return seconds
