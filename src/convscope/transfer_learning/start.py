"""`transfer`: from what a user asks for to a run folder with a classifier in it.

Everything that can be wrong is found before anything is touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.errors import RunError
from convscope.evaluation.interval import wilson_interval
from convscope.model_file import Model, save_model
from convscope.training.augmentation import Augmentation
from convscope.training.events import Event, Listener
from convscope.training.folder import History, RunFolder, claim_next
from convscope.training.result import Run
from convscope.training.telling import Teller
from convscope.transfer_learning.extract import Extracted, Judged, extract
from convscope.transfer_learning.material import Data
from convscope.transfer_learning.modes import MODES, STUDIES
from convscope.transfer_learning.opening import Opened, opened
from convscope.transfer_learning.result import card, configuration, result
from convscope.transfer_learning.wish import Wish, pair, place

STOPPED = "Stopped. The features made so far are kept: the same command goes on from there."


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
    fit: Fit | None = None,
    augment: str | Augmentation | None = None,
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
        fit: "squash", "crop" or "pad", how pictures of another shape are brought to that size; None squashes them, and
            leaves ImageData as they were made.
        augment: with "finetune" and "scratch", what happens to training images: words (see `augmentation_text`) or an
            Augmentation; None for the recipe's, mirrored and moved by up to a tenth of their side.
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
    wish = Wish(
        data=data,
        backbone=backbone,
        mode=mode,
        seed=seed,
        out=out,
        resume=resume,
        overwrite=overwrite,
        device=device,
        data_dir=data_dir,
        offline=offline,
        size_px=pair(size_px),
        fit=fit,
        augment=augment,
        salvage=salvage,
        most_unreadable=most_unreadable,
        class_weights=class_weights,
        penalty=penalty,
        false_alarms=false_alarms,
        freeze_until=freeze_until,
        epochs=epochs,
        cache=place(cache),
    )
    if mode in STUDIES:
        raise RunError(
            f"mode {mode!r}, which makes no model",
            f"one of {', '.join(MODES)}",
            f"Call convscope.transfer_learning.{mode}",
        )
    return _begin(wish, Teller(listeners), time.perf_counter())


def _begin(wish: Wish, teller: Teller, began_at: float) -> Run:
    if wish.resume:
        from convscope.transfer_learning.finetune import resumed

        return resumed(wish, teller, began_at)
    found = opened(wish, teller)
    if wish.mode != "extract":
        from convscope.transfer_learning.finetune import trained

        return trained(wish, found, teller, began_at)
    return _extracted(wish, found, teller, began_at)


def _extracted(wish: Wish, found: Opened, teller: Teller, began_at: float) -> Run:
    folder = run_folder(wish, found)
    done = extracted_run(wish, found, teller, folder)
    for name in ("validation", "test"):
        if name in done.judged:
            teller.note(judged_text(name, done.judged[name]))
    values = result(wish, found, done, folder, time.perf_counter() - began_at)
    return Run(folder.path, values, tuple(teller.notes))


def run_folder(wish: Wish, found: Opened, what: str = "") -> RunFolder:
    """The folder in `out`, else the next one that is named after the data and the backbone, and `what`."""
    label = f"{found.backbone.label}{what}"
    taken = wish.out if wish.out is not None else claim_next(found.ready.data.name, label)
    return RunFolder(Path(taken).expanduser())


def extracted_run(wish: Wish, found: Opened, teller: Teller, folder: RunFolder) -> Extracted:
    """Fit a head to the backbone's features and leave it in `folder`; one that was made for it goes if that fails.

    Raises:
        KeyboardInterrupt: someone asked to stop; the features made so far are kept.
    """
    try:
        return _extracted_into(wish, found, teller, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(STOPPED) from None
    finally:
        folder.remove_if_empty()


def _extracted_into(wish: Wish, found: Opened, teller: Teller, folder: RunFolder) -> Extracted:
    events: list[dict[str, Any]] = []

    def tell(event: Event) -> None:
        if event.in_history:
            events.append(event.history_line())
        teller(event)
        if teller.stop.made:
            raise KeyboardInterrupt

    done = extract(
        found.ready.data,
        found.backbone,
        found.plan,
        class_weights=wish.class_weights,
        penalty=wish.penalty,
        false_alarms=wish.false_alarms,
        seed=wish.seed,
        tell=tell,
        cache=wish.cache,
    )
    done.model.card |= card(wish, found, done)
    with folder.lock():
        folder.require_free(wish.overwrite)
        folder.clear()
        folder.write_config(configuration(wish, found, done))
        folder.write_skipped(found.ready.data.skipped, teller.note)
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
