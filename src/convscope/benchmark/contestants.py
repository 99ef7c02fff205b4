"""What is measured against what: each contestant gets ready once, then measures a turn whenever it is asked.

A contestant is a function of a task, of turns (how long each measurement is to last) and of `report`, which it calls
with images a second at the end of each turn. The first turn is for warming up like any other; whoever asks forgets it.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope.benchmark.limit import step_limit
from convscope.data import ImageData, from_arrays
from convscope.engine.plan import Plan
from convscope.engine.scoring import measure
from convscope.errors import Interrupted
from convscope.net import Net
from convscope.training import recipes
from convscope.training.configuration import Configuration, DataSource, versions
from convscope.training.course import Course
from convscope.training.events import Event, Step
from convscope.training.folder import RunFolder
from convscope.training.loop import Loop
from convscope.training.material import make_material, make_network, resident
from convscope.training.optimizers import parameter_groups
from convscope.training.recipe import Recipe
from convscope.training.telling import Teller

SOME_BYTES = 64 << 20  # of random images; far more than the caches hold
MOST_IMAGES = 60_000
BATCHES = 8
HARMLESS_RATE = 1e-3  # random labels teach nothing: with a small rate no network's loss leaves the numbers
ENDLESS_STEPS = 10**7

Size = tuple[int, int, int]  # (C, H, W)


@dataclass(frozen=True)
class Turn:
    """One measurement: it ends after so many seconds or so many steps, whichever comes first."""

    seconds: float
    steps: float = math.inf


@dataclass(frozen=True)
class Task:
    """What a contestant works on: a net with its number of classes, an image's (C, H, W), images a step, a plan."""

    net: Net
    input_shape: Size
    batch_size: int
    plan: Plan

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "net": str(self.net),
            "input_shape": list(self.input_shape),
            "batch_size": self.batch_size,
            "plan": self.plan.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Task:
        """What `to_json` wrote."""
        channels, height, width = values["input_shape"]
        plan = Plan.from_json(values["plan"])
        return cls(Net.parse(values["net"]), (channels, height, width), values["batch_size"], plan)

    @property
    def classes(self) -> int:
        """How many scores the net ends in."""
        return self.net.output_classes(self.input_shape)

    @property
    def recipe(self) -> Recipe:
        """The lecture's, at a rate that harms nobody."""
        return recipes.get("lecture").adjusted(
            batch_size=self.batch_size, rate=HARMLESS_RATE, steps=ENDLESS_STEPS
        )


Turns = Iterator[Turn]
Report = Callable[[float], None]
Contestant = Callable[[Task, Turns, Report], None]


def ours(task: Task, turns: Turns, report: Report) -> None:
    """Training as `convscope train` does it, under the task's plan."""
    train(task, random_images(task), task.recipe, turns, report)


def train(task: Task, data: ImageData, recipe: Recipe, turns: Turns, report: Report) -> None:
    """The training loop itself on `data` under the task's plan, listened to until the turns are over."""
    task.plan.apply()
    with tempfile.TemporaryDirectory() as folder, suppress(Interrupted):
        loop(task, data, recipe, Path(folder), Pacer(task.batch_size, turns, report)).run()


def loop(task: Task, data: ImageData, recipe: Recipe, folder: Path, listener: Pacer) -> Loop:
    """A training loop that is ready to run and leaves its files in `folder`."""
    net, plan = task.net, task.plan
    material = make_material(data, recipe, seed=0)
    source = DataSource(data.name, None, digest="", classes=len(data.class_names))
    configuration = Configuration(source, net, "bench", recipe, 0, plan, versions())
    module = make_network(net, data.input_shape, recipe, 0, plan)
    course = Course.of(recipe, len(material.data.train))
    teller = Teller([listener])
    return Loop(configuration, material, module, course, RunFolder(folder), teller, time.perf_counter())


