"""Early stopping: end when validation no longer gets better, and keep the best weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convscope.training.settings import (
    AT_LEAST_ZERO,
    Problem,
    Setting,
    number,
    one_of,
    whole,
)


@dataclass(frozen=True)
class EarlyStopping(Setting):
    """Stop after `patience` evaluations in a row that were not better by more than `margin`."""

    patience: int = 3
    metric: str = "loss"
    margin: float = 0.0
    kind: ClassVar[str] = "patience"

    def problems(self) -> list[Problem]:
        return (
            whole("patience", self.patience)
            + one_of("metric", self.metric, ("loss", "accuracy"))
            + number("margin", self.margin, AT_LEAST_ZERO)
        )

    def better(self, loss: float, accuracy: float, best: tuple[float, float] | None) -> bool:
        """Whether this validation (loss, accuracy) beats the best so far.

        >>> EarlyStopping().better(0.2, 0.9, best=(0.3, 0.95))
        True
        """
        if best is None:
            return True
        if self.metric == "loss":
            return loss < best[0] - self.margin
        return accuracy > best[1] + self.margin
