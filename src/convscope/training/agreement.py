"""What is given to a run that goes on must be what it was started with."""

from __future__ import annotations

from dataclasses import replace

from convscope import nets
from convscope.errors import RunError
from convscope.net import Net
from convscope.training import recipes
from convscope.training.asked import Asked
from convscope.training.configuration import Configuration
from convscope.training.folder import RunFolder
from convscope.training.recipe import Recipe


def require_agreement(asked: Asked, run: Configuration, folder: RunFolder) -> None:
    """Everything that was given must be what the run was started with."""
    recipe = run.recipe
    given: dict[str, object] = {
        "epochs": asked.epochs,
        "steps": asked.steps,
        "batch size": asked.batch_size,
        "rate": asked.rate,
        "fit": asked.preparation.fit,
        "balance": asked.preparation.balance,
        "held-out share": asked.preparation.hold_out,
        "limit per class": asked.preparation.limit_per_class,
    }
    stored = {
        "epochs": recipe.epochs,
        "steps": recipe.steps,
        "batch size": recipe.batch_size,
        "rate": recipe.optimizer.rate,
        "fit": run.data.fit or "squash",
        "balance": recipe.balance,
        "held-out share": recipe.hold_out,
        "limit per class": recipe.limit_per_class,
        "seed": run.seed,
        "device": run.plan.device,
        "precision": run.plan.precision,
        "weights": run.weights,
        "salvage": run.data.salvage,
        "most unreadable": run.data.most_unreadable,
    }
    given |= {"seed": asked.seed, "device": None if asked.device == "auto" else asked.device}
    given |= {"precision": None if asked.precision == "auto" else asked.precision}
    given |= {"weights": asked.weights, "salvage": asked.salvage, "most unreadable": asked.most_unreadable}
    if asked.auto_batch and asked.batch_size is not None:
        given["batch size"] = recipe.batch_size if recipe.batch_size <= asked.batch_size else asked.batch_size
    if asked.deterministic and run.plan.device != "cpu":
        given["deterministic"], stored["deterministic"] = True, run.plan.deterministic
    for name, value in given.items():
        if value is not None and value != stored[name]:
            raise conflict(folder, name, stored[name], value)
    if asked.recipe is not None:
        whole = asked.adjusted(recipes.get(asked.recipe))
        if asked.preparation.augment is not None:  # compared once the images are there
            whole = replace(whole, augmentation=recipe.augmentation)
        _require_recipe(whole, recipe, isinstance(asked.recipe, Recipe), folder)
    if asked.net is not None:
        _require_net(asked.net, run, folder)


def _require_recipe(given: Recipe, stored: Recipe, in_full: bool, folder: RunFolder) -> None:
    if given.name != stored.name:
        raise conflict(folder, "recipe", stored.name, given.name)
    if in_full and given != stored:
        ours, theirs = stored.to_json(), given.to_json()
        name = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
        raise conflict(folder, f"recipe {name}", ours.get(name), theirs.get(name))


def _require_net(asked: Net | str, run: Configuration, folder: RunFolder) -> None:
    label, net = nets.resolve(asked)
    bound = net.bind(run.data.classes)
    if bound != run.net:
        raise conflict(folder, "net", f"{run.net_label} ({run.net})", f"{label} ({bound})")


def conflict(folder: RunFolder, name: str, stored: object, given: object) -> RunError:
    """The error that names both values."""
    return RunError(
        f"{name} {given}, and the run in {folder.path} was started with {name} {stored}",
        "the same value, or none",
        "Leave it out to go on with the run, or start a new one with another --out",
    )
