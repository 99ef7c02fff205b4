"""The moving average of the weights (EMA): steadier than the last step's weights, for almost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convscope.training.settings import BELOW_ONE, Problem, Setting, number, whole


@dataclass(frozen=True)
class Averaging(Setting):
    """Keep the average of the weights with `decay` per update, one update every `every` steps."""

    decay: float = 0.99
    every: int = 1
    kind: ClassVar[str] = "ema"

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


class Average:
    """The running average of named tensors. Whole-number buffers are copied, the rest is averaged."""

    def __init__(self, setting: Averaging, tensors: Mapping[str, Tensor]) -> None:
        self.setting = setting
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Take in the weights after `step` steps (counted from 1)."""
        if step % self.setting.every:
            return
        share = self.setting.share(step // self.setting.every)
        averaged = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(self._pick(averaged), [tensors[name].detach() for name in averaged], share)
        for name in self.tensors.keys() - set(averaged):
            self.tensors[name].copy_(tensors[name])

    def _pick(self, names: Iterable[str]) -> list[Tensor]:
        return [self.tensors[name] for name in names]
