"""A run that goes on: what it was started with is read again, and what is given must agree with it."""

from __future__ import annotations

from typing import Any

from convscope.data import load_data
from convscope.engine.kernels import library
from convscope.engine.plan import Plan, make_plan
from convscope.errors import ModelFileError, RunError
from convscope.model_file import read_card
from convscope.training import pretrained
from convscope.training.agreement import conflict, require_agreement
from convscope.training.asked import Asked
from convscope.training.augmentation_text import described
from convscope.training.checkpoint import Checkpoint
from convscope.training.configuration import Configuration, versions
from convscope.training.folder import RunFolder, kept_history
from convscope.training.launch import folder_of, prepared, run_to_the_end, watch_of
from convscope.training.material import Material, make_material
from convscope.training.memory import enough_memory
from convscope.training.result import FIELDS, Run
from convscope.training.telling import Teller


def go_on(asked: Asked, teller: Teller, began_at: float) -> Run:
    """Go on with the run in `out` as if it had never been stopped; a finished one stays as it is.

    Raises:
        RunError: there is no such run, it is damaged, or it was started with something else than what is given.
    """
    if asked.out is None:
        raise RunError("--resume without --out", "the folder of the run to go on with", "Add --out FOLDER")
    folder = folder_of(asked.out)
    folder.require_run()
    with folder.lock():
        configuration = Configuration.from_json(folder.read_config(), folder.config)
        require_agreement(asked, configuration, folder)
        checkpoint = None
        if folder.checkpoint.exists():
            checkpoint = Checkpoint.read(folder.checkpoint, configuration.digest)
        else:
            teller.note(
                f"The run in {folder.path} has no checkpoint; it starts over with the same configuration."
            )
        if checkpoint and checkpoint.state.result and _model_is_whole(folder, teller):
            state = checkpoint.state
            kept_history(folder.history, state.history_lines, state.history_digest)
            return _finished(folder, checkpoint.state.result, teller)
        make_plan(configuration.plan.device)  # raises where the device is no longer there
        _note_versions(configuration, teller)
        _note_kernels(configuration.plan, teller)
        watch = watch_of(configuration.data.source if asked.data is None else asked.data)
        material = _material_again(asked, configuration, folder, teller)
        with enough_memory(configuration.recipe.batch_size, material.data.input_shape):
            loop = prepared(configuration, material, folder, teller, began_at, checkpoint, asked.offline)
        return run_to_the_end(loop, teller, watch)


def _model_is_whole(folder: RunFolder, teller: Teller) -> bool:
    """Whether a finished run still has its model; one that is missing or damaged is made again."""
    if not folder.model.exists():
        return False
    try:
        read_card(folder.model)
    except ModelFileError as error:
        teller.note(f"The model is made again from the checkpoint: {error.received}.")
        return False
    return True


def _finished(folder: RunFolder, result: dict[str, Any], teller: Teller) -> Run:
    teller.note(f"The run in {folder.path} is finished ({result['steps']:,} steps); nothing was changed.")
    # The folder may have moved since.
    stored = {**result, "run": str(folder.path), "model": str(folder.model)}
    return Run(folder.path, {name: stored.get(name) for name in FIELDS}, tuple(teller.notes))


def _note_versions(run: Configuration, teller: Teller) -> None:
    """The same bits are promised for the same versions only."""
    changed = [
        f"{name} {version} instead of {run.versions.get(name)}"
        for name, version in versions().items()
        if version != run.versions.get(name)
    ]
    if changed:
        teller.note(
            f"The run goes on with {', '.join(changed)}: its bits may differ from those of one sitting."
        )


def _note_kernels(plan: Plan, teller: Teller) -> None:
    """A run that was started with compiled kernels goes on without them where they can no longer be built."""
    built = library.load()
    if plan.compiled and plan.device == "cpu" and built.library is None:
        teller.note(
            f"The run was started with compiled kernels, and {built.reason}: it goes on without them, more slowly, "
            "and its bits may differ from those of one sitting."
        )


def _material_again(asked: Asked, run: Configuration, folder: RunFolder, teller: Teller) -> Material:
    """The data of the run, found again and compared by their digest."""
    if asked.data is None and run.data.source is None:
        raise RunError(
            f"the data {run.data.name!r} of the run in {folder.path} came from Python",
            "the same data, handed over again",
            "Pass them as the first argument of train",
        )
    data = load_data(
        run.data.source if asked.data is None else asked.data,
        data_dir=run.data.data_dir if asked.data_dir is None else asked.data_dir,
        offline=asked.offline,
        size_px=run.data.size_px if asked.preparation.size_px is None else asked.preparation.size_px,
        channels=pretrained.channels(run.weights),
        salvage=run.data.salvage,
        most_unreadable=run.data.most_unreadable,
        fit=run.data.fit,
        like=pretrained.like(run.weights),
        progress=teller.note,
    )
    if data.digest != run.data.digest:
        raise conflict(
            folder,
            "data",
            f"{run.data.name} with digest {run.data.digest[:16]}",
            f"{data.name} with digest {data.digest[:16]}",
        )
    wanted = asked.preparation.augmented(run.recipe, data.input_shape, None)
    if wanted != run.recipe:
        stored, given = (described(each.augmentation) or "none" for each in (run.recipe, wanted))
        raise conflict(folder, "augmentation", stored, given)
    if run.weights:
        data = pretrained.scaled(data, run.weights, run.net_label)
    return make_material(data, run.recipe, run.seed)
