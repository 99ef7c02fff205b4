"""`fast(module)`: the form that training and evaluation run. It shares the reference's Parameters; equal by test.

Every rewrite is chosen here, and carried out in `alone` and `joined`. These change no result, forward or backward,
beyond the order of additions:

* relu then max-pool → max-pool then relu: the larger of two numbers stays the larger, and relu touches less data;
* response normalisation: its sum over neighbouring maps as a 1×1 convolution, 3 to 5 times faster;
* maps lie in memory pixel by pixel ("channels last"), which convolutions on CPU and GPU read faster;
* neighbours joined into one pass over memory, where there are compiled kernels: pool, relu and dropout; norm, shortcut
  and relu; convolution and relu; a network's first two convolutions, whose maps in between are made again backward.

In bfloat16 maps and the copies of the weights that a step works with have 8 bits of mantissa, on some processors also
what Winograd's method makes of them; sums, norms, the scores, the loss, the weights themselves and their gradients stay
float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope.engine import joined
from convscope.engine.alone import (
    Operation,
    Outputs,
    chained,
    operation_of,
    rectified,
    scores_of,
    zero_padded,
)
from convscope.engine.arithmetic import Arithmetic, arithmetic_of
from convscope.engine.graphs import Recorded
from convscope.engine.joined import taken
from convscope.engine.kernels.operations import Kernels
from convscope.engine.settled import Settled
from convscope.engine.windows import MaxPool, places
from convscope.reference.modules import Auxiliary, Branches, Dropout, Residual, Row

if TYPE_CHECKING:
    from convscope.engine.plan import Plan
    from convscope.engine.random import Draw
    from convscope.reference import Network

MOST_PLACES = 254
"""A winner's place in its window is a byte, and 255 says that there is none."""


def fast(module: Network, plan: Plan | None = None, settled: Sequence[str] = ()) -> Fast:
    """The fast form of a reference network: same scores, same gradients, the very same Parameter objects.

    The reference's convolution weights are laid out pixel by pixel in memory; their values and shapes stay.

    Args:
        module: the reference.
        plan: precision, and whether the compiled kernels run, or on a GPU recorded steps; None is float32 (or what
            the images are) without either.
        settled: the names of the first layers whose weights and statistics no longer change; they are read at the
            first batch.

    >>> from convscope.net import Net
    >>> reference = Net.parse("flatten, dense(classes)").build((1, 4, 4))
    >>> next(fast(reference).parameters()) is next(reference.parameters())
    True
    """
    return Fast(module, arithmetic_of(plan), settled)


