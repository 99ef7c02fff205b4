"""finetune and scratch: training that starts from an extracted head, or from nothing.

finetune is the lecture's second regime: the head first, fitted to convergence on frozen features; then the layers
below it, from the top down, each slower than the one above, with augmented pictures, until held-out ones get no better.
scratch trains the same net with the same recipe's pictures from random weights, to see what the backbone is worth.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope.data.image_data import ImageData
from convscope.inference import expand
from convscope.model_file import Model, load_model, parse_json, save_model, write_text
from convscope.reference import Network
from convscope.training import AdamW, EarlyStopping, Midway, OneCycle, Recipe, train
from convscope.training.agreement import conflict
from convscope.training.augmentation import Augmentation
from convscope.training.configuration import Configuration
from convscope.training.folder import RunFolder
from convscope.training.result import Run
from convscope.training.telling import Teller
from convscope.training.thawing import Thaw, Thawing, layers_from_top
from convscope.transfer_learning import backbones
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.begun import START, Begun, told_how_to_go_on
from convscope.transfer_learning.extract import Extracted
from convscope.transfer_learning.familiarity import axes_of, calibrated
from convscope.transfer_learning.material import HELD_OUT, Material, material
from convscope.transfer_learning.modes import MODES
from convscope.transfer_learning.opening import Opened
from convscope.transfer_learning.start import extracted_run, run_folder
from convscope.transfer_learning.wish import Wish
from convscope.unknown import Unknown, distance

BALANCE = {"equal": "none", "balanced": "weights"}
"""What the head's class weights are called in a recipe."""
NOTHING = "none"
"""What `--freeze-until` takes for thawing every layer."""
SHIFT = 0.1
"""How far a small picture is moved at most, as a share of its side."""
PHOTO_PX = 96
"""The least side of a picture that may lose its border and still show what it shows."""

EPOCHS, LEAST_STEPS = 14, 250
EVALUATIONS = 7
SCRATCH_TIMES = 2
"""How many times as long training from random weights takes."""

FINETUNE = Recipe(
    name="finetune",
    optimizer=AdamW(rate=1e-3, weight_decay=0.05),
    schedule=OneCycle(start=0.1, peak_at=0.2, final=0.0, down="cosine"),
    batch_size=32,
    epochs=EPOCHS,
    evaluations=EVALUATIONS,
    label_smoothing=0.1,
    averaging=Midway(0.5),
    views="mirror",
    # Accuracy falls while the rate is at its peak and rises again with its end, which has to be seen.
    early_stopping=EarlyStopping(patience=EVALUATIONS - 2, metric="accuracy"),
    hold_out=HELD_OUT,
    thawing=Thawing(),
)
# Networks for small pictures were trained on little, and their norms with it: they gain more from the new pictures than
# they lose of what they knew (docs/log.md), so all of them moves, at one rate, and ends where it ends.
FINETUNE_SMALL = replace(
    FINETUNE,
    optimizer=AdamW(rate=2e-3, weight_decay=0.05),
    averaging=None,
    thawing=Thawing(decay=1.0, thawed_at=0.0, norms_learn=True),
)
SCRATCH = Recipe(
    name="scratch",
    optimizer=AdamW(rate=2e-3, weight_decay=0.05),
    schedule=OneCycle(start=0.1, peak_at=0.2, final=0.0, down="cosine"),
    batch_size=32,
    epochs=SCRATCH_TIMES * EPOCHS,
    initialisation="he",
    label_smoothing=0.1,
    hold_out=HELD_OUT,
)


def finetune_recipe(
    size_px: tuple[int, int], freeze_until: str | None = None, epochs: int | None = None
) -> Recipe:
    """The short schedule for pictures of this size.

    >>> finetune_recipe((224, 224)).augmentation.area, finetune_recipe((32, 32)).augmentation.crop_px
    (0.4, 3)
    """
    recipe = FINETUNE_SMALL if is_small(size_px) else FINETUNE
    thawing = replace(recipe.thawing or Thawing(), freeze_until=freeze_until)
    recipe = replace(recipe, augmentation=for_photos(size_px), thawing=thawing)
    return recipe.adjusted(epochs=epochs)


def scratch_recipe(size_px: tuple[int, int], epochs: int | None = None) -> Recipe:
    """Training from random weights on the same pictures, twice as long."""
    return replace(SCRATCH, augmentation=for_photos(size_px)).adjusted(epochs=epochs)


def is_small(size_px: tuple[int, int]) -> bool:
    """Whether pictures are those of CIFAR or MNIST rather than photos."""
    return min(size_px) < PHOTO_PX


