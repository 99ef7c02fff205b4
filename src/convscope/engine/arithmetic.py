"""How a fast form works: in which numbers, and with what kernels and methods of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convscope.engine.kernels import library
from convscope.engine.kernels.method import Methods
from convscope.engine.kernels.methods import methods_of
from convscope.engine.kernels.operations import Kernels

if TYPE_CHECKING:
    from convscope.engine.plan import Plan

NONE = Methods()


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """How a fast form works.

    Args:
        dtype: in which numbers; None for those it is given.
        kernels: the compiled passes between convolutions, if there are some.
        methods: for what suits one of them, instead of torch's operations.
        recorded: whether its training steps are recorded and replayed on a GPU.
    """

    dtype: torch.dtype | None = None
    kernels: Kernels | None = None
    methods: Methods = NONE
    recorded: bool = False

    @property
    def folds(self) -> bool:
        """Whether layers that no longer change run in the form that scores: what it is for is the CPU's float32."""
        return self.dtype is None and not self.recorded

    def entering(self, images: Tensor) -> Tensor:
        """Images as the operations take them."""
        return images.to(self.dtype or images.dtype, memory_format=torch.channels_last)

    def leaving(self, scores: Tensor) -> Tensor:
        """Scores as the loss takes them."""
        return scores.float() if self.dtype else scores


def arithmetic_of(plan: Plan | None) -> Arithmetic:
    """What a plan says of precision and kernels."""
    if plan is None:
        return Arithmetic()
    return Arithmetic(
        torch.bfloat16 if plan.precision == "bfloat16" else None,
        _kernels("kernels") if plan.compiled and plan.device == "cpu" else None,
        _methods(plan),
        recorded=plan.compiled and plan.device == "cuda",
    )


def _methods(plan: Plan) -> Methods:
    if not plan.compiled or plan.device != "cpu":
        return Methods()
    return methods_of(plan.convolution, plan.precision)


def _kernels(name: str) -> Kernels | None:
    built = library.load(name).library
    return None if built is None else Kernels(built)
