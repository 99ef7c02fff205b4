"""About how long a run will take: a few real steps on a scratch copy, timed. The run itself is not touched."""

from __future__ import annotations

import copy
import math
import time

import torch

from convscope.engine.fast import fast
from convscope.engine.optimizers import fast_optimizer
from convscope.engine.random import Draw
from convscope.engine.scoring import measure
from convscope.reference import Network
from convscope.training.configuration import Configuration
from convscope.training.material import Material, resident, scaler
from convscope.training.optimizers import parameter_groups
from convscope.training.recipes import Course

ENOUGH_S = 0.3
MOST_STEPS = 5


def estimated_s(
    configuration: Configuration, material: Material, module: Network, course: Course, from_step: int = 0
) -> float:
    """Seconds from step `from_step` to the judged model, from the median of a few steps and one evaluated batch."""
    step_s = _median_step_s(configuration, material, copy.deepcopy(module), course.batch_size)
    image_s = _evaluation_s_per_image(configuration, material, module)
    epochs = range(course.epoch_of(from_step + 1), math.ceil(course.steps / course.steps_per_epoch) + 1)
    evaluations = sum(course.evaluates(min(epoch * course.steps_per_epoch, course.steps)) for epoch in epochs)
    judged = evaluations * len(material.validation or ()) + len(material.data.test or ())
    return step_s * (course.steps - from_step) + image_s * judged


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
    images, labels = (part[:batch_size] for part in resident(material.data.train, plan))
    scale = scaler(material.data.preprocessing, plan)
    network.set_draw(Draw(configuration.seed, 0, torch.arange(len(labels), device=plan.device)))
    times: list[float] = []
    while len(times) < 2 or (len(times) < MOST_STEPS and sum(times) < ENOUGH_S):
        began_at = time.perf_counter()
        scores, extra = network.training_forward(scale(images))
        loss = recipe.objective(scores, extra, labels.to(scores.device))
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
