"""How the learning rate moves: pure functions from the step to a multiplier of the recipe's rate.

`multiplier(step, steps)` takes the step that is about to be made, counted from 0, and the number of steps in all.
Every multiplier lies in [0, 1]. The end value belongs to the step after the last one, so no step is made in vain at
a rate of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from convscope.training.settings import (
    BELOW_ONE,
    INSIDE_ONE,
    UP_TO_ONE,
    Problem,
    Setting,
    number,
    one_of,
)


@dataclass(frozen=True)
class Constant(Setting):
    """The rate never moves.

    >>> Constant().multiplier(7, 10)
    1.0
    """

    kind: ClassVar[str] = "constant"

    def multiplier(self, step: int, steps: int) -> float:
        return 1.0


@dataclass(frozen=True)
class StepDown(Setting):
    """The rate is multiplied by `factor` at each of the fractions `at` of the training.

    >>> [StepDown(at=(0.5,)).multiplier(step, 4) for step in range(4)]
    [1.0, 1.0, 0.1, 0.1]
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    kind: ClassVar[str] = "step"

    def problems(self) -> list[Problem]:
        fractions: object = self.at
        if not isinstance(fractions, tuple):
            return [Problem(f"at {fractions!r}", "a tuple of fractions such as (0.5, 0.75)")]
        found = [problem for fraction in self.at for problem in number("at", fraction, INSIDE_ONE)]
        if not found and list(self.at) != sorted(set(self.at)):
            found = [Problem(f"at {self.at!r}", "fractions that rise")]
        return found + number("factor", self.factor, INSIDE_ONE)

    def multiplier(self, step: int, steps: int) -> float:
        return float(self.factor ** sum(step >= fraction * steps for fraction in self.at))


@dataclass(frozen=True)
class Cosine(Setting):
    """A linear warm-up over the fraction `warmup`, then half a cosine down to `final`.

    >>> [round(Cosine().multiplier(step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    warmup: float = 0.0
    final: float = 0.0
    kind: ClassVar[str] = "cosine"

    def problems(self) -> list[Problem]:
        return number("warmup", self.warmup, BELOW_ONE) + number("final", self.final, UP_TO_ONE)

    def multiplier(self, step: int, steps: int) -> float:
        return _up_and_down(step / steps, 0.0, self.warmup, self.final, "cosine")


@dataclass(frozen=True)
class OneCycle(Setting):
    """Up in a straight line from `start` to 1 at the fraction `peak_at`, then down to `final`.

    Source: L. Smith and N. Topin, "Super-convergence", 2018; the straight way down is that of the CIFAR-10 speed runs.

    >>> [round(OneCycle(start=0.0, peak_at=0.25, down="linear").multiplier(step, 8), 2) for step in range(8)]
    [0.0, 0.5, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17]
    """

    start: float = 0.1
    peak_at: float = 0.25
    final: float = 0.0
    down: str = "linear"
    kind: ClassVar[str] = "one_cycle"

    def problems(self) -> list[Problem]:
        return (
            number("start", self.start, UP_TO_ONE)
            + number("peak_at", self.peak_at, INSIDE_ONE)
            + number("final", self.final, UP_TO_ONE)
            + one_of("down", self.down, _WAYS_DOWN)
        )

    def multiplier(self, step: int, steps: int) -> float:
        return _up_and_down(step / steps, self.start, self.peak_at, self.final, self.down)


Schedule = Constant | StepDown | Cosine | OneCycle
SCHEDULES: dict[str, type[Schedule]] = {each.kind: each for each in (Constant, StepDown, Cosine, OneCycle)}

_WAYS_DOWN: dict[str, Callable[[float], float]] = {
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
}


def _up_and_down(t: float, start: float, peak_at: float, final: float, down: str) -> float:
    """The value at the fraction t in [0, 1): up in a line to 1 at `peak_at`, then down to `final` at 1."""
    if t < peak_at:
        return start + (1.0 - start) * t / peak_at
    return final + (1.0 - final) * _WAYS_DOWN[down]((t - peak_at) / (1.0 - peak_at))
