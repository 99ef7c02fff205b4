"""The measured limit of a training step: what it costs at least on this machine, each part measured alone.

A step cannot be faster than its convolutions and matrix products, run one after the other with everything warm, plus
the bytes that all other layers and the optimizer have to move. So:

* every convolution and dense layer: forward, gradient of the weights, and gradient of the input where something before
  it learns; torch's own operations in the plan's precision, the best layout in memory, the best of several times;
* every other layer: the bytes it must read and write, as a copy of as many bytes takes, the best of several times.
  Layers that work number by number (relu, dropout, flatten …) are free: their neighbours do them in passing;
* the optimizer: every parameter, its gradient and its state read and written once.

That is generous to the chip: a real step has to allocate, wait between parts, and draw random numbers. It is no law of
nature either: an operation of our own may beat torch's. Source: ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.layers._base import Shape
from convscope.reference.modules import (
    Branches,
    Dropout,
    PaddedConv2d,
    Residual,
    ResponseNorm,
    Row,
    TableConv2d,
)
from convscope.training.optimizers import Adadelta, Adam, AdamW, Optimizer

if TYPE_CHECKING:
    from convscope.engine.plan import Plan
    from convscope.net import Net

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, MEMORY = (
    "forward",
    "gradient of the input",
    "gradient of the weights",
    "memory",
)

# Number by number: done by a neighbour in passing, without a byte of memory of its own.
IN_PASSING = (nn.ReLU, nn.ReLU6, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Softmax, nn.Identity, nn.Flatten, Dropout)
LEAST_TIMES = 3


@dataclass(frozen=True)
class Part:
    """One part of a step, measured alone.

    Args:
        name: the layer's name, or "optimizer" or "images".
        what: forward, gradient of the input, gradient of the weights, or memory.
        seconds: the best time.
        macs: multiply-adds, of a whole batch; 0 for memory.
        moved_bytes: bytes read and written; 0 for products.
    """

    name: str
    what: str
    seconds: float
    macs: int = 0
    moved_bytes: int = 0


@dataclass(frozen=True)
class Limit:
    """What a training step costs at least."""

    precision: str
    batch_size: int
    parts: tuple[Part, ...]

    @property
    def step_s(self) -> float:
        """Seconds of one step."""
        return sum(part.seconds for part in self.parts)

    @property
    def images_per_s(self) -> float:
        """Training images a second."""
        return self.batch_size / self.step_s

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "precision": self.precision,
            "batch_size": self.batch_size,
            "step_s": self.step_s,
            "images_per_s": self.images_per_s,
            "parts": [asdict(part) for part in self.parts],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Limit:
        """What `to_json` wrote."""
        parts = tuple(Part(**part) for part in values["parts"])
        return cls(values["precision"], values["batch_size"], parts)


def step_limit(
    net: Net,
    input_shape: Shape,
    batch_size: int,
    plan: Plan,
    optimizer: Optimizer | None = None,
    part_s: float = 0.05,
) -> Limit:
    """Measure the limit of one training step; the plan's threads must be set already (`plan.apply`).

    Args:
        net: what is trained; `classes` stands for 10.
        input_shape: (C, H, W) of one image.
        batch_size: images in a step.
        plan: gives precision and device.
        optimizer: whose state counts; None for the lecture's Adadelta.
        part_s: about how long each part is repeated; three times at least.
    """
    module = net.build(input_shape).train()
    found = layers_of(module, input_shape)
    clock = Clock(plan.device, dtype_of(plan.precision), part_s)
    parts = [
        part
        for layer in found
        if isinstance(layer, Product)
        for part in product_parts(layer, batch_size, clock)
    ]
    moved = [moved_bytes(layer, clock.dtype.itemsize) for layer in found if isinstance(layer, Mover)]
    moved = [(name, number * batch_size) for name, number in moved if number]
    moved.append(("images", batch_size * torch.Size(input_shape).numel() * (1 + clock.dtype.itemsize)))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    moved.append(("optimizer", optimizer_bytes(parameters, optimizer or Adadelta(), clock.dtype.itemsize)))
    parts += [Part(name, MEMORY, clock.copy_s(number), moved_bytes=number) for name, number in moved]
    return Limit(plan.precision, batch_size, tuple(parts))


def dtype_of(precision: str) -> torch.dtype:
    """torch's name for a plan's precision."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}[precision]


