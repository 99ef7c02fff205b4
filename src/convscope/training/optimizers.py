"""Optimizers as values. The arithmetic is that of `torch.optim`; what is ours is which parameters decay.

`rate` is the peak learning rate; the loop multiplies it by the schedule before each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from convscope.engine.optimizers import Light
from convscope.training.muon import OrthogonalMomentum
from convscope.training.rates import NO_RATES, Rate
from convscope.training.settings import (
    ABOVE_ZERO,
    AT_LEAST_ZERO,
    BELOW_ONE,
    Problem,
    Setting,
    number,
    whole,
)

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class Adadelta(Setting):
    """Adadelta. The defaults are those of Keras in 2018, which the lecture used.

    Today's Keras starts at rate 0.001 and today's PyTorch at rho 0.9, eps 1e-6; neither reproduces the lecture.

    Source: M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    rate: float = 1.0
    rho: float = 0.95
    eps: float = 1e-7
    weight_decay: float = 0.0
    kind: ClassVar[str] = "adadelta"

    def problems(self) -> list[Problem]:
        return _common(self) + number("rho", self.rho, BELOW_ONE) + number("eps", self.eps, ABOVE_ZERO)

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return _Adadelta(groups, lr=self.rate, rho=self.rho, eps=self.eps)


@dataclass(frozen=True)
class SGD(Setting):
    """Stochastic gradient descent with momentum, Nesterov's by default."""

    rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    kind: ClassVar[str] = "sgd"

    def problems(self) -> list[Problem]:
        found = _common(self) + number("momentum", self.momentum, BELOW_ONE)
        if self.nesterov and self.momentum == 0:
            found.append(Problem("nesterov with momentum 0", "a momentum above 0, or nesterov=False"))
        return found

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return _SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, fused=True)


@dataclass(frozen=True)
class Adam(Setting):
    """Adam; its weight decay is added to the gradient."""

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    kind: ClassVar[str] = "adam"

    def problems(self) -> list[Problem]:
        return _common(self) + _moments(self)

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return _Adam(groups, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)


@dataclass(frozen=True)
class AdamW(Setting):
    """Adam with its weight decay apart from the gradient."""

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    kind: ClassVar[str] = "adamw"

    def problems(self) -> list[Problem]:
        return _common(self) + _moments(self)

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return _AdamW(groups, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)


@dataclass(frozen=True)
class RMSprop(Setting):
    """RMSprop, as the book chapter's CIFAR-10 network was trained."""

    rate: float = 1e-3
    rho: float = 0.9
    eps: float = 1e-7
    momentum: float = 0.0
    weight_decay: float = 0.0
    kind: ClassVar[str] = "rmsprop"

    def problems(self) -> list[Problem]:
        return (
            _common(self)
            + number("rho", self.rho, BELOW_ONE)
            + number("eps", self.eps, ABOVE_ZERO)
            + number("momentum", self.momentum, BELOW_ONE)
        )

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return _RMSprop(groups, lr=self.rate, alpha=self.rho, eps=self.eps, momentum=self.momentum)


@dataclass(frozen=True)
class Muon(Setting):
    """Momentum made orthogonal for the filters of convolutions, Nesterov's SGD for every other parameter.

    The gradient of a convolution's weights, a row of numbers a filter, is replaced by the nearest matrix whose singular
    values are all about 1, so that every direction moves alike.

    Attributes:
        rate, momentum: of the filters of convolutions.
        iterations: of the Newton–Schulz iteration that makes the matrix; 3 to 5.
        unit_filters: before each step a convolution's weights are scaled to the norm √filters, so that the rate means
            the same for all; they do not decay then.
        other_rate, other_momentum: of every other parameter.

    Source: K. Jordan et al., "Muon", 2024, and the CIFAR-10 speed run it comes from.
    """

    rate: float = 0.24
    momentum: float = 0.6
    iterations: int = 3
    unit_filters: bool = True
    other_rate: float = 0.1
    other_momentum: float = 0.85
    weight_decay: float = 0.0
    kind: ClassVar[str] = "muon"

    def problems(self) -> list[Problem]:
        return (
            _common(self)
            + number("momentum", self.momentum, BELOW_ONE)
            + whole("iterations", self.iterations, most=20)
            + number("other_rate", self.other_rate, ABOVE_ZERO)
            + number("other_momentum", self.other_momentum, BELOW_ONE)
        )

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return OrthogonalMomentum(
            groups,
            lr=self.rate,
            momentum=self.momentum,
            iterations=self.iterations,
            unit_filters=self.unit_filters,
            other_share=self.other_rate / self.rate,
            other_momentum=self.other_momentum,
        )


# ---- torch's, without its compiler ----------------------------------------------------------------------------------


class _Adadelta(Light, torch.optim.Adadelta): ...


class _SGD(Light, torch.optim.SGD): ...


class _Adam(Light, torch.optim.Adam): ...


class _AdamW(Light, torch.optim.AdamW): ...


class _RMSprop(Light, torch.optim.RMSprop): ...


Optimizer = Adadelta | SGD | Adam | AdamW | RMSprop | Muon
OPTIMIZERS: dict[str, type[Optimizer]] = {
    each.kind: each for each in (Adadelta, SGD, Adam, AdamW, RMSprop, Muon)
}


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, rates: Mapping[str, Rate] = NO_RATES
) -> Groups:
    """What is optimised alike: weights, which decay, then biases and norms, which do not; in each, a group a rate.

    A parameter with fewer than two axes is a bias, a norm's scale or shift, or a coefficient per map: pulling those
    towards zero buys nothing. With a factor of the rate the decay is divided by it, so that what a step takes away
    stays the same.
    """
    parameters = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    parameters.sort(key=lambda each: not _decays(*each))  # stable: the weights first, in their order
    groups: dict[tuple[bool, Rate], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        groups.setdefault((_decays(name, parameter), rates.get(name, Rate())), []).append(parameter)
    return [
        {"params": alike, "weight_decay": decays * weight_decay / rate.factor, **rate._asdict()}
        for (decays, rate), alike in groups.items()
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float, share: float = 0.0) -> None:
    """Give every group the learning rate of the step to come, which is made after `share` of the training."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0) if share < group.get("until", 1.0) else 0.0


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and name.rpartition(".")[2] != "bias"


def _common(optimizer: Any) -> list[Problem]:
    rate = number("rate", optimizer.rate, ABOVE_ZERO)
    return rate + number("weight_decay", optimizer.weight_decay, AT_LEAST_ZERO)


def _moments(optimizer: Any) -> list[Problem]:
    return (
        number("beta1", optimizer.beta1, BELOW_ONE)
        + number("beta2", optimizer.beta2, BELOW_ONE)
        + number("eps", optimizer.eps, ABOVE_ZERO)
    )
