"""What a run leaves: the result that `train --json` prints, the card in the model, and `Run`, which finds both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.model_file import Model, load_model
from convscope.training.checkpoint import Validated
from convscope.training.configuration import Configuration
from convscope.training.folder import RunFolder, read_history


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the result as `train --json` prints it.

    `messages` are the notes that were told on the way.
    """

    folder: Path
    result: dict[str, Any]
    messages: tuple[str, ...] = ()

    def model(self) -> Model:
        """The trained model, read from the folder."""
        return load_model(self.folder)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of `history.jsonl`."""
        return read_history(RunFolder(self.folder).history)


FIELDS = (
    "run",
    "model",
    "net",
    "data",
    "recipe",
    "seed",
    "device",
    "precision",
    "epochs",
    "steps",
    "resumed_from_step",
    "train_s",
    "wall_s",
    "images_per_s",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "validation_balanced_accuracy",
    "test_balanced_accuracy",
)


def result(
    configuration: Configuration,
    folder: RunFolder,
    *,
    epochs: float,
    steps: int,
    resumed_from_step: int | None,
    train_s: float,
    wall_s: float,
    images: int,
    validated: Validated | None,
    test: Validated | None,
) -> dict[str, Any]:
    """The fields of `train --json`. Accuracies in [0, 1]; durations in seconds; what does not exist is None."""
    return {
        "run": str(folder.path),
        "model": str(folder.model),
        "net": configuration.net_label,
        "data": configuration.data.name,
        "recipe": configuration.recipe.name,
        "seed": configuration.seed,
        "device": configuration.plan.device,
        "precision": configuration.plan.precision,
        "epochs": epochs,
        "steps": steps,
        "resumed_from_step": resumed_from_step,
        "train_s": train_s,
        "wall_s": wall_s,
        "images_per_s": images / max(train_s, 1e-9),
        "validation_accuracy": validated.accuracy if validated else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
        "validation_balanced_accuracy": validated.balanced_accuracy if validated else None,
        "test_balanced_accuracy": test.balanced_accuracy if test else None,
    }


def card(
    configuration: Configuration,
    epochs: float,
    steps: int,
    validated: Validated | None,
    test: Validated | None,
) -> dict[str, Any]:
    """The training card of a model: how it came about and what it scored. No clock, so that equal models are equal.

    `validated` and `test` must have been measured on exactly these weights.
    """
    return {
        "data": configuration.data.on_card(),
        "recipe": configuration.recipe.to_json(),
        "seed": configuration.seed,
        "versions": configuration.versions,
        "epochs": epochs,
        "steps": steps,
        "validation_loss": validated.loss if validated else None,
        "validation_accuracy": validated.accuracy if validated else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
    }
