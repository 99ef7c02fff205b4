"""The lecture's MNIST run, made again: recipe `lecture`, each epoch beside the lecture's own line, and a verdict.

Source of the lecture's numbers: its Keras notebook as it stands in the slides (Deep Learning: Introduction to CNN,
S. R. Das), five epochs on the 60,000 training images with the 10,000 test images as validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

# Nothing slow is imported up here: this room is entered by `lecture check` too, which needs no torch.
if TYPE_CHECKING:
    from convscope.data import ImageData
    from convscope.training import Event, Listener, Run
    from convscope.training.asked import Data

FINAL_ACCURACY = 0.9893
BAND = 0.003
HOLDS, DOES_NOT_HOLD = "holds", "does not hold"

WHY_TODAYS_DEFAULT_FAILS = (
    "Today's Keras starts Adadelta at rate 0.001 where that of 2018 started at 1.0, so the same script takes steps a "
    "thousand times smaller and reaches 36.8 % after one epoch and 72.6 % after five (measured)."
)
WHY_VALIDATION_LEADS = (
    "In epoch 1 validation beats training, and that is no mistake: the training numbers are means over the epoch, "
    "while the network is still learning and with dropout on; validation comes after the epoch, with dropout off."
)


@dataclass(frozen=True)
class Numbers:
    """One line of a Keras log; losses are mean cross-entropies, accuracies in [0, 1]."""

    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


LECTURE = (
    Numbers(0.2594, 0.9199, 0.0536, 0.9821),
    Numbers(0.0848, 0.9755, 0.0384, 0.9862),
    Numbers(0.0641, 0.9808, 0.0334, 0.9891),
    Numbers(0.0529, 0.9841, 0.0301, 0.9899),
    Numbers(0.0456, 0.9863, 0.0312, 0.9893),
)


@dataclass(frozen=True)
class Epoch:
    """One epoch of ours beside the lecture's; `lecture` is None beyond its five."""

    epoch: int
    ours: Numbers
    lecture: Numbers | None


@dataclass(frozen=True)
class SeedRun:
    """One seed's run, epoch by epoch."""

    seed: int
    run: Run
    epochs: tuple[Epoch, ...]

    @property
    def test_accuracy(self) -> float | None:
        """Of the final model, in [0, 1]."""
        accuracy: float | None = self.run.result["test_accuracy"]
        return accuracy


@dataclass(frozen=True)
class LectureRun:
    """All seeds, and what they say about the lecture's final accuracy.

    `verdict` is "holds", "does not hold", or None where the data are not the lecture's and nothing is judged.
    """

    data: str
    origin: str
    runs: tuple[SeedRun, ...]
    mean_test_accuracy: float | None
    band: tuple[float, float]
    verdict: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: the verdict with its band, the sentences, and per seed the result and the epochs."""
        runs = [
            {**each.run.result, "by_epoch": [asdict(epoch) for epoch in each.epochs]} for each in self.runs
        ]
        return {
            "data": self.data,
            "mean_test_accuracy": self.mean_test_accuracy,
            "band": list(self.band),
            "verdict": self.verdict,
            "reason": self.reason,
            "why_todays_default_fails": WHY_TODAYS_DEFAULT_FAILS,
            "why_validation_leads": WHY_VALIDATION_LEADS,
            "runs": runs,
        }


def run(
    data: Data | None = None,
    *,
    seeds: Sequence[int] = (0,),
    epochs: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    data_dir: str | Path | None = None,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
) -> LectureRun:
    """Train the lecture's network with the lecture's recipe, once for each seed.

    Args:
        data: what `load_data` takes; None for MNIST, or the bundled part of it where MNIST is not to be had.
        seeds: one run each; several runs lie in `out`/seed-<seed>.
        epochs: in place of the lecture's five.
        out, resume, overwrite, device, data_dir, offline, listeners: as for `train`.

    Raises:
        ConvscopeError: as `train` does.
    """
    from convscope.data import ImageData, load_data
    from convscope.training import train
    from convscope.training.folder import next_free
    from convscope.training.telling import Teller

    loaded = load_data(data, data_dir=data_dir, offline=offline, progress=Teller(listeners).note)
    # A name can be found again by a later --resume; what came from Python is handed over as it is.
    given = loaded if isinstance(data, ImageData) else loaded.name if data is None else data
    base = Path(out) if out is not None else next_free(loaded.name, "lecture")
    folders = [base if len(seeds) == 1 else base / f"seed-{seed}" for seed in seeds]
    runs = tuple(
        _one(
            train(
                given,
                "lecture",
                "lecture",
                epochs=epochs,
                seed=seed,
                out=folder,
                resume=resume and folder.exists(),
                overwrite=overwrite,
                device=device,
                data_dir=data_dir,
                offline=offline,
                listeners=listeners,
            ),
            seed,
        )
        for seed, folder in zip(seeds, folders, strict=True)
    )
    return judged(loaded, runs)


def judged(data: ImageData, runs: Sequence[SeedRun]) -> LectureRun:
    """The verdict over all seeds, with the band that was used."""
    found = [each.test_accuracy for each in runs if each.test_accuracy is not None]
    mean = fmean(found) if found else None
    low, high = round(FINAL_ACCURACY - BAND, 6), round(FINAL_ACCURACY + BAND, 6)
    verdict, reason = _verdict(data, runs, mean, low, high)
    return LectureRun(data.name, data.origin, tuple(runs), mean, (low, high), verdict, reason)


def _one(done: Run, seed: int) -> SeedRun:
    from convscope.training import EpochEnd

    lines = [line for line in done.history if line["event"] == EpochEnd.kind]
    return SeedRun(
        seed,
        done,
        tuple(
            Epoch(
                line["epoch"],
                Numbers(line["loss"], line["accuracy"], line["validation_loss"], line["validation_accuracy"]),
                LECTURE[line["epoch"] - 1] if line["epoch"] <= len(LECTURE) else None,
            )
            for line in lines
        ),
    )


def is_full_mnist(data: ImageData) -> bool:
    """Whether these are the lecture's data: MNIST with 60,000 training and 10,000 test images."""
    sizes = {name: len(split) for name, split in data.splits.items()}
    return data.name == "mnist" and sizes == {"train": 60_000, "test": 10_000}