class Pacer:
    """A listener that measures a turn at a time by the steps it is told of, and stops training after the last turn.

    Only time from one step to the next counts: what an evaluation or a checkpoint takes does not.
    """

    def __init__(self, batch_size: int, turns: Turns, report: Report) -> None:
        self._batch_size, self._turns, self._report = batch_size, turns, report
        self._last: tuple[int, float] | None = None
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._steps, self._seconds = 0, 0.0
        self._turn = next(self._turns, None)

    def __call__(self, event: Event) -> None:
        """Raises KeyboardInterrupt, which asks the loop to stop, when there is no turn any more."""
        if not isinstance(event, Step):
            self._last = None
            return
        self._count(event.step, time.perf_counter())
        if self._turn and self._steps and _is_over(self._turn, self._steps, self._seconds):
            self._report(self._steps * self._batch_size / self._seconds)
            self._begin_turn()
        if self._turn is None:
            raise KeyboardInterrupt
        self._last = (event.step, time.perf_counter())

    def _count(self, step: int, now: float) -> None:
        if self._last:
            self._steps += step - self._last[0]
            self._seconds += now - self._last[1]


def plain(task: Task, turns: Turns, report: Report) -> None:
    """Plain PyTorch as tutorials write it, in its fastest form: the reference in float32, all data in memory, eager."""
    device, data, recipe = task.plan.device, random_images(task), task.recipe
    images = torch.from_numpy(data.train.images.copy()).to(device).float() / 255  # (N, C, H, W)
    labels = torch.from_numpy(data.train.labels.copy()).to(device)  # (N,)
    module = task.net.build(task.input_shape).to(device).train()
    optimizer = recipe.optimizer.build(parameter_groups(module.named_parameters(), 0.0))

    def step() -> int:
        chosen = torch.randint(len(labels), (task.batch_size,), device=device)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(images[chosen]), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return task.batch_size

    _take_turns(step, device, turns, report)


def judge(task: Task, turns: Turns, report: Report) -> None:
    """Scoring as training and `convscope evaluate` do it, without start-up."""
    task.plan.apply()
    data, recipe = random_images(task), task.recipe
    material = make_material(data, recipe, seed=0)
    module = make_network(task.net, task.input_shape, recipe, 0, task.plan)
    images, labels = resident(material.data.train, task.plan)
    some = min(len(labels), 10_000)

    def step() -> int:
        measure(module, images[:some], labels[:some], material.data.preprocessing, task.plan)
        return some

    _take_turns(step, task.plan.device, turns, report)


def limit(task: Task, turns: Turns, report: Report) -> None:
    """The measured limit of a step, once a turn; how long that takes follows from the net."""
    task.plan.apply()
    for _ in turns:
        report(step_limit(task.net, task.input_shape, task.batch_size, task.plan).images_per_s)


CONTESTANTS: dict[str, Contestant] = {"ours": ours, "plain": plain, "judge": judge, "limit": limit}


def random_images(task: Task) -> ImageData:
    """Noise of the right shape with labels at random, the same each time: speed does not depend on what they show."""
    numbers = math.prod(task.input_shape)
    n = max(BATCHES * task.batch_size, min(MOST_IMAGES, SOME_BYTES // numbers), task.classes)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (n, *task.input_shape), dtype=np.uint8)
    names = [str(label) for label in range(task.classes)]
    labels = np.arange(n, dtype=np.int64) % task.classes
    return from_arrays(images, labels, class_names=names, name="noise", channels="first")


def _is_over(turn: Turn, steps: int, seconds: float) -> bool:
    return seconds >= turn.seconds or steps >= turn.steps


def _take_turns(step: Callable[[], int], device: str, turns: Turns, report: Report) -> None:
    """Make steps, each of which says how many images it took, until each turn is over."""
    for turn in turns:
        images, began_at = 0, time.perf_counter()
        for steps in itertools.count(1):
            images += step()
            if _is_over(turn, steps, time.perf_counter() - began_at):
                break
        _wait(device)
        report(images / (time.perf_counter() - began_at))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