# Which layers there are ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """A convolution or dense layer. `weight` is (filters, C/groups, rows, columns) or (units, D); `input_shape` is of
    one image with its padding on, where the padding is not the same on both sides."""

    name: str
    input_shape: Shape
    weight: Shape
    has_bias: bool
    learns_before: bool
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Mover:
    """Any other layer: the module, and how many numbers of one image come and leave."""

    name: str
    module: nn.Module
    numbers_in: int
    numbers_out: int


def layers_of(module: Row, input_shape: Shape) -> list[Product | Mover]:
    """Every layer that a training step runs, in order, found by sending two images through."""
    found: list[Product | Mover] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: found.append(_layer(name, module, inputs[0], output))

    with ExitStack() as hooks:
        for name, each in module.named_modules():
            if isinstance(each, Residual | Branches) or not list(each.children()):
                hooks.callback(each.register_forward_hook(note(name)).remove)
        with torch.random.fork_rng(devices=[]):
            module.training_forward(torch.zeros(2, *input_shape))  # type: ignore[operator]
    return found


def _layer(name: str, module: nn.Module, images: Tensor, output: Tensor) -> Product | Mover:
    shape, learns = tuple(images.shape[1:]), images.requires_grad
    if isinstance(module, nn.Linear):
        return Product(name, shape, tuple(module.weight.shape), module.bias is not None, learns)
    if isinstance(module, nn.Conv2d | TableConv2d):
        return _convolution(name, module, shape, learns)
    return Mover(name, module, images[0].numel(), output[0].numel())


def _convolution(name: str, module: nn.Conv2d | TableConv2d, shape: Shape, learns: bool) -> Product:
    sides = module.sides if isinstance(module, TableConv2d | PaddedConv2d) else (0, 0, 0, 0)
    left, right, top, bottom = sides
    padded = (shape[0], shape[1] + top + bottom, shape[2] + left + right)
    has_bias, stride, dilation = module.bias is not None, tuple(module.stride), tuple(module.dilation)
    if isinstance(module, TableConv2d):
        return Product(name, padded, module.full_shape, has_bias, learns, stride, (0, 0), dilation)
    padding = tuple(int(side) for side in module.padding)
    weight = tuple(module.weight.shape)
    return Product(name, padded, weight, has_bias, learns, stride, padding, dilation, module.groups)


# The clock ----------------------------------------------------------------------------------------


class Clock:
    """Best times of operations on one device, in one precision."""

    def __init__(self, device: str, dtype: torch.dtype, part_s: float) -> None:
        self.device, self.dtype, self.part_s = device, dtype, part_s
        self._copies: dict[int, float] = {}

    def random(self, *shape: int) -> Tensor:
        """Normal numbers of this shape, device and precision."""
        return torch.randn(*shape, device=self.device).to(self.dtype)

    def best_s(self, *operations: Callable[[], object]) -> float:
        """The best time of any of these ways to do the same."""
        return min(map(self._best_s, operations))

    def copy_s(self, moved: int) -> float:
        """The best time of moving so many bytes: half of them read, half written."""
        if moved not in self._copies:
            source = torch.zeros(max(1, moved // 2), dtype=torch.uint8, device=self.device)
            target = torch.zeros_like(source)
            self._copies[moved] = self.best_s(partial(target.copy_, source))
        return self._copies[moved]

    def _best_s(self, operation: Callable[[], object]) -> float:
        self._time_s(operation)  # the first time chooses a way and fills the caches
        times = [self._time_s(operation) for _ in range(LEAST_TIMES)]
        spent = sum(times)
        while spent < self.part_s:
            times.append(self._time_s(operation))
            spent += times[-1]
        return min(times)

    def _time_s(self, operation: Callable[[], object]) -> float:
        self._wait()
        began_at = time.perf_counter()
        operation()
        self._wait()
        return time.perf_counter() - began_at

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()


# Products -----------------------------------------------------------------------------------------


@torch.no_grad()
def product_parts(product: Product, batch_size: int, clock: Clock) -> Iterator[Part]:
    """The two or three parts of a convolution or dense layer, each the best of all layouts in memory."""
    ways = _dense_ways if len(product.weight) == 2 else _convolution_ways
    macs, operations = ways(product, batch_size, clock)
    for what, alternatives in operations.items():
        if what != INPUT_GRADIENT or product.learns_before:
            yield Part(product.name, what, clock.best_s(*alternatives), macs=macs)


Ways = tuple[int, dict[str, list[Callable[[], object]]]]


def _dense_ways(product: Product, batch_size: int, clock: Clock) -> Ways:
    units, numbers = product.weight
    vectors, gradient = clock.random(batch_size, numbers), clock.random(batch_size, units)
    weight, turned = clock.random(units, numbers), clock.random(numbers, units)
    bias = clock.random(units) if product.has_bias else None
    return batch_size * units * numbers, {
        FORWARD: [partial(F.linear, vectors, weight, bias), partial(F.linear, vectors, turned.t(), bias)],
        INPUT_GRADIENT: [partial(torch.mm, gradient, weight), partial(torch.mm, gradient, turned.t())],
        WEIGHT_GRADIENT: [partial(torch.mm, gradient.t(), vectors), partial(torch.mm, vectors.t(), gradient)],
    }


def _convolution_ways(product: Product, batch_size: int, clock: Clock) -> Ways:
    ways: dict[str, list[Callable[[], object]]] = {FORWARD: [], INPUT_GRADIENT: [], WEIGHT_GRADIENT: []}
    bias = clock.random(product.weight[0]) if product.has_bias else None
    settings = (product.stride, product.padding, product.dilation, product.groups)
    macs = 0
    for layout in (torch.contiguous_format, torch.channels_last):
        images = clock.random(batch_size, *product.input_shape).contiguous(memory_format=layout)
        weight = clock.random(*product.weight).contiguous(memory_format=layout)
        output = F.conv2d(images, weight, bias, *settings)
        macs = output.numel() * weight[0].numel()
        backward = partial(_convolution_gradient, torch.randn_like(output), images, weight, product)
        ways[FORWARD].append(partial(F.conv2d, images, weight, bias, *settings))
        ways[INPUT_GRADIENT].append(partial(backward, [True, False, False]))
        ways[WEIGHT_GRADIENT].append(partial(backward, [False, True, product.has_bias]))
    return macs, ways


def _convolution_gradient(
    gradient: Tensor, images: Tensor, weight: Tensor, product: Product, wanted: list[bool]
) -> object:
    return torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        [product.weight[0]] if product.has_bias else None,
        product.stride,
        product.padding,
        product.dilation,
        False,
        [0, 0],
        product.groups,
        wanted,
    )


# Memory -------------------------------------------------------------------------------------------


def moved_bytes(layer: Mover, itemsize: int) -> tuple[str, int]:
    """The layer's name, and the bytes that forward and backward must move for one image.

    Pools and whatever is not named here: input and output once forward, their gradients once backward. Batch norm
    needs its input twice (statistics, then values) and writes once; backward twice the gradient and twice the input,
    and writes once. Response normalisation reads its input once more backward. A residual sum reads the shortcut
    forward and adds its gradient backward. Branches are written side by side where they belong.
    """
    module = layer.module
    if isinstance(module, (*IN_PASSING, Branches)):
        return layer.name, 0
    if isinstance(module, Residual):
        numbers = 2 * layer.numbers_out
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        numbers = 8 * layer.numbers_in
    elif isinstance(module, ResponseNorm):
        numbers = 5 * layer.numbers_in
    else:
        numbers = 2 * (layer.numbers_in + layer.numbers_out)
    return layer.name, numbers * itemsize


def optimizer_bytes(parameters: int, optimizer: Optimizer, itemsize: int) -> int:
    """What one step of the optimizer must move: parameter and states read and written in float32, the gradient read;
    and in a narrower precision a working copy of the parameter written.

    >>> optimizer_bytes(1000, Adadelta(), 4)
    28000
    """
    states = 2 if isinstance(optimizer, Adadelta | Adam | AdamW) else 1
    working_copy = itemsize if itemsize < 4 else 0
    return parameters * (2 * 4 * (1 + states) + itemsize + working_copy)