def _verdict(
    data: ImageData, runs: Sequence[SeedRun], mean: float | None, low: float, high: float
) -> tuple[str | None, str]:
    if not is_full_mnist(data):
        return None, (
            f"These are not the lecture's data ({data.name}, {len(data.train):,} training images, where the "
            "lecture had the 60,000 of MNIST), so the columns do not compare and nothing is judged."
        )
    if any(len(each.epochs) != len(LECTURE) for each in runs) or mean is None:
        return None, f"The lecture trained for {len(LECTURE)} epochs, this run did not, so nothing is judged."
    verdict = HOLDS if low <= mean <= high else DOES_NOT_HOLD
    seeds = "1 seed" if len(runs) == 1 else f"the mean of {len(runs)} seeds"
    return verdict, (
        f"The lecture's final accuracy of {FINAL_ACCURACY:.4f} {verdict}: {seeds} gives {mean:.4f}, "
        f"and the band is {FINAL_ACCURACY:.4f} ± {BAND:g} ({low:.4f} to {high:.4f})."
    )


# ---- text -----------------------------------------------------------------------------------------------------------

_HEAD = "epoch      loss  lecture   accuracy  lecture   val. loss  lecture   val. accuracy  lecture"


def render(lecture_run: LectureRun) -> str:
    """The whole outcome as text: a table for each seed, the verdict, and the two explanations."""
    tables = [table(each) for each in lecture_run.runs]
    return "\n\n".join([*tables, lecture_run.reason, WHY_VALIDATION_LEADS, WHY_TODAYS_DEFAULT_FAILS])


def table(seed_run: SeedRun) -> str:
    """One seed's epochs, each number of ours with the lecture's to the right of it."""
    return "\n".join([f"seed {seed_run.seed}", _HEAD, *(_row(epoch) for epoch in seed_run.epochs)])


def row_of(event: Event) -> str | None:
    """The table's line for an `EpochEnd` while training runs; None for other events."""
    from convscope.training import EpochEnd

    if not isinstance(event, EpochEnd):
        return None
    ours = Numbers(event.loss, event.accuracy, event.validation_loss, event.validation_accuracy)
    return _row(Epoch(event.epoch, ours, LECTURE[event.epoch - 1] if event.epoch <= len(LECTURE) else None))


def _row(epoch: Epoch) -> str:
    ours, theirs = epoch.ours, epoch.lecture or Numbers(*[float("nan")] * 4)
    pairs = [
        (ours.loss, theirs.loss, 10),
        (ours.accuracy, theirs.accuracy, 11),
        (ours.validation_loss, theirs.validation_loss, 12),
        (ours.validation_accuracy, theirs.validation_accuracy, 16),
    ]
    cells = "".join(f"{_four(one):>{width}}{_four(other):>9}" for one, other, width in pairs)
    return f"{epoch.epoch:>5}{cells}"


def _four(number: float | None) -> str:
    return f"{number:.4f}" if number is not None and number == number else "–"
