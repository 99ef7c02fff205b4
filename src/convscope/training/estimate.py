"""About how long a run will take, without touching the run itself.

From the trial that chose the plan, where there was one and it says that the run is short; else from a few real steps on
a scratch copy, timed, for a minute's error in an hour is worth a second's work.
"""

from __future__ import annotations

import copy
import math
import time

from convscope.engine.fast import fast
from convscope.engine.optimizers import fast_optimizer
from convscope.engine.plan import Plan
from convscope.engine.random import Draw
from convscope.engine.scoring import measure
from convscope.reference import Network
from convscope.training.configuration import Configuration
from convscope.training.course import Course
from convscope.training.feeding import Feed
from convscope.training.material import Material, resident
from convscope.training.optimizers import parameter_groups

ENOUGH_S = 0.3
MOST_STEPS = 5
SHORT_S = 90.0
"""A run up to this long is estimated from its trial alone."""
PASSES = 3
"""An image that is learned from takes about three times the work of one that is judged."""


def estimated_s(
    configuration: Configuration, material: Material, module: Network, course: Course, from_step: int = 0
) -> float:
    """Seconds from step `from_step` to the judged model."""
    judged = _judged(material, course, from_step)
    tried_s = _tried_s(
        configuration.plan, course.images_at(course.steps) - course.images_at(from_step), judged
    )
    if tried_s <= SHORT_S:
        return tried_s
    step_s = _median_step_s(configuration, material, copy.deepcopy(module), course.batch_size)
    image_s = _evaluation_s_per_image(configuration, material, module)
    return step_s * (course.steps - from_step) + image_s * judged


def _judged(material: Material, course: Course, from_step: int) -> int:
    """How many images will be judged from step `from_step` on."""
    epochs = range(course.epoch_of(from_step + 1), math.ceil(course.steps / course.steps_per_epoch) + 1)
    evaluations = sum(course.evaluates(min(epoch * course.steps_per_epoch, course.steps)) for epoch in epochs)
    return evaluations * len(material.validation or ()) + len(material.data.test or ())


def _tried_s(plan: Plan, learned: int, judged: int) -> float:
    """Seconds for so many images by what the trial measured for the plan's way; forever where nothing was measured."""
    taken = (plan.precision, plan.compiled, plan.convolution)
    rates = [t.images_per_s for t in plan.trials if (t.precision, t.compiled, t.convolution) == taken]
    return (learned + judged / PASSES) / rates[0] if rates else math.inf


def _median_step_s(
    configuration: Configuration, material: Material, scratch: Network, batch_size: int
) -> float:
    """The first step is not counted: it pays for what happens once."""
    recipe, plan, network = (
        configuration.recipe,
        configuration.plan,
        fast(scratch, configuration.plan).train(),
    )
    optimizer = fast_optimizer(
        recipe.optimizer.build(parameter_groups(scratch.named_parameters(), 0.0)), plan
    )
    feed = Feed(material, recipe, configuration.seed, plan)
    feed.begin(0)
    turns = feed.turns[:batch_size]
    network.set_draw(Draw(configuration.seed, 0, turns.number))
    times: list[float] = []
    while len(times) < 2 or (len(times) < MOST_STEPS and sum(times) < ENOUGH_S):
        began_at = time.perf_counter()
        images, target = feed(turns)
        scores, extra = network.training_forward(images)
        loss = recipe.objective(scores, extra, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - began_at)
    return sorted(times[1:])[len(times[1:]) // 2]


def _evaluation_s_per_image(configuration: Configuration, material: Material, module: Network) -> float:
    plan = configuration.plan
    images, labels = (part[: plan.evaluation_batch] for part in resident(material.data.train, plan))
    began_at = time.perf_counter()
    measure(module, images, labels, material.data.preprocessing, plan)
    return (time.perf_counter() - began_at) / len(labels)
