"""What an extraction leaves: the card in the model, the run's `config.json`, the result that `--json` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convscope.data import ImageData, sets
from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION
from convscope.training.configuration import FORMAT_VERSION, DataSource, versions
from convscope.training.folder import RunFolder
from convscope.transfer_learning.extract import Extracted
from convscope.transfer_learning.material import Material
from convscope.transfer_learning.opening import Opened
from convscope.transfer_learning.wish import Wish


def recipe_of(wish: Wish, ready: Material) -> dict[str, Any]:
    """How the head was fitted, in the place that a recipe has; what was held out is found again by it."""
    return {
        "name": "extract",
        "class_weights": wish.class_weights,
        "penalty": wish.penalty,
        "validation": "hold_out",
        "hold_out": ready.held_out,
    }


def card(wish: Wish, found: Opened, done: Extracted) -> dict[str, Any]:
    """The training card of the model, with the fields that one of training has."""
    validation, test = done.judged.get("validation"), done.judged.get("test")
    return {
        "data": source_of(wish, found.ready).on_card(),
        "recipe": recipe_of(wish, found.ready),
        "seed": wish.seed,
        "versions": versions(),
        "epochs": None,
        "steps": None,
        "validation_loss": validation.loss if validation else None,
        "validation_accuracy": validation.accuracy if validation else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
        "transfer": {
            "mode": "extract",
            "backbone": found.backbone.name,
            "backbone_sha256": found.backbone.digest,
            "features": done.fitted.features,
            "penalty": done.head.penalty,
            "cross_validated_accuracy": done.fitted.cross_validated_accuracy,
        },
    }


def configuration(wish: Wish, found: Opened, done: Extracted) -> dict[str, Any]:
    """The document of `config.json`."""
    backbone = found.backbone
    net = {"label": backbone.label, "text": str(done.model.net), "format_version": NET_FORMAT_VERSION}
    return {
        "format_version": FORMAT_VERSION,
        "data": source_of(wish, found.ready).to_json(),
        "net": net,
        "recipe": recipe_of(wish, found.ready),
        "seed": wish.seed,
        "plan": found.plan.to_json(),
        "versions": versions(),
        "transfer": {
            "mode": "extract",
            "backbone": backbone.name,
            "backbone_sha256": backbone.digest,
            "false_alarms": wish.false_alarms,
        },
    }


def source_of(wish: Wish, ready: Material) -> DataSource:
    """How to find the data again; data from Python cannot be found again."""
    where: str | None = None
    if wish.data is not None and not isinstance(wish.data, ImageData):
        is_name = isinstance(wish.data, str) and wish.data in sets.BY_NAME
        where = str(wish.data) if is_name else str(Path(wish.data).expanduser().resolve())
    prepared = ready.data.preprocessing
    return DataSource(
        name=ready.data.name,
        source=where,
        digest=ready.digest,
        classes=len(ready.data.class_names),
        size_px=prepared.size_px,
        data_dir=str(Path(wish.data_dir).expanduser().resolve()) if wish.data_dir is not None else None,
        salvage=wish.salvage,
        most_unreadable=wish.most_unreadable,
        fit=wish.fit or (prepared.fit if prepared.fit != "squash" else None),
    )


def result(wish: Wish, found: Opened, done: Extracted, folder: RunFolder, wall_s: float) -> dict[str, Any]:
    """What `transfer --json` prints: `train`'s fields, and `mode, backbone, features_s, head_s`."""
    validation, test = done.judged.get("validation"), done.judged.get("test")
    train_s = done.made.features_s + done.fitted.head_s
    return {
        "run": str(folder.path),
        "model": str(folder.model),
        "net": found.backbone.label,
        "data": found.ready.data.name,
        "recipe": "extract",
        "seed": wish.seed,
        "device": found.plan.device,
        "precision": found.plan.precision,
        "epochs": None,
        "steps": None,
        "resumed_from_step": None,
        "train_s": train_s,
        "wall_s": wall_s,
        "images_per_s": done.made.images / max(train_s, 1e-9),
        "validation_accuracy": validation.accuracy if validation else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
        "validation_balanced_accuracy": validation.balanced_accuracy if validation else None,
        "test_balanced_accuracy": test.balanced_accuracy if test else None,
        "mode": "extract",
        "backbone": found.backbone.name,
        "features_s": done.made.features_s,
        "head_s": done.fitted.head_s,
    }