class Fast(nn.Module):
    """What `fast` returns: called like the reference, with images (N, C, H, W) for scores (N, K)."""

    def __init__(self, reference: Network, arithmetic: Arithmetic, settled: Sequence[str] = ()) -> None:
        super().__init__()
        self.reference = reference.to(memory_format=torch.channels_last)
        self.arithmetic = arithmetic
        self._operation = _Assembly(arithmetic).of_images(reference, reference.scored)
        if settled and arithmetic.folds:
            moving = [name for name in reference.scored if name not in settled]
            rest = _Assembly(arithmetic).in_a_row(reference, moving)
            self._operation = chained((_entering(arithmetic), Settled(reference, settled), rest))
        self._weights = [module.weight for module in reference.modules() if isinstance(module, Auxiliary)]
        self._train: Callable[[Tensor], tuple[Tensor, ...]] = self._every_output
        if arithmetic.recorded:
            self._train = Recorded(reference, self._every_output, torch.cuda.make_graphed_callables)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) of float images (N, C, H, W)."""
        return self.arithmetic.leaving(self._operation(images, None))

    def training_forward(self, images: Tensor) -> tuple[Tensor, Outputs]:
        """The scores, and for each training-only output its weight and its scores (N, K)."""
        scores, *more = self._train(images)
        return scores, list(zip(self._weights, more, strict=True))

    def _every_output(self, images: Tensor) -> tuple[Tensor, ...]:
        """The scores and those of each training-only output."""
        outputs: Outputs = []
        scores = self._operation(images, outputs)
        return tuple(self.arithmetic.leaving(each) for each in (scores, *(more for _, more in outputs)))

    def set_draw(self, draw: Draw | None) -> None:
        """Where dropout takes its random numbers from, as `Network.set_draw`."""
        self.reference.set_draw(draw)


@dataclass(frozen=True)
class _Assembly:
    """Puts operations together from modules."""

    arithmetic: Arithmetic

    @property
    def kernels(self) -> Kernels | None:
        return self.arithmetic.kernels

    def of_images(self, network: Network, names: Sequence[str]) -> Operation:
        """One operation for the named modules of a network.

        In bfloat16 a first convolution that is frozen takes the images as they are: if it whitens them, it makes small
        differences of neighbouring pixels large, and with them what is rounded. A last dense layer works in float32: of
        rounded scores the loss makes worse gradients.
        """
        modules = [network.get_submodule(name) for name in names]
        before, after = [_entering(self.arithmetic)], []
        if self.arithmetic.dtype is None:
            return chained((*before, *self.operations(modules)))
        if isinstance(modules[0], nn.Conv2d) and not modules[0].weight.requires_grad:
            before.insert(0, operation_of(modules.pop(0)))
        last = modules[-1] if modules else None
        if isinstance(last, nn.Linear):
            modules.pop()
            after.append(scores_of(last))
        return chained((*before, *self.operations(modules), *after))

    def in_a_row(self, row: Row, names: Sequence[str]) -> Operation:
        """One operation for the named modules of a row."""
        return chained(self.operations([row.get_submodule(name) for name in names]))

    def operations(self, modules: list[nn.Module]) -> list[Operation]:
        """The operations of modules in a row, in the order that is fast, neighbours joined where they can be."""
        rest = deque(_pool_first(modules))
        found = []
        while rest:
            found.append(self._next(rest))
        return found

    def _next(self, rest: deque[nn.Module]) -> Operation:
        """Take the next module, and those behind it that run in the same pass."""
        module = rest.popleft()
        if isinstance(module, Residual):
            return self._residual(module, taken(rest, nn.ReLU) is not None)
        if isinstance(module, Row):
            return self._composite(module)
        if self.kernels is None:
            return operation_of(module)
        return self._joined(module, rest, self.kernels)

    def _joined(self, module: nn.Module, rest: deque[nn.Module], kernels: Kernels) -> Operation:
        """With kernels: one operation for a module and its followers."""
        if isinstance(module, nn.Conv2d):
            return self._convolution(module, rest)
        if isinstance(module, nn.Linear):
            return joined.dense_layer(module, self.arithmetic.methods)
        if isinstance(module, nn.BatchNorm2d):
            run = joined.batch_norm(module, taken(rest, nn.ReLU) is not None, kernels)
            return lambda maps, _: run(maps, None)
        if isinstance(module, MaxPool) and places(module) <= MOST_PLACES:
            return joined.max_pool(module, taken(rest, nn.ReLU) is not None, taken(rest, Dropout), kernels)
        if isinstance(module, nn.ReLU):
            return joined.relu_dropout(True, taken(rest, Dropout), kernels)
        if isinstance(module, Dropout):
            return joined.relu_dropout(False, module, kernels)
        if isinstance(module, nn.Flatten):
            return joined.flattened(module, kernels)
        return operation_of(module)

    def _convolution(self, module: nn.Conv2d, rest: deque[nn.Module]) -> Operation:
        """With its relu; with the 2×2 pool, relu and dropout behind it, where a method takes them along; and a
        network's first with the second behind it."""
        if self.arithmetic.methods.main is None:
            return joined.convolution(module, taken(rest, nn.ReLU) is not None, self.arithmetic)
        if len(rest) > 1 and isinstance(rest[0], nn.ReLU) and type(rest[1]) is nn.Conv2d:
            rest.popleft()
            second = taken(rest, nn.Conv2d)
            assert second is not None
            return joined.two_convolutions(module, second, joined.taken_behind(rest), self.arithmetic)
        return joined.convolution_and_more(module, joined.taken_behind(rest), self.arithmetic)

    def _composite(self, module: Row) -> Operation:
        paths = [self.in_a_row(module, names) for names in module.paths]
        if isinstance(module, Branches):
            return lambda images, outputs: torch.cat([path(images, outputs) for path in paths], dim=1)
        if isinstance(module, Auxiliary):
            return _auxiliary(module, paths[0])
        return paths[0]

    def _residual(self, module: Residual, relu: bool) -> Operation:
        """F(x) + shortcut(x), then relu; with kernels in the pass of the norm that F ends in."""
        modules = [module.get_submodule(name) for name in module.paths[0]]
        shortcut = self._shortcut(module)
        if self.kernels is None or not modules or not isinstance(modules[-1], nn.BatchNorm2d):
            path = chained(self.operations(modules))
            return lambda maps, outputs: rectified(path(maps, outputs) + shortcut(maps, None), relu)
        before = chained(self.operations(modules[:-1]))
        last = joined.batch_norm(modules[-1], relu, self.kernels)
        return lambda maps, outputs: last(before(maps, outputs), shortcut(maps, None))

    def _shortcut(self, module: Residual) -> Operation:
        if module.kind == "projection":
            return chained(self.operations([module.projection, module.projection_norm]))
        if module.kind == "zeropad" and self.kernels is not None:
            return zero_padded(module)
        return lambda maps, _: module.shortcut(maps)


# ---- the order of modules ---------------------------------------------------------------------------------


def _pool_first(modules: list[nn.Module]) -> list[nn.Module]:
    """Every relu that stands right before a max-pool moved behind it."""
    ordered = list(modules)
    for i in range(len(ordered) - 1):
        if isinstance(ordered[i], nn.ReLU) and isinstance(ordered[i + 1], MaxPool):
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return ordered


def _entering(arithmetic: Arithmetic) -> Operation:
    return lambda images, _: arithmetic.entering(images)


def _auxiliary(module: Auxiliary, path: Operation) -> Operation:
    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        if outputs is not None:
            outputs.append((module.weight, path(images, outputs)))
        return images

    return run
