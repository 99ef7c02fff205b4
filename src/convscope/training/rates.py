"""Rates of single groups of parameters: what a parameter's learning rate is beside the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from torch import nn

from convscope.reference import Network
from convscope.reference.modules import Auxiliary
from convscope.training.settings import ABOVE_ZERO, Problem, Setting, number
from convscope.training.whitening import Whitening, first_convolution

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class RateFactors(Setting):
    """Factors of the learning rate. Where weights decay, the product of rate and decay stays what it is without.

    Attributes:
        norms: of the scale and shift of batch norms.
        biases: of every other bias.
        head: of the last layer's weights.
    """

    norms: float = 1.0
    biases: float = 1.0
    head: float = 1.0
    kind: ClassVar[str] = "factors"

    def problems(self) -> list[Problem]:
        return (
            number("norms", self.norms, ABOVE_ZERO)
            + number("biases", self.biases, ABOVE_ZERO)
            + number("head", self.head, ABOVE_ZERO)
        )


class Rate(NamedTuple):
    """A parameter's factor of the learning rate, and the share of the training after which it is 0."""

    factor: float = 1.0
    until: float = 1.0


NO_RATES: Mapping[str, Rate] = MappingProxyType({})


def rates(module: Network, factors: RateFactors | None, whitening: Whitening | None) -> Mapping[str, Rate]:
    """The rates of the parameters that have another than the recipe's, by name."""
    found = _by_kind(module, factors) if factors else {}
    if whitening is not None:
        name = f"{first_convolution(module)[0]}.bias"
        found[name] = found.get(name, Rate())._replace(until=whitening.bias_share)
    return found


def head_of(module: Network) -> str:
    """The name of the last layer that has a matrix of weights; training-only outputs do not count.

    >>> from convscope.net import Net
    >>> head_of(Net.parse("conv(4, 3), relu, flatten, dense(classes)").build((1, 8, 8)))
    'dense1'
    """
    aside = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, Auxiliary))
    weights = [
        name
        for name, weight in module.named_parameters()
        if name.endswith(".weight") and weight.ndim > 1 and not name.startswith(aside)
    ]
    return weights[-1].removesuffix(".weight")


def _by_kind(module: Network, factors: RateFactors) -> dict[str, Rate]:
    found: dict[str, Rate] = {}
    head = f"{head_of(module)}.weight"
    for name, _ in module.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if isinstance(module.get_submodule(owner), NORMS):
            found[name] = Rate(factors.norms)
        elif leaf == "bias":
            found[name] = Rate(factors.biases)
        elif name == head:
            found[name] = Rate(factors.head)
    return found
