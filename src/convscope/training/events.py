"""What training tells its listeners: plain records, in order. The loop prints nothing and knows no listener.

    Started · Note · (Step · EpochEnd · Saved)… · Finished

`Step`, `EpochEnd` and `Finished` are also the lines of `history.jsonl`. There, everything but the clock fields
(`*_s`, `images_per_s`) is the same whenever the same run is made again, interrupted and resumed or not. `Step` events
with `live=True` come by the clock, for a moving display, and are not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    kind: ClassVar[str] = ""
    in_history: ClassVar[bool] = False

    def to_json(self) -> dict[str, Any]:
        """The event as plain JSON, its kind under `event`."""
        return {"event": self.kind, **asdict(self)}

    def history_line(self) -> dict[str, Any]:
        """What `history.jsonl` keeps of the event."""
        return {key: value for key, value in self.to_json().items() if key not in _NOT_KEPT}


Listener = Callable[[Event], None]

_NOT_KEPT = {"seconds_left", "live"}


@dataclass(frozen=True)
class Started(Event):
    """Before the first step: what is trained, on what, how, and about how long it takes."""

    run: str
    data: str
    origin: str
    net: str
    parameters: int
    recipe: str
    seed: int
    device: str
    precision: str
    reason: str
    train_images: int
    validation_images: int
    test_images: int
    validation_split: str | None
    batch_size: int
    epochs: float
    steps: int
    steps_per_epoch: int
    resumed_from_step: int | None
    estimated_s: float
    kind: ClassVar[str] = "started"


@dataclass(frozen=True)
class Step(Event):
    """Progress after `step` steps: means since the last kept `Step` or the start of the epoch.

    `loss` is the training loss with dropout on, training-only outputs and label smoothing included; `accuracy` is
    that of the same batches, in [0, 1]; `rate` is the learning rate of the step just made.
    """

    step: int
    epoch: int
    loss: float
    accuracy: float
    images_per_s: float
    seconds_left: float
    rate: float = 0.0
    steps: int = 0
    live: bool = False
    kind: ClassVar[str] = "step"
    in_history: ClassVar[bool] = True


@dataclass(frozen=True)
class EpochEnd(Event):
    """One pass over the training images is done. `loss` and `accuracy` are means over the epoch, while it learned.

    The validation values are None where this epoch was not evaluated or there is nothing to evaluate on.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    epoch_s: float
    evaluation_s: float
    images_per_s: float
    kind: ClassVar[str] = "epoch_end"
    in_history: ClassVar[bool] = True


@dataclass(frozen=True)
class Saved(Event):
    """The checkpoint and the model were written after `step` steps."""

    step: int
    path: str
    kind: ClassVar[str] = "saved"


@dataclass(frozen=True)
class Note(Event):
    """One sentence that the user should see."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Finished(Event):
    """Training is over and the model judged. `reason` says why it ended: "steps" or "early stopping"."""

    step: int
    epochs: float
    reason: str
    validation_loss: float | None
    validation_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    train_s: float
    wall_s: float
    images_per_s: float
    kind: ClassVar[str] = "finished"
    in_history: ClassVar[bool] = True


def without_clocks(line: dict[str, Any]) -> dict[str, Any]:
    """A history line less its clock fields: the part that repeats.

    >>> without_clocks({"event": "step", "loss": 0.5, "images_per_s": 1e4, "train_s": 3.1})
    {'event': 'step', 'loss': 0.5}
    """
    return {key: value for key, value in line.items() if not key.endswith("_s")}
