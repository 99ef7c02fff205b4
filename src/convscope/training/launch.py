"""What a new run and one that goes on have in common: the loop, ready to run, and what is watched meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from convscope.data import sets
from convscope.data.image_data import ImageData
from convscope.data.watching import Watch
from convscope.engine.plan import give_back_memory
from convscope.training import pretrained
from convscope.training.asked import Data
from convscope.training.checkpoint import Checkpoint
from convscope.training.configuration import Configuration
from convscope.training.course import Course
from convscope.training.estimate import estimated_s
from convscope.training.events import Started
from convscope.training.folder import RunFolder
from convscope.training.loop import Loop
from convscope.training.material import Material, make_network
from convscope.training.preparation import sentences
from convscope.training.result import Run
from convscope.training.telling import Teller


def folder_of(out: str | os.PathLike[str]) -> RunFolder:
    """The run folder that a user means."""
    return RunFolder(Path(out).expanduser())


def watch_of(source: Data | None) -> Watch | None:
    """The files that data come from, where they are the user's own; what has a name is checked against its hash."""
    if (
        source is None
        or isinstance(source, ImageData)
        or (isinstance(source, str) and source in sets.BY_NAME)
    ):
        return None
    return Watch(Path(source).expanduser())


def prepared(
    configuration: Configuration,
    material: Material,
    folder: RunFolder,
    teller: Teller,
    began_at: float,
    checkpoint: Checkpoint | None,
    offline: bool,
) -> Loop:
    """The loop, ready to run, with everyone told what it will do."""
    plan = configuration.plan
    plan.apply()
    course = Course.of(configuration.recipe, len(material.data.train))
    shape = material.data.input_shape
    module = make_network(
        configuration.net, shape, configuration.recipe, configuration.seed, plan, material.data
    )
    if configuration.weights and not checkpoint:
        pretrained.pour(
            module, configuration.weights, configuration.net_label, offline=offline, say=teller.note
        )
    step = checkpoint.state.step if checkpoint else 0
    seconds = estimated_s(configuration, material, module, course, step)
    loop = Loop(configuration, material, module, course, folder, teller, began_at)
    if checkpoint:
        loop.restore(checkpoint)
    are_pictures = configuration.data.source is not None and configuration.data.source not in sets.BY_NAME
    told = sentences(configuration.recipe, material.data.preprocessing, are_pictures)
    for note in (*material.notes, *told):
        teller.note(note)
    teller(_started(configuration, material, course, folder, step if checkpoint else None, seconds))
    return loop


def _started(
    configuration: Configuration,
    material: Material,
    course: Course,
    folder: RunFolder,
    resumed_from_step: int | None,
    seconds: float,
) -> Started:
    data, plan = material.data, configuration.plan
    return Started(
        run=str(folder.path),
        data=data.name,
        origin=data.origin,
        net=configuration.net_label,
        parameters=configuration.net.infer(data.input_shape).parameters,
        recipe=configuration.recipe.name,
        seed=configuration.seed,
        device=plan.device,
        precision=plan.precision,
        reason=plan.reason,
        train_images=len(data.train),
        validation_images=len(material.validation or ()),
        test_images=len(data.test or ()),
        validation_split=material.validation_split,
        batch_size=course.batch_size,
        epochs=course.epochs,
        steps=course.steps,
        steps_per_epoch=course.steps_per_epoch,
        resumed_from_step=resumed_from_step,
        estimated_s=seconds,
    )


def run_to_the_end(loop: Loop, teller: Teller, watch: Watch | None) -> Run:
    """Train, and say whether the data changed meanwhile."""
    try:
        result = loop.run()
    finally:
        give_back_memory()
    changes = watch.changes() if watch else None
    if changes:
        teller.note(
            f"In {loop.material.data.name}, {changes} while the run was training; "
            "the model has learned what was there at the start, and the run could not be resumed."
        )
    return Run(loop.folder.path, result, tuple(teller.notes))
