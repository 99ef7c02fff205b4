"""`fast(module)`: the form that training and evaluation run. It shares the reference's Parameters; equal by test.

Every rewrite lives here and nowhere else. These change no result, forward or backward, beyond the order of additions:

* relu then max-pool → max-pool then relu: the larger of two numbers stays the larger, and relu touches less data;
* response normalisation: its sum over neighbouring maps as a 1×1 convolution, 3 to 5 times faster;
* maps lie in memory pixel by pixel ("channels last"), which convolutions on CPU and GPU read faster;
* neighbours joined into one pass over memory, where there are compiled kernels: pool, relu and dropout; norm, shortcut
  and relu; convolution and relu; a network's first two convolutions, whose maps in between are made again backward.

In bfloat16 maps and the copies of the weights that a step works with have 8 bits of mantissa; sums, norms, the scores,
the loss, the weights themselves and their gradients stay float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.engine.graphs import Recorded
from convscope.engine.kernels import library
from convscope.engine.settled import Settled
from convscope.reference.modules import (
    Auxiliary,
    Branches,
    Dropout,
    GlobalPool,
    LpPool,
    PaddedConv2d,
    PaddedMaxPool2d,
    Residual,
    ResponseNorm,
    Row,
)

if TYPE_CHECKING:
    from convscope.engine.kernels.method import DenseMethod, Method, PlainMethod
    from convscope.engine.kernels.operations import Convolving, Drop, Kernels
    from convscope.engine.plan import Plan
    from convscope.engine.random import Draw
    from convscope.layers import lrn
    from convscope.reference import Network

Outputs = list[tuple[float, Tensor]]  # weight and scores of each training-only output
Operation = Callable[[Tensor, Outputs | None], Tensor]
MaxPool = nn.MaxPool2d | PaddedMaxPool2d
Kind = TypeVar("Kind", bound=nn.Module)
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


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """How a fast form works.

    Args:
        dtype: in which numbers; None for those it is given.
        kernels: the compiled passes between convolutions, if there are some.
        method: for the convolutions that suit it, instead of torch's.
        patches: for those that suit only it.
        dense: for the dense layers that suit it.
        recorded: whether its training steps are recorded and replayed on a GPU.
    """

    dtype: torch.dtype | None = None
    kernels: Kernels | None = None
    method: Method | None = None
    patches: PlainMethod | None = None
    dense: DenseMethod | None = None
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
    on_cpu = plan.compiled and plan.device == "cpu"
    method, patches, dense = _methods(plan.convolution) if on_cpu else (None, None, None)
    return Arithmetic(
        torch.bfloat16 if plan.precision == "bfloat16" else None,
        _kernels("kernels") if on_cpu else None,
        method,
        patches,
        dense,
        recorded=plan.compiled and plan.device == "cuda",
    )


def _methods(convolution: str) -> tuple[Method | None, PlainMethod | None, DenseMethod | None]:
    """Of a plan; None for torch's own, also where the kernels of another cannot be had."""
    from convscope.engine.kernels.amx_operations import AmxMethod
    from convscope.engine.kernels.amx_products_operations import AmxDense
    from convscope.engine.kernels.products_operations import OwnProducts
    from convscope.engine.kernels.winograd_operations import WinogradMethod

    if convolution == "amx":
        tiles, products = _kernels("amx"), _kernels("amx_products")
        return AmxMethod(tiles) if tiles else None, None, AmxDense(products) if products else None
    if convolution == "winograd":
        winograd, products = _kernels("winograd"), _kernels("products")
        own = OwnProducts(products) if products else None
        return WinogradMethod(winograd) if winograd else None, own, own
    return None, None, None