def for_photos(size_px: tuple[int, int]) -> Augmentation:
    """What may happen to a picture without changing what it shows.

    A photo is mirrored, zoomed, turned and recoloured, a small picture mirrored and moved.
    """
    if is_small(size_px):
        return Augmentation(flip="random", crop_px=round(SHIFT * min(size_px)))
    return Augmentation(flip="random", area=0.4, rotate_deg=10, colour=0.2)


def trained(wish: Wish, found: Opened, teller: Teller, began_at: float) -> Run:
    """Fine-tune, or train from nothing, into a run folder. `wish` is what `transfer` was given."""
    backbone, ready = found.backbone, found.ready
    folder = run_folder(wish, found)
    backbone.with_classes(False)  # raises where only the features can be used
    until = freezing(backbone, ready.data.input_shape, wish.freeze_until) if wish.mode == "finetune" else None
    if until is not None and wish.freeze_until is None:
        teller.note(f"Everything up to {until} stays as it is. Thaw it too with --freeze-until {NOTHING}.")
    head = _head(wish, found, teller, folder) if wish.mode == "finetune" else None
    size = ready.data.preprocessing.size_px
    recipe = (
        finetune_recipe(size, until, wish.epochs) if head is not None else scratch_recipe(size, wish.epochs)
    )
    recipe = replace(recipe, balance=BALANCE[wish.class_weights])
    begun = Begun.of(wish, backbone)
    with told_how_to_go_on(folder):
        run = train(
            wish.data,
            head.model.net if head else backbone.with_classes(False),
            fitting(recipe, len(ready.data.train), wish.epochs),
            seed=wish.seed,
            out=folder.path,
            overwrite=wish.overwrite or head is not None,
            device=wish.device,
            data_dir=wish.data_dir,
            offline=wish.offline,
            size_px=size,
            fit=wish.fit,
            augment=wish.augment,
            salvage=wish.salvage,
            most_unreadable=wish.most_unreadable,
            weights=str((folder.path / START).resolve()) if head else None,
            listeners=(begun.noted_in(folder), *teller.listeners),
        )
    _complete(folder, ready, begun, wish.seed)
    spent = (head.made.features_s, head.fitted.head_s) if head else (None, None)
    return _run(run, begun, backbone, spent, began_at, teller)


def resumed(wish: Wish, teller: Teller, began_at: float) -> Run:
    """Go on with a fine-tuning or training that was stopped, as if it never had been.

    Raises:
        RunError: the folder holds no such run, or one from another backbone.
    """
    folder = RunFolder(Path(wish.out or "").expanduser())
    begun = Begun.read(folder)
    wanted = wish.backbone if wish.backbone is not None else begun.backbone
    backbone = backbones.find(wanted, data_dir=wish.data_dir, offline=wish.offline, say=teller.note)
    begun.require(backbone, folder)
    configuration = Configuration.from_json(folder.read_config(), folder.config)
    _require_agreement(wish, begun, configuration, folder)
    source = wish.data if wish.data is not None else configuration.data.source
    with told_how_to_go_on(folder):
        run = train(
            source,
            out=folder.path,
            resume=True,
            epochs=wish.epochs,
            device=wish.device,
            data_dir=wish.data_dir,
            offline=wish.offline,
            size_px=wish.size_px,
            fit=wish.fit,
            augment=wish.augment,
            balance=BALANCE[wish.class_weights] if wish.class_weights != "equal" else None,
            listeners=teller.listeners,
        )
    assert source is not None, "training asked for it"
    ready = material(
        source,
        backbone,
        seed=configuration.seed,
        size_px=configuration.data.size_px,
        fit=configuration.data.fit,
        data_dir=wish.data_dir or configuration.data.data_dir,
        offline=wish.offline,
        salvage=configuration.data.salvage,
        most_unreadable=configuration.data.most_unreadable,
        say=teller.note,
    )
    _complete(folder, ready, begun, configuration.seed)
    return _run(run, begun, backbone, (None, None), began_at, teller)


def _require_agreement(wish: Wish, begun: Begun, configuration: Configuration, folder: RunFolder) -> None:
    """What is given must be what the run was begun with; the rest is compared by its training."""
    thawing = configuration.recipe.thawing
    until = (thawing.freeze_until if thawing else None) or NOTHING
    if wish.mode not in (MODES[0], begun.mode):  # the first is the mode where none is given
        raise conflict(folder, "mode", begun.mode, wish.mode)
    if wish.freeze_until not in (None, until):
        raise conflict(folder, "freeze-until", until, wish.freeze_until)


