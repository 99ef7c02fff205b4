"""What a user asks of a transfer, checked before anything is touched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.errors import RunError
from convscope.model_file import Model
from convscope.training.augmentation import Augmentation
from convscope.training.preparation import Preparation
from convscope.training.settings import one_of, refuse, whole
from convscope.transfer_learning.extract import CLASS_WEIGHTS
from convscope.transfer_learning.familiarity import require_rate
from convscope.transfer_learning.head import require_penalty
from convscope.transfer_learning.material import Data
from convscope.transfer_learning.modes import MODES, STUDIES, require_meant


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user gave; see `transfer` and `compare`.

    Raises:
        ConvscopeError: a value that is not possible, or means nothing in this mode.
    """

    data: Data | None
    backbone: str | os.PathLike[str] | Model | None
    mode: str
    seed: int = 0
    out: str | os.PathLike[str] | None = None
    resume: bool = False
    overwrite: bool = False
    device: str = "auto"
    data_dir: str | os.PathLike[str] | None = None
    offline: bool = False
    size_px: tuple[int, int] | None = None
    fit: Fit | None = None
    augment: str | Augmentation | None = None
    salvage: bool = False
    most_unreadable: float = MOST_UNREADABLE
    class_weights: str = "equal"
    penalty: float | None = None
    false_alarms: float = 0.05
    freeze_until: str | None = None
    epochs: int | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        refuse(
            one_of("mode", self.mode, MODES + STUDIES)
            + one_of("class weights", self.class_weights, CLASS_WEIGHTS)
            + whole("seed", self.seed, least=0, most=2**63 - 1, fix="Try --seed 0")
        )
        require_rate(self.false_alarms)
        require_penalty(self.penalty)
        Preparation(self.size_px, self.fit, self.augment)  # refuses what it cannot use
        self._require_place()
        if not self.resume:  # which has the mode of the run
            require_meant(
                self.mode,
                {
                    "--freeze-until": self.freeze_until,
                    "--epochs": self.epochs,
                    "--augment": self.augment,
                    "--penalty": self.penalty,
                },
            )

    @property
    def source(self) -> Data:
        """The data.

        Raises:
            RunError: none were given.
        """
        if self.data is None:
            raise RunError(
                "no data", "a folder of class folders, or a data set's name", "Try convscope transfer photos/"
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


def pair(size_px: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) of a side or a pair."""
    return (size_px, size_px) if isinstance(size_px, int) else size_px


def place(cache: str | os.PathLike[str] | None) -> Path | None:
    """Where features are kept; None for the user's cache."""
    return Path(cache).expanduser() if cache is not None else None