def _kernels(name: str) -> Kernels | None:
    built = library.load(name)
    if built.library is None:
        return None
    from convscope.engine.kernels.operations import Kernels

    return Kernels(built.library)


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
            self._operation = _chained((_entering(arithmetic), Settled(reference, settled), rest))
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
            return _chained((*before, *self.operations(modules)))
        if isinstance(modules[0], nn.Conv2d) and not modules[0].weight.requires_grad:
            before.insert(0, _alone(modules.pop(0)))
        last = modules[-1] if modules else None
        if isinstance(last, nn.Linear):
            modules.pop()
            after.append(_scores(last))
        return _chained((*before, *self.operations(modules), *after))

    def in_a_row(self, row: Row, names: Sequence[str]) -> Operation:
        """One operation for the named modules of a row."""
        return _chained(self.operations([row.get_submodule(name) for name in names]))

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
            return self._residual(module, _taken(rest, nn.ReLU) is not None)
        if isinstance(module, Row):
            return self._composite(module)
        if self.kernels is None:
            return _alone(module)
        return self._joined(module, rest, self.kernels)

    def _joined(self, module: nn.Module, rest: deque[nn.Module], kernels: Kernels) -> Operation:
        """With kernels: one operation for a module and its followers."""
        if isinstance(module, nn.Conv2d):
            return self._convolution(module, rest)
        if isinstance(module, nn.Linear) and self.arithmetic.dense is not None:
            return _dense(module, self.arithmetic.dense)
        if isinstance(module, nn.BatchNorm2d):
            run = _norm(module, _taken(rest, nn.ReLU) is not None, kernels)
            return lambda maps, _: run(maps, None)
        if isinstance(module, MaxPool) and _places(module) <= MOST_PLACES:
            return _pool(module, _taken(rest, nn.ReLU) is not None, _taken(rest, Dropout), kernels)
        if isinstance(module, nn.ReLU):
            return _relu_dropout(True, _taken(rest, Dropout), kernels)
        if isinstance(module, Dropout):
            return _relu_dropout(False, module, kernels)
        if isinstance(module, nn.Flatten):
            return _flatten(module, kernels)
        return _alone(module)

    def _convolution(self, module: nn.Conv2d, rest: deque[nn.Module]) -> Operation:
        """With its relu; with the 2×2 pool, relu and dropout behind it, where a method takes them along; and a
        network's first with the second behind it."""
        if self.arithmetic.method is None:
            return _convolution(module, _taken(rest, nn.ReLU) is not None, self.arithmetic)
        if len(rest) > 1 and isinstance(rest[0], nn.ReLU) and type(rest[1]) is nn.Conv2d:
            rest.popleft()
            second = _taken(rest, nn.Conv2d)
            assert second is not None
            return _two_convolutions(module, second, _behind(rest), self.arithmetic)
        return _convolution_and_more(module, _behind(rest), self.arithmetic)

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
            path = _chained(self.operations(modules))
            return lambda maps, outputs: _rectified(path(maps, outputs) + shortcut(maps, None), relu)
        before, last = _chained(self.operations(modules[:-1])), _norm(modules[-1], relu, self.kernels)
        return lambda maps, outputs: last(before(maps, outputs), shortcut(maps, None))

    def _shortcut(self, module: Residual) -> Operation:
        if module.kind == "projection":
            return _chained(self.operations([module.projection, module.projection_norm]))
        return lambda maps, _: module.shortcut(maps)


# ---- the order of modules ---------------------------------------------------------------------------------


def _pool_first(modules: list[nn.Module]) -> list[nn.Module]:
    """Every relu that stands right before a max-pool moved behind it."""
    ordered = list(modules)
    for i in range(len(ordered) - 1):
        if isinstance(ordered[i], nn.ReLU) and isinstance(ordered[i + 1], MaxPool):
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return ordered


def _taken(rest: deque[nn.Module], kind: type[Kind]) -> Kind | None:
    """The next module, taken away, if it is of this kind."""
    module = rest[0] if rest else None
    if not isinstance(module, kind):
        return None
    rest.popleft()
    return module


def _chained(operations: Iterable[Operation]) -> Operation:
    steps = tuple(operations)

    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        for step in steps:
            images = step(images, outputs)
        return images

    return run


def _entering(arithmetic: Arithmetic) -> Operation:
    return lambda images, _: arithmetic.entering(images)


def _auxiliary(module: Auxiliary, path: Operation) -> Operation:
    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        if outputs is not None:
            outputs.append((module.weight, path(images, outputs)))
        return images

    return run


def _rectified(maps: Tensor, relu: bool) -> Tensor:
    return maps.relu_() if relu else maps


# ---- one module with torch's operations -------------------------------------------------------------------


def _alone(module: nn.Module) -> Operation:
    """A module in the numbers it is given; its own numbers are cast, or where it would lose too much, the images."""
    if isinstance(module, ResponseNorm):
        return lambda images, _: _in_float32(images, lambda wide: _response_norm(wide, module.layer))
    if isinstance(module, nn.Conv2d):
        return lambda images, _: _convolved(images, module)
    if isinstance(module, nn.Linear):
        return lambda images, _: functional.linear(images, *_cast(module, images.dtype))
    if isinstance(module, LpPool | GlobalPool) or _has_other_numbers(module):
        return lambda images, _: _in_float32(images, module)
    return lambda images, _: module(images)


def _scores(module: nn.Linear) -> Operation:
    """In the weights' own numbers."""
    return lambda vectors, _: functional.linear(vectors.to(module.weight.dtype), module.weight, module.bias)


def _has_other_numbers(module: nn.Module) -> bool:
    """Whether it has parameters or buffers; torch's batch norms take maps of another precision than their own."""
    has_some = any(True for _ in (*module.parameters(), *module.buffers()))
    return has_some and not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)