def _run(
    run: Run,
    begun: Begun,
    backbone: Backbone,
    spent_s: tuple[float | None, float | None],
    began_at: float,
    teller: Teller,
) -> Run:
    """The training's run with what `transfer --json` says besides; `spent_s` on features and head."""
    result = {
        **run.result,
        "net": backbone.label,
        "wall_s": time.perf_counter() - began_at,
        "mode": begun.mode,
        "backbone": backbone.name if begun.mode == "finetune" else None,
        "features_s": spent_s[0],
        "head_s": spent_s[1],
    }
    return Run(run.folder, result, (*teller.notes, *run.messages))


def fitting(recipe: Recipe, images: int, epochs: int | None = None) -> Recipe:
    """The recipe for so few pictures: batches that they can fill at least four times, and no fewer than `LEAST_STEPS`.

    A few steps leave the network where it was, so few pictures are gone through more often; not where `epochs` says how
    often.

    >>> few = fitting(FINETUNE, 100)
    >>> few.batch_size, few.epochs
    (25, 63)
    """
    batch = min(recipe.batch_size, max(2, images // 4), images)
    length = recipe.epochs or 1
    if epochs is None:
        least = LEAST_STEPS if recipe.thawing is not None else SCRATCH_TIMES * LEAST_STEPS
        length = max(length, math.ceil(least / max(1, images // batch)))
    return replace(recipe, batch_size=batch, epochs=length)


def _head(wish: Wish, found: Opened, teller: Teller, folder: RunFolder) -> Extracted:
    """The head, fitted to convergence on frozen features: a run of its own, which fine-tuning then replaces."""
    head = extracted_run(wish, found, teller, folder)
    accuracy = head.fitted.validation_accuracy
    if accuracy is not None:
        teller.note(f"The head alone, on frozen features: {accuracy:.4f} on the validation split.")
    save_model(head.model, folder.path / START)
    return head


def freezing(backbone: Backbone, input_shape: tuple[int, int, int], asked: str | None) -> str | None:
    """The layer up to which nothing moves: the one that is asked for, else the last before the middle; None for none.

    Raises:
        RecipeError: there is no such layer, or it is the head.
    """
    if asked == NOTHING:
        return None
    with torch.device("meta"):
        module = backbone.with_classes(True).build(input_shape)
    if asked is None and backbone.middle is not None:
        before = {node.name for node in expand(backbone.net.layers[: backbone.middle])}
        layers = layers_from_top(module)
        asked = next((name for layer in layers for name in layer.names if name in before), None)
    Thaw(Thawing(freeze_until=asked), module)
    return asked


def _complete(folder: RunFolder, ready: Material, begun: Begun, seed: int) -> None:
    """What training does not know: where the backbone came from, and when a picture is none of the classes."""
    model = load_model(folder.model)
    model.card["transfer"] = begun.told
    model.unknown = _unknown(model, ready.data, begun.false_alarms, seed) if begun.has_head else None
    save_model(model, folder.model)
    document = parse_json(folder.config.read_bytes())
    write_text(
        folder.config, json.dumps({**document, "transfer": begun.told}, indent=2, sort_keys=True) + "\n"
    )


def _unknown(model: Model, data: ImageData, false_alarms: float, seed: int) -> Unknown | None:
    """The rule, from pictures that were not learned from; None where nothing could be held out."""
    if data.validation is None:
        if int(np.bincount(data.train.labels).max()) < 2:
            return None
        data = data.hold_out(HELD_OUT, seed)
    assert data.validation is not None
    known = _features_and_scores(model, data.train.images)
    held_out, scores = _features_and_scores(model, data.validation.images)
    axes = axes_of(known[0])
    return calibrated(axes, distance(held_out, *axes), scores, false_alarms)


def _features_and_scores(model: Model, images: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What reaches the head, (N, D), and what leaves it, (N, K)."""
    from convscope.engine.plan import make_plan
    from convscope.engine.scoring import score
    from convscope.net import Net
    from convscope.transfer_learning.backbones import head_place

    place = head_place(model.net, "the model")
    body: Network = Net(*model.net.layers[:place]).build(model.input_shape)
    body.load_state_dict({key: model.module.state_dict()[key] for key in body.state_dict()})
    features = score(body.eval(), images, model.preprocessing, make_plan("cpu"))
    head = [each for each in model.module.modules() if isinstance(each, torch.nn.Linear)][-1]
    with torch.inference_mode():
        return features, head(features)
