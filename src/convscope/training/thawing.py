"""Fine-tuning a trained network: what stays frozen, what thaws when, and how fast each layer may move.

Layers are counted from the top: the head is 0, the layer or block before it 1, and so on; a norm belongs to the layer
before it. The head moves from the first step on, the others thaw one by one, and the deeper one lies the slower it
moves: early layers are general and need little, late ones are about the old classes (Yosinski et al. 2014).

A layer that is frozen has no gradients, and its norms keep the statistics that they were trained with: on a few
pictures those of a batch say nothing, and moving them wrecks what the layers behind have learned to expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

from torch import nn

from convscope.errors import RecipeError, did_you_mean
from convscope.reference import Network
from convscope.reference.modules import Auxiliary, Branches, Dropout
from convscope.training.rates import NORMS, Rate
from convscope.training.settings import ABOVE_ZERO, UP_TO_ONE, Problem, Setting, number


@dataclass(frozen=True)
class Thawing(Setting):
    """How a trained network is trained on.

    Attributes:
        freeze_until: every layer up to this one, in the order of the network, stays as it is; None leaves none out.
        decay: the rate of a layer is that of the layer above it times this.
        thawed_at: the share of the training by which every layer has thawed, in [0, 1].
        norms_learn: whether the norms of thawed layers take the batch's statistics and go on averaging them.

    Source: the rates and the order of thawing after Howard & Ruder 2018.
    """

    freeze_until: str | None = None
    decay: float = 0.8
    thawed_at: float = 0.2
    norms_learn: bool = False
    kind: ClassVar[str] = "thawing"

    def problems(self) -> list[Problem]:
        decay = number("decay", self.decay, ABOVE_ZERO) + number("decay", self.decay, UP_TO_ONE)
        return decay[:1] + number("thawed_at", self.thawed_at, UP_TO_ONE)


class Thaw:
    """A thawing at work on one network; without one everything moves from the start."""

    def __init__(self, setting: Thawing | None, module: Network) -> None:
        self.setting = setting
        self.layers = layers_from_top(module) if setting else []
        self.movable = _movable(self.layers, setting.freeze_until) if setting else 0

    def rates(self, others: Mapping[str, Rate]) -> Mapping[str, Rate]:
        """Every parameter's rate: the one it has anyway, times its layer's factor. Called before anything is frozen."""
        if self.setting is None:
            return others
        found = dict(others)
        for depth, layer in enumerate(self.layers):
            for name in layer.parameters:
                rate = others.get(name, Rate())
                found[name] = rate._replace(factor=rate.factor * self.setting.decay**depth)
        return found

    def settled(self, module: Network) -> tuple[str, ...]:
        """The first layers of the network, in order, that no step changes; none where nothing is learned before them.

        >>> from convscope.net import Net
        >>> network = Net.parse("conv(4, 3), relu, conv(4, 3), globalpool, dense(classes)").build((1, 8, 8))
        >>> Thaw(Thawing(freeze_until="conv1"), network).settled(network)
        ('conv1', 'relu1')
        """
        frozen = {id(p) for layer in self.layers[self.movable :] for p in layer.module_parameters}
        leading = takewhile(lambda name: _is_settled(module.get_submodule(name), frozen), module.scored)
        return tuple(leading) if frozen else ()

    def at(self, share: float) -> None:
        """Freeze and thaw for the epoch that begins after `share` of the training."""
        if self.setting is None:
            return
        for depth, layer in enumerate(self.layers):
            thawed = depth < self.movable and share >= self._begins(depth)
            for parameter in layer.module_parameters:
                parameter.requires_grad_(thawed)
            for norm in layer.norms:
                norm.train(thawed and self.setting.norms_learn)

    def _begins(self, depth: int) -> float:
        """The share of the training after which the layer this deep moves; the head at once."""
        assert self.setting is not None
        return self.setting.thawed_at * depth / max(1, self.movable - 1)


def _is_settled(part: nn.Module, frozen: set[int]) -> bool:
    """Whether it has none but frozen parameters, and gives the same for the same images in training."""
    changes = any(isinstance(each, Dropout | Auxiliary) for each in part.modules())
    return not changes and all(id(parameter) in frozen for parameter in part.parameters())


@dataclass(frozen=True, eq=False)
class ThawingLayer:
    """A layer or block with the norms that belong to it: the names it has, its parameters, its norms."""

    names: tuple[str, ...]
    parameters: tuple[str, ...]
    module_parameters: tuple[nn.Parameter, ...]
    norms: tuple[nn.Module, ...]


def layers_from_top(module: Network) -> list[ThawingLayer]:
    """The layers that have parameters, the head first. The longest of several branches is taken apart, too.

    >>> from convscope.net import Net
    >>> net = Net.parse("conv(4, 3), batchnorm, relu, conv(4, 3), globalpool, dense(classes)")
    >>> [layer.names for layer in layers_from_top(net.build((1, 8, 8)))]
    [('dense1',), ('conv2',), ('conv1', 'batchnorm1')]
    """
    groups: list[list[str]] = []
    for name in _in_order(module, ""):
        part = module.get_submodule(name)
        if not any(True for _ in part.parameters()):
            continue
        if isinstance(part, NORMS) and groups:
            groups[-1].append(name)
        else:
            groups.append([name])
    return [_layer(module, tuple(names)) for names in reversed(groups)]


def _in_order(module: nn.Module, prefix: str) -> list[str]:
    """The children's full names in order; branches give those of their paths."""
    found: list[str] = []
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        found += _in_order(child, f"{full}.") if isinstance(child, Branches) else [full]
    return found


def _layer(module: Network, names: tuple[str, ...]) -> ThawingLayer:
    parts = {name: module.get_submodule(name) for name in names}
    named = {f"{name}.{key}": p for name, part in parts.items() for key, p in part.named_parameters()}
    norms = tuple(each for part in parts.values() for each in part.modules() if isinstance(each, NORMS))
    return ThawingLayer(names, tuple(named), tuple(named.values()), norms)


def _movable(layers: list[ThawingLayer], freeze_until: str | None) -> int:
    """How many layers from the top may move.

    Raises:
        RecipeError: there is no layer of that name, or it is the head.
    """
    if freeze_until is None:
        return len(layers)
    known = {name: depth for depth, layer in enumerate(layers) for name in layer.names}
    known |= {name.rpartition(".")[2]: depth for name, depth in list(known.items())}
    if freeze_until not in known or known[freeze_until] == 0:
        choices = [name for layer in reversed(layers[1:]) for name in layer.names]
        what = "the head, which is what learns" if freeze_until in known else "no layer with parameters"
        raise RecipeError(
            f"freeze until {freeze_until!r}, which is {what}",
            f"one of {', '.join(choices)}",
            did_you_mean(freeze_until, choices),
        )
    return known[freeze_until]