def _in_float32(images: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    return work(images.float()).to(images.dtype) if images.dtype == torch.bfloat16 else work(images)


def _convolved(images: Tensor, module: nn.Conv2d) -> Tensor:
    weight, bias = _cast(module, images.dtype)
    return functional.conv2d(
        _bordered(images, module), weight, bias, module.stride, module.padding, module.dilation, module.groups
    )


def _bordered(images: Tensor, module: nn.Conv2d) -> Tensor:
    return functional.pad(images, module.sides) if isinstance(module, PaddedConv2d) else images


def _cast(module: nn.Conv2d | nn.Linear, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    return module.weight.to(dtype), None if module.bias is None else module.bias.to(dtype)


def _response_norm(images: Tensor, layer: lrn) -> Tensor:
    """a / (k + alpha·Σ a²)^beta of images (N, C, H, W), with the sum as one convolution."""
    maps = images.shape[1]
    place = torch.arange(maps, device=images.device)
    distance = place[None, :] - place[:, None]  # (C, C), from each map to each other
    near = (distance >= -(layer.size // 2)) & (distance <= (layer.size - 1) // 2)
    group = place // (maps // layer.groups)
    band = (near & (group[None, :] == group[:, None])).to(images.dtype) * layer.alpha
    sums = functional.conv2d(images * images, band[:, :, None, None], images.new_full((maps,), layer.k))
    return images * sums.pow(-layer.beta)


# ---- several modules in one pass, with kernels ------------------------------------------------------------


def _convolution(module: nn.Conv2d, relu: bool, arithmetic: Arithmetic) -> Operation:
    """By the first of the plan's methods that it suits, else by torch's."""
    from convscope.engine.kernels import operations
    from convscope.engine.kernels.method import Then

    by, kernels, then = _convolving(module), arithmetic.kernels, Then(relu)
    methods = [method for method in (arithmetic.method, arithmetic.patches) if method is not None]
    assert kernels is not None

    def run(maps: Tensor, _: Outputs | None) -> Tensor:
        maps, weight, bias = _bordered(maps, module), module.weight, module.bias
        for method in methods:
            if method.suits(maps, weight, by):
                return method.convolve(maps, weight, bias, by, then)
        return operations.convolve(maps, weight, bias, by, relu, kernels)

    return run


@dataclass(frozen=True, eq=False)
class _Behind:
    """What may run in the pass of a convolution: a 2×2 pool, relu; and behind the pool dropout and flatten."""

    pool: MaxPool | None
    relu: bool
    dropout: Dropout | None
    flatten: nn.Flatten | None


def _behind(rest: deque[nn.Module]) -> _Behind:
    """The next modules, taken away, as far as they can."""
    pool = rest[0] if rest else None
    if not isinstance(pool, MaxPool) or not _is_two_by_two(pool):
        return _Behind(None, _taken(rest, nn.ReLU) is not None, None, None)
    rest.popleft()
    relu, dropout = _taken(rest, nn.ReLU) is not None, _taken(rest, Dropout)
    return _Behind(pool, relu, dropout, _taken(rest, nn.Flatten))


def _convolution_and_more(module: nn.Conv2d, behind: _Behind, arithmetic: Arithmetic) -> Operation:
    """In one pass where the method suits, else one after the other; flatten always after it."""
    from convscope.engine.kernels.method import Then

    pool, relu, dropout = behind.pool, behind.relu, behind.dropout
    if pool is None:
        return _convolution(module, relu, arithmetic)
    kernels, method = arithmetic.kernels, arithmetic.method
    assert kernels is not None
    assert method is not None
    by = _convolving(module)
    apart = _chained([_convolution(module, False, arithmetic), _pool(pool, relu, dropout, kernels)])

    def run(maps: Tensor, outputs: Outputs | None) -> Tensor:
        bordered, weight = _bordered(maps, module), module.weight
        if not method.suits(bordered, weight, by):
            return apart(maps, outputs)
        return method.convolve(bordered, weight, module.bias, by, Then(relu, True, _drop(dropout, maps)))

    return run if behind.flatten is None else _chained([run, _flatten(behind.flatten, kernels)])


def _two_convolutions(
    module: nn.Conv2d, second: nn.Conv2d, behind: _Behind, arithmetic: Arithmetic
) -> Operation:
    """A network's first convolution, relu, and the second with what is behind it in one pass, where they suit."""
    from convscope.engine.kernels.method import First, Then

    method = arithmetic.method
    assert method is not None
    first_by, by = _convolving(module), _convolving(second)
    apart = _chained(
        [_convolution(module, True, arithmetic), _convolution_and_more(second, behind, arithmetic)]
    )

    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        bordered = _bordered(images, module)
        first = First(module.weight, module.bias, first_by)
        if not method.suits_two(bordered, first, second.weight, by):
            return apart(images, outputs)
        drop, flat = _drop(behind.dropout, images), behind.flatten is not None
        then = Then(behind.relu, behind.pool is not None, drop, flat)
        return method.convolve_two(bordered, first, second.weight, second.bias, by, then)

    return run


def _convolving(module: nn.Conv2d) -> Convolving:
    from convscope.engine.kernels.operations import Convolving

    return Convolving(_pair(module.stride), _pair(module.padding), _pair(module.dilation), module.groups)


def _is_two_by_two(pool: MaxPool) -> bool:
    """Whether windows of 2×2 stand side by side, with no border and none that sticks out."""
    sides = pool.sides if isinstance(pool, PaddedMaxPool2d) else _pair(pool.padding)
    return (
        _window(pool)[:2] == ((2, 2), (2, 2))
        and not any(sides)
        and getattr(pool, "dilation", 1) in (1, (1, 1))
        and not getattr(pool, "ceil_mode", False)
    )


def _dense(module: nn.Linear, method: DenseMethod) -> Operation:
    alone = _alone(module)

    def run(vectors: Tensor, outputs: Outputs | None) -> Tensor:
        if not method.suits_dense(vectors, module.weight):
            return alone(vectors, outputs)
        return method.dense(vectors, module.weight, module.bias)

    return run


def _norm(module: nn.BatchNorm2d, relu: bool, kernels: Kernels) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Norm, shortcut and relu in one pass; a norm that does not learn from this batch is left to torch."""
    from convscope.engine.kernels import operations

    def run(maps: Tensor, shortcut: Tensor | None) -> Tensor:
        momentum = module.momentum
        if not module.training or momentum is None or module.running_mean is None:
            normed = module(maps)
            return _rectified(normed if shortcut is None else normed + shortcut, relu)
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


def _pool(module: MaxPool, relu: bool, dropout: Dropout | None, kernels: Kernels) -> Operation:
    from convscope.engine.kernels import operations

    def run(maps: Tensor, _: Outputs | None) -> Tensor:
        pooling = operations.Pooling(*_window(module), _pooled_size(module, maps))
        return operations.pool(maps, pooling, relu, _drop(dropout, maps), kernels)

    return run


def _window(module: MaxPool) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Size, step and border before the map, each (rows, columns)."""
    if isinstance(module, PaddedMaxPool2d):
        return module.extent, module.step, (module.sides[2], module.sides[0])
    return _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)


def _pooled_size(module: MaxPool, maps: Tensor) -> tuple[int, int]:
    """(rows, columns) of the output, by torch's shape rule."""
    window, stride, border = _window(module)
    ceil = bool(getattr(module, "ceil_mode", False))
    sides = 2 * border[0], 2 * border[1]
    if isinstance(module, PaddedMaxPool2d):
        sides = module.sides[2] + module.sides[3], module.sides[0] + module.sides[1]
    rows, columns = (
        _windows(maps.shape[2 + i], sides[i], border[i], window[i], stride[i], ceil) for i in (0, 1)
    )
    return rows, columns


def _windows(size: int, sides: int, before: int, window: int, stride: int, ceil: bool) -> int:
    """How many windows lie along one side; with `ceil` a last one may stick out if it starts inside the map."""
    count = (size + sides - window + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + before else count


def _places(module: MaxPool) -> int:
    rows, columns = _window(module)[0]
    return rows * columns


def _relu_dropout(relu: bool, dropout: Dropout | None, kernels: Kernels) -> Operation:
    from convscope.engine.kernels import operations

    def run(numbers: Tensor, _: Outputs | None) -> Tensor:
        drop = _drop(dropout, numbers)
        return operations.relu_dropout(numbers, relu, drop, kernels) if relu or drop else numbers

    return run


def _drop(dropout: Dropout | None, like: Tensor) -> Drop | None:
    """This step's dropout; without a counter the samples' hashes come from torch's generator."""
    from convscope.engine.kernels.operations import Drop

    if dropout is None or not dropout.training or dropout.rate == 0.0:
        return None
    if dropout.draw is None:
        return Drop(torch.randint(-(2**31), 2**31, (len(like),), dtype=torch.int32), dropout.rate)
    return Drop(dropout.draw.rows(dropout.key, like.device), dropout.rate)


def _flatten(module: nn.Flatten, kernels: Kernels) -> Operation:
    from convscope.engine.kernels import operations

    return lambda maps, _: operations.flatten(maps, kernels) if maps.ndim == 4 else module(maps)


def _pair(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    assert not isinstance(value, str), "the reference says its borders in numbers"
    return (value, value) if isinstance(value, int) else (value[0], value[1])
