"""Operations of several modules in one pass over memory, with the compiled kernels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from convscope.engine.alone import Operation, Outputs, chained, operation_of, rectified, with_border
from convscope.engine.arithmetic import Arithmetic
from convscope.engine.kernels import operations
from convscope.engine.kernels.method import First, Methods, Then
from convscope.engine.kernels.operations import Convolving, Drop, Kernels
from convscope.engine.windows import MaxPool, is_two_by_two, pair, pooled_size, window_of
from convscope.reference.modules import Dropout

Kind = TypeVar("Kind", bound=nn.Module)


def convolution(module: nn.Conv2d, relu: bool, arithmetic: Arithmetic) -> Operation:
    """By the first of the plan's methods that it suits, else by torch's."""
    by, kernels, then = _convolving(module), arithmetic.kernels, Then(relu)
    assert kernels is not None
    methods = arithmetic.methods.of_convolutions

    def run(maps: Tensor, _: Outputs | None) -> Tensor:
        maps, weight, bias = with_border(maps, module), module.weight, module.bias
        for method in methods:
            if method.suits(maps, weight, by):
                return method.convolve(maps, weight, bias, by, then)
        return operations.convolve(maps, weight, bias, by, relu, kernels)

    return run


@dataclass(frozen=True, eq=False)
class Behind:
    """What may run in the pass of a convolution: a 2×2 pool, relu; and behind the pool dropout and flatten."""

    pool: MaxPool | None
    relu: bool
    dropout: Dropout | None
    flatten: nn.Flatten | None


def taken_behind(rest: deque[nn.Module]) -> Behind:
    """The next modules, taken away, as far as they can."""
    pool = rest[0] if rest else None
    if not isinstance(pool, MaxPool) or not is_two_by_two(pool):
        return Behind(None, taken(rest, nn.ReLU) is not None, None, None)
    rest.popleft()
    relu, dropout = taken(rest, nn.ReLU) is not None, taken(rest, Dropout)
    return Behind(pool, relu, dropout, taken(rest, nn.Flatten))


def convolution_and_more(module: nn.Conv2d, behind: Behind, arithmetic: Arithmetic) -> Operation:
    """In one pass where the method suits, else one after the other; flatten always after it."""
    pool, relu, dropout = behind.pool, behind.relu, behind.dropout
    if pool is None:
        return convolution(module, relu, arithmetic)
    kernels, method = arithmetic.kernels, arithmetic.methods.main
    assert kernels is not None
    assert method is not None
    by = _convolving(module)
    apart = chained([convolution(module, False, arithmetic), max_pool(pool, relu, dropout, kernels)])

    def run(maps: Tensor, outputs: Outputs | None) -> Tensor:
        bordered, weight = with_border(maps, module), module.weight
        if not method.suits(bordered, weight, by):
            return apart(maps, outputs)
        return method.convolve(bordered, weight, module.bias, by, Then(relu, True, _drop(dropout, maps)))

    return run if behind.flatten is None else chained([run, flattened(behind.flatten, kernels)])


def two_convolutions(
    module: nn.Conv2d, second: nn.Conv2d, behind: Behind, arithmetic: Arithmetic
) -> Operation:
    """A network's first convolution, relu, and the second with what is behind it in one pass, where they suit."""
    method = arithmetic.methods.main
    assert method is not None
    first_by, by = _convolving(module), _convolving(second)
    apart = chained([convolution(module, True, arithmetic), convolution_and_more(second, behind, arithmetic)])

    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        bordered = with_border(images, module)
        first = First(module.weight, module.bias, first_by)
        if not method.suits_two(bordered, first, second.weight, by):
            return apart(images, outputs)
        drop, flat = _drop(behind.dropout, images), behind.flatten is not None
        then = Then(behind.relu, behind.pool is not None, drop, flat)
        return method.convolve_two(bordered, first, second.weight, second.bias, by, then)

    return run


def _convolving(module: nn.Conv2d) -> Convolving:
    return Convolving(pair(module.stride), pair(module.padding), pair(module.dilation), module.groups)


def dense_layer(module: nn.Linear, methods: Methods) -> Operation:
    alone = operation_of(module)

    def run(vectors: Tensor, outputs: Outputs | None) -> Tensor:
        for method in methods.dense:
            if method.suits_dense(vectors, module.weight):
                return method.dense(vectors, module.weight, module.bias)
        return alone(vectors, outputs)

    return run


def batch_norm(
    module: nn.BatchNorm2d, relu: bool, kernels: Kernels
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Norm, shortcut and relu in one pass; a norm that does not learn from this batch is left to torch."""

    def run(maps: Tensor, shortcut: Tensor | None) -> Tensor:
        momentum = module.momentum
        if not module.training or momentum is None or module.running_mean is None:
            normed = module(maps)
            return rectified(normed if shortcut is None else normed + shortcut, relu)
        out, mean, variance = operations.norm(
            maps, module.weight, module.bias, shortcut, module.eps, relu, kernels
        )
        _remember(module, mean, variance, maps.numel() // maps.shape[1], momentum)
        return out

    return run


@torch.no_grad()
def _remember(module: nn.BatchNorm2d, mean: Tensor, variance: Tensor, numbers: int, momentum: float) -> None:
    """The running mean and the running unbiased variance, as torch keeps them."""
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked.add_(1)
    module.running_mean.lerp_(mean, momentum)
    module.running_var.lerp_(variance * (numbers / max(numbers - 1, 1)), momentum)


def max_pool(module: MaxPool, relu: bool, dropout: Dropout | None, kernels: Kernels) -> Operation:
    def run(maps: Tensor, _: Outputs | None) -> Tensor:
        pooling = operations.Pooling(*window_of(module), pooled_size(module, maps))
        return operations.pool(maps, pooling, relu, _drop(dropout, maps), kernels)

    return run


def relu_dropout(relu: bool, dropout: Dropout | None, kernels: Kernels) -> Operation:
    def run(numbers: Tensor, _: Outputs | None) -> Tensor:
        drop = _drop(dropout, numbers)
        return operations.relu_dropout(numbers, relu, drop, kernels) if relu or drop else numbers

    return run


def _drop(dropout: Dropout | None, like: Tensor) -> Drop | None:
    """This step's dropout; without a counter the samples' hashes come from torch's generator."""
    if dropout is None or not dropout.training or dropout.rate == 0.0:
        return None
    if dropout.draw is None:
        return Drop(torch.randint(-(2**31), 2**31, (len(like),), dtype=torch.int32), dropout.rate)
    return Drop(dropout.draw.rows(dropout.key, like.device), dropout.rate)


def flattened(module: nn.Flatten, kernels: Kernels) -> Operation:
    return lambda maps, _: operations.flatten(maps, kernels) if maps.ndim == 4 else module(maps)


def taken(rest: deque[nn.Module], kind: type[Kind]) -> Kind | None:
    """The next module, taken away, if it is of this kind."""
    module = rest[0] if rest else None
    if not isinstance(module, kind):
        return None
    rest.popleft()
    return module
