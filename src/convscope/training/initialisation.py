"""The weights a network starts from: a policy over names, a pure function of the seed and the parameter's name.

    policy           weight of a convolution or dense layer                    bias
    glorot_uniform   uniform in ±√(6 / (fan in + fan out)), as Keras does      0
    he               normal, deviation √(2 / fan in), for rectified layers     0
    torch            uniform in ±√(1 / fan in), as PyTorch does                uniform in ±√(1 / fan in)
    lenet            uniform in ±2.4 / fan in, for squashed layers             uniform in ±2.4 / fan in

On top of a policy a recipe may have identities (`set_identities`), a gain of the last layer, and a first convolution
that whitens (`whitening`), which needs images.

Fan in is the inputs one output sees (F·F·D for a convolution), fan out the outputs one input feeds (F·F·D'). A
parameter that belongs to neither kind of layer, such as a norm's scale, keeps the constant it was built with.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convscope.engine.random import key
from convscope.reference.modules import TableConv2d


def initialise(module: nn.Module, policy: str, seed: int) -> None:
    """Set the weights and biases of every convolution and dense layer of `module` in place.

    The order in which the module was built plays no part, nor does torch's global generator.
    """
    named = dict(module.named_parameters())
    for name, weight in named.items():
        owner, _, leaf = name.rpartition(".")
        if leaf != "weight" or weight.ndim < 2:
            continue
        fans = _fans(weight, module.get_submodule(owner))
        for_weight, for_bias = POLICIES[policy]
        _fill(weight, for_weight(*fans), seed, name)
        bias_name = f"{owner}.bias".removeprefix(".")
        if bias_name in named:
            _fill(named[bias_name], for_bias(*fans), seed, bias_name)


@torch.no_grad()
def set_identities(module: nn.Module) -> None:
    """Let the first filters of every 3×3 convolution hand on the maps they get: filter i is 1 at its centre on map i.

    A convolution with fewer filters than maps hands on as many as it has. So a deep stack starts out as carrying the
    picture through, and needs no shortcuts. Source: hlb-CIFAR10, 2023.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and part.groups == 1:
            nn.init.dirac_(part.weight[: part.in_channels])


Draw = Callable[[Tensor, torch.Generator], Tensor]


def _uniform(bound: float) -> Draw:
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def _normal(deviation: float) -> Draw:
    return lambda tensor, generator: tensor.normal_(0.0, deviation, generator=generator)


def _zero(fan_in: float, fan_out: float) -> Draw:
    return lambda tensor, generator: tensor.zero_()


def _glorot(fan_in: float, fan_out: float) -> Draw:
    return _uniform(math.sqrt(6.0 / (fan_in + fan_out)))


def _he(fan_in: float, fan_out: float) -> Draw:
    return _normal(math.sqrt(2.0 / fan_in))


def _torch(fan_in: float, fan_out: float) -> Draw:
    return _uniform(math.sqrt(1.0 / fan_in))


def _lenet(fan_in: float, fan_out: float) -> Draw:
    return _uniform(2.4 / fan_in)


POLICIES: dict[str, tuple[Callable[[float, float], Draw], Callable[[float, float], Draw]]] = {
    "glorot_uniform": (_glorot, _zero),
    "he": (_he, _zero),
    "torch": (_torch, _torch),
    "lenet": (_lenet, _lenet),
}


def _fans(weight: Tensor, owner: nn.Module) -> tuple[float, float]:
    """(fan in, fan out) of a weight (D', D / groups, …window).

    A convolution with a connection table keeps only the kernels of its links, (links, …window), out of `full_shape`
    (D', D, …window): its fans are those of its average filter and its average map.
    """
    if isinstance(owner, TableConv2d):
        return weight.numel() / owner.full_shape[0], weight.numel() / owner.full_shape[1]
    window = math.prod(weight.shape[2:])
    return weight.shape[1] * window, weight.shape[0] * window


@torch.no_grad()
def _fill(parameter: Tensor, draw: Draw, seed: int, name: str) -> None:
    generator = torch.Generator().manual_seed(key(seed, "initialisation", name))
    values = torch.empty(parameter.shape, dtype=torch.float32)
    parameter.copy_(draw(values, generator))
