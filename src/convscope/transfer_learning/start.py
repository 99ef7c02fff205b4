"""`transfer`: from what a user asks for to a run folder with a classifier in it.

Everything that can be wrong is found before anything is touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.data.folder import MOST_UNREADABLE
from convscope.engine.plan import Plan, make_plan
from convscope.errors import RunError
from convscope.evaluation.interval import wilson_interval
from convscope.model_file import Model, save_model
from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION
from convscope.training.configuration import FORMAT_VERSION, DataSource, versions
from convscope.training.events import Event, Listener
from convscope.training.folder import History, RunFolder, claim_next
from convscope.training.result import Run
from convscope.training.settings import one_of, refuse, whole
from convscope.training.telling import Teller
from convscope.transfer_learning import backbones
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.extract import CLASS_WEIGHTS, Extracted, Judged, extract
from convscope.transfer_learning.familiarity import require_rate
from convscope.transfer_learning.head import require_penalty
from convscope.transfer_learning.material import Data, Material, material

MODES = ("extract", "finetune", "scratch")
STOPPED = "Stopped. The features made so far are kept: the same command goes on from there."


@dataclass(frozen=True)
class Wish:
    """What the user gave; see `transfer`."""

    data: Data | None
    backbone: str | os.PathLike[str] | Model | None
    mode: str
    seed: int
    out: str | os.PathLike[str] | None
    overwrite: bool
    device: str
    data_dir: str | os.PathLike[str] | None
    offline: bool
    size_px: tuple[int, int] | None
    class_weights: str
    penalty: float | None
    false_alarms: float
    freeze_until: str | None
    epochs: int | None
    cache: Path | None
    salvage: bool = False
    most_unreadable: float = MOST_UNREADABLE
    resume: bool = False

    def __post_init__(self) -> None:
        refuse(
            one_of("mode", self.mode, MODES)
            + one_of("class weights", self.class_weights, CLASS_WEIGHTS)
            + whole("seed", self.seed, least=0, most=2**63 - 1, fix="Try --seed 0")
        )
        require_rate(self.false_alarms)
        require_penalty(self.penalty)
        self._require_place()
        only_finetune = {"--freeze-until": self.freeze_until}
        for option, value in only_finetune.items():
            if value is not None and self.mode != "finetune":
                raise RunError(
                    f"{option} {value} with --mode {self.mode}, in which nothing is fine-tuned",
                    "--mode finetune",
                    f"Add --mode finetune, or leave {option} out",
                )

    @property
    def source(self) -> Data:
        """The data.

        Raises:
            RunError: none were given.
        """
        if self.data is None:
            raise RunError(
                "no data", "a folder of class folders, a data set's name, or ImageData", "Hand some over"
            )
        return self.data

    def _require_place(self) -> None:
        if self.resume and self.out is None:
            raise RunError(
                "--resume without --out", "the folder of the run to go on with", "Add --out FOLDER"
            )
        if self.resume and self.overwrite:
            raise RunError(
                "both --resume and --overwrite",
                "one of the two",
                "--resume goes on with the run, --overwrite replaces it",
            )


def transfer(
    data: Data | None = None,
    backbone: str | os.PathLike[str] | Model | None = None,
    mode: str = "extract",
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    size_px: int | tuple[int, int] | None = None,
    salvage: bool = False,
    most_unreadable: float = MOST_UNREADABLE,
    class_weights: str = "equal",
    penalty: float | None = None,
    false_alarms: float = 0.05,
    freeze_until: str | None = None,
    epochs: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
) -> Run:
    """A classifier for few pictures from a network that was trained on many; it leaves a run folder.

    Args:
        data: a folder of class folders, a data set's name, or ImageData; None with `resume`, which knows it.
        backbone: a model file, a run folder, a published model's name, a Model; None for the best one at hand.
        mode: "extract" fits a head to the backbone's features; "finetune" trains its later layers on from there;
            "scratch" trains the same net without the backbone's weights.
        seed: every random number follows from it.
        out: the run folder; None for runs/<data>-<backbone>-<number>.
        resume: go on with the fine-tuning or training in `out` that was stopped; mode and settings are its own.
        overwrite: replace the run in `out`.
        device: "auto", "cpu", "cuda" …
        data_dir, offline: as `load_data` has them; `data_dir` may also hold `weights/`.
        size_px: another size than the backbone's own.
        salvage: read what damaged picture files still hold.
        most_unreadable: a larger share of picture files that cannot be read stops the run, in [0, 1].
        class_weights: "equal", or "balanced" for every class to count the same however many pictures it has.
        penalty: of the head's weights; None chooses it by cross-validation.
        false_alarms: the share of pictures of known classes that `predict` may call unknown.
        freeze_until: with "finetune", the layers up to this one stay as they are; "none" for no layer; None for those
            up to the middle, where pictures have become 1/16 of their size.
        epochs: with "finetune" and "scratch", the length in place of the recipe's.
        cache: where features are kept; None for the user's cache.
        listeners: called with every event, in order.

    Returns:
        The run; its result has `mode, backbone, features_s, head_s` beside what `train` gives.

    Raises:
        ConvscopeError: something the user can mend; nothing was lost.
        KeyboardInterrupt: the features made so far are kept, and the next call goes on from there.
    """
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    kept = Path(cache).expanduser() if cache is not None else None
    wish = Wish(
        data,
        backbone,
        mode,
        seed,
        out,
        overwrite,
        device,
        data_dir,
        offline,
        size,
        class_weights,
        penalty,
        false_alarms,
        freeze_until,
        epochs,
        kept,
        salvage,
        most_unreadable,
        resume,
    )
    teller = Teller(listeners)
    return _begin(wish, teller, time.perf_counter())


def _begin(wish: Wish, teller: Teller, began_at: float) -> Run:
    if wish.resume:
        from convscope.transfer_learning.finetune import resumed

        return resumed(wish, teller, began_at)
    if wish.data is None:
        raise RunError(
            "no data", "a folder of class folders, or a data set's name", "Try convscope transfer photos/"
        )
    if wish.out is not None:
        _folder(wish.out).require_free(wish.overwrite)
    plan = make_plan(wish.device)
    found = backbones.find(wish.backbone, data_dir=wish.data_dir, offline=wish.offline, say=teller.note)
    ready = material(
        wish.source,
        found,
        seed=wish.seed,
        size_px=wish.size_px,
        data_dir=wish.data_dir,
        offline=wish.offline,
        salvage=wish.salvage,
        most_unreadable=wish.most_unreadable,
        say=teller.note,
    )
    for note in ready.notes:
        teller.note(note)
    if wish.mode != "extract":
        from convscope.transfer_learning.finetune import trained

        return trained(wish, found, ready, plan, teller, began_at)
    return _extracted(wish, found, ready, plan, teller, began_at)


def _extracted(
    wish: Wish, backbone: Backbone, ready: Material, plan: Plan, teller: Teller, began_at: float
) -> Run:
    path = (
        Path(wish.out).expanduser() if wish.out is not None else claim_next(ready.data.name, backbone.label)
    )
    folder = RunFolder(path)
    done = extracted_run(wish, backbone, ready, plan, teller, folder)
    for name in ("validation", "test"):
        if name in done.judged:
            teller.note(judged_text(name, done.judged[name]))
    result = _result(wish, backbone, ready, plan, done, folder, time.perf_counter() - began_at)
    return Run(folder.path, result, tuple(teller.notes))


def extracted_run(
    wish: Wish, backbone: Backbone, ready: Material, plan: Plan, teller: Teller, folder: RunFolder
) -> Extracted:
    """Fit a head to the backbone's features and leave it in `folder`; one that was made for it goes if that fails.

    Raises:
        KeyboardInterrupt: someone asked to stop; the features made so far are kept.
    """
    try:
        return _extracted_into(wish, backbone, ready, plan, teller, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(STOPPED) from None
    finally:
        folder.remove_if_empty()


def _extracted_into(
    wish: Wish, backbone: Backbone, ready: Material, plan: Plan, teller: Teller, folder: RunFolder
) -> Extracted:
    events: list[dict[str, Any]] = []

    def tell(event: Event) -> None:
        if event.in_history:
            events.append(event.history_line())
        teller(event)
        if teller.stop.made:
            raise KeyboardInterrupt

    done = extract(
        ready.data,
        backbone,
        plan,
        class_weights=wish.class_weights,
        penalty=wish.penalty,
        false_alarms=wish.false_alarms,
        seed=wish.seed,
        tell=tell,
        cache=wish.cache,
    )
    done.model.card |= _card(wish, backbone, ready, done)
    with folder.lock():
        folder.require_free(wish.overwrite)
        folder.clear()
        folder.write_config(_configuration(wish, backbone, ready, plan, done))
        folder.write_skipped(ready.data.skipped, teller.note)
        history = History(folder.history, 0)
        for line in events:
            history.add(line)
        history.close()
        save_model(done.model, folder.model)
    return done


def judged_text(split: str, judged: Judged) -> str:
    """How many were right, and how sure that number is."""
    low, high = wilson_interval(judged.correct, judged.n)
    return (
        f"{split.capitalize()}: {judged.correct:,} of {judged.n:,} right; with so many pictures the true accuracy"
        f" lies between {low:.2f} and {high:.2f} (95 % interval)."
    )


def _folder(out: str | os.PathLike[str]) -> RunFolder:
    return RunFolder(Path(out).expanduser())


def recipe_of(wish: Wish, ready: Material) -> dict[str, Any]:
    """How the head was fitted, in the place that a recipe has; what was held out is found again by it."""
    return {
        "name": "extract",
        "class_weights": wish.class_weights,
        "penalty": wish.penalty,
        "validation": "hold_out",
        "hold_out": ready.held_out,
    }


def _card(wish: Wish, backbone: Backbone, ready: Material, done: Extracted) -> dict[str, Any]:
    validation, test = done.judged.get("validation"), done.judged.get("test")
    return {
        "data": _source(wish, ready).on_card(),
        "recipe": recipe_of(wish, ready),
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
            "backbone": backbone.name,
            "backbone_sha256": backbone.digest,
            "features": done.fitted.features,
            "penalty": done.head.penalty,
            "cross_validated_accuracy": done.fitted.cross_validated_accuracy,
        },
    }


def _configuration(
    wish: Wish, backbone: Backbone, ready: Material, plan: Plan, done: Extracted
) -> dict[str, Any]:
    net = {"label": backbone.label, "text": str(done.model.net), "format_version": NET_FORMAT_VERSION}
    return {
        "format_version": FORMAT_VERSION,
        "data": _source(wish, ready).to_json(),
        "net": net,
        "recipe": recipe_of(wish, ready),
        "seed": wish.seed,
        "plan": plan.to_json(),
        "versions": versions(),
        "transfer": {
            "mode": "extract",
            "backbone": backbone.name,
            "backbone_sha256": backbone.digest,
            "false_alarms": wish.false_alarms,
        },
    }


def _source(wish: Wish, ready: Material) -> DataSource:
    from convscope.data import ImageData, sets

    where: str | None = None
    if wish.data is not None and not isinstance(wish.data, ImageData):
        is_name = isinstance(wish.data, str) and wish.data in sets.BY_NAME
        where = str(wish.data) if is_name else str(Path(wish.data).expanduser().resolve())
    data_dir = str(Path(wish.data_dir).expanduser().resolve()) if wish.data_dir is not None else None
    data = ready.data
    size = data.preprocessing.size_px
    return DataSource(
        data.name,
        where,
        ready.digest,
        len(data.class_names),
        size,
        data_dir,
        wish.salvage,
        wish.most_unreadable,
    )


def _result(
    wish: Wish,
    backbone: Backbone,
    ready: Material,
    plan: Plan,
    done: Extracted,
    folder: RunFolder,
    wall_s: float,
) -> dict[str, Any]:
    """What `transfer --json` prints: `train`'s fields, and `mode, backbone, features_s, head_s`."""
    train_s = done.made.features_s + done.fitted.head_s
    card = done.model.card
    return {
        "run": str(folder.path),
        "model": str(folder.model),
        "net": backbone.label,
        "data": ready.data.name,
        "recipe": "extract",
        "seed": wish.seed,
        "device": plan.device,
        "precision": plan.precision,
        "epochs": None,
        "steps": None,
        "resumed_from_step": None,
        "train_s": train_s,
        "wall_s": wall_s,
        "images_per_s": done.made.images / max(train_s, 1e-9),
        "validation_accuracy": card["validation_accuracy"],
        "test_loss": card["test_loss"],
        "test_accuracy": card["test_accuracy"],
        "mode": "extract",
        "backbone": backbone.name,
        "features_s": done.made.features_s,
        "head_s": done.fitted.head_s,
    }
