"""Averages of the weights that become the model: steadier than the last step's weights, for almost nothing.

Averaging   the moving average (EMA); training takes no notice of it
Lookahead   slow weights, from which training goes on
Midway      a place between the weights that training began with and those it has reached; training takes no notice
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convscope.training.settings import AT_LEAST_ZERO, BELOW_ONE, UP_TO_ONE, Problem, Setting, number, whole


@dataclass(frozen=True)
class Averaging(Setting):
    """Keep the average of the weights with `decay` per update, one update every `every` steps."""

    decay: float = 0.99
    every: int = 1
    kind: ClassVar[str] = "ema"
    leads: ClassVar[bool] = False

    def problems(self) -> list[Problem]:
        return number("decay", self.decay, BELOW_ONE) + whole("every", self.every)

    def share(self, updates: int) -> float:
        """How much the newest weights count in update number `updates` (from 1).

        It is (1 - d) / (1 - d^t), so that after t updates the weights of update i count in proportion to d^(t - i),
        and the starting weights not at all.

        >>> [round(Averaging(decay=0.5).share(t), 3) for t in (1, 2, 3)]
        [1.0, 0.667, 0.571]
        """
        return (1.0 - self.decay) / (1.0 - self.decay**updates)

    def share_at(self, step: int, steps: int) -> float:
        """How much the newest weights count in the update after `step` of `steps` steps."""
        return self.share(step // self.every)


@dataclass(frozen=True)
class Lookahead(Setting):
    """Every `every` steps the slow weights move towards the weights, and training goes on from the slow ones.

    Of the way from the slow weights to the new ones they go the share 1 − decay·(step/steps)^power: all of it at first,
    1 − decay of it at the end. The slow weights are the model.

    Source: Zhang, Lucas, Hinton & Ba, "Lookahead optimizer", 2019; with a share that falls: the CIFAR-10 speed runs.
    """

    decay: float = 0.95**5
    every: int = 5
    power: float = 3.0
    kind: ClassVar[str] = "lookahead"
    leads: ClassVar[bool] = True

    def problems(self) -> list[Problem]:
        return (
            number("decay", self.decay, BELOW_ONE)
            + whole("every", self.every)
            + number("power", self.power, AT_LEAST_ZERO)
        )

    def share_at(self, step: int, steps: int) -> float:
        """How much the newest weights count in the update after `step` of `steps` steps.

        >>> [Lookahead(decay=0.5, power=1.0).share_at(step, 4) for step in (0, 2, 4)]
        [1.0, 0.75, 0.5]
        """
        return 1.0 - self.decay * float((step / steps) ** self.power)


@dataclass(frozen=True)
class Midway(Setting):
    """The model lies on the line from the weights that training began with to those it has reached, at `share` of it.

    For fine-tuning: what the starting weights knew of pictures in general is kept, and half of what was learned anew.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022, who recommend 0.5.
    """

    share: float = 0.5
    every: ClassVar[int] = 1
    kind: ClassVar[str] = "midway"
    leads: ClassVar[bool] = False

    def problems(self) -> list[Problem]:
        return number("share", self.share, UP_TO_ONE)

    def share_at(self, step: int, steps: int) -> float:
        """What is kept is the start, so no weights are taken in."""
        return 0.0


class Average:
    """The running average of named tensors, `tensors`. Whole-number buffers are copied, the rest is averaged."""

    def __init__(
        self, setting: Averaging | Lookahead | Midway, tensors: Mapping[str, Tensor], steps: int = 1
    ) -> None:
        self.setting, self.steps = setting, steps
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Take in the weights after `step` steps (counted from 1), and give back those to go on from."""
        if step % self.setting.every:
            return
        share = self.setting.share_at(step, self.steps)
        if share == 0:  # nothing is taken in, not even what zero times infinity would be
            return
        names = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        slow, fast = [self.tensors[name] for name in names], [tensors[name].detach() for name in names]
        torch._foreach_lerp_(slow, fast, share)
        if self.setting.leads:
            torch._foreach_copy_(fast, slow)
        for name in self.tensors.keys() - set(names):
            self.tensors[name].copy_(tensors[name])

    @torch.no_grad()
    def model(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights that become the model, where training has reached `tensors`.

        >>> average = Average(Midway(0.25), {"w": torch.zeros(2)})
        >>> average.model({"w": torch.tensor([4.0, 8.0])})["w"]
        tensor([1., 2.])
        """
        if not isinstance(self.setting, Midway):
            return self.tensors
        return {
            name: start.lerp(tensors[name], self.setting.share)
            if start.is_floating_point()
            else tensors[name]
            for name, start in self.tensors.items()
        }
