"""One picture carried through a network, and what went into and came out of the layers asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convscope.errors import ConvscopeError, did_you_mean
from convscope.inference import Inference, Node
from convscope.layers._base import Shape
from convscope.model_file import Model

if TYPE_CHECKING:
    from convscope.data.array_types import Bytes

Numbers = npt.NDArray[np.float32]
MOST_NAMES_LISTED = 80


@dataclass(frozen=True)
class Passage:
    """What one layer got and made for one picture, without the batch: (C, H, W) or (D,)."""

    before: Numbers
    after: Numbers


class Tracer:
    """A model, one picture and the names of the layers; runs the network when asked for numbers.

    Args:
        model: the model; its module is brought to the CPU and into evaluation mode.
        pixels: uint8 (C, H, W), as the model's preprocessing makes them.
    """

    def __init__(self, model: Model, pixels: Bytes) -> None:
        self.model, self.pixels = model, pixels
        self.module = model.module.to("cpu").eval()
        self.images: Tensor = model.preprocessing.scale(torch.from_numpy(pixels[None].copy()))  # (1, C, H, W)
        self.inference: Inference = model.net.infer(model.input_shape, len(model.class_names))
        self.nodes: dict[str, Node] = {node.name: node for node in _every(self.inference.nodes)}
        self.rows: dict[str, tuple[tuple[Node, ...], int]] = dict(_places(self.inference.nodes))

    def shapes(self, name: str) -> tuple[Shape, Shape]:
        """What a layer gets and what it makes."""
        return self.inference.shapes[name]

    def node(self, name: str) -> Node:
        """The layer of this name. Raises ConvscopeError with a suggestion and the list when there is none."""
        if name not in self.nodes:
            names = list(self.nodes)
            more = len(names) - MOST_NAMES_LISTED
            listed = ", ".join(names[:MOST_NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
            fix = did_you_mean(name, names) or "convscope inspect MODEL shows them with their shapes"
            raise ConvscopeError(f"no layer is named {name[:80]!r}", f"one of {listed}", fix)
        return self.nodes[name]

    def submodule(self, name: str) -> nn.Module:
        """The torch module of a layer."""
        return self.module.get_submodule(name)

    @torch.inference_mode()
    def passages(self, names: Iterable[str]) -> dict[str, Passage]:
        """Input and output of each named layer, from one run of the network."""
        wanted = list(dict.fromkeys(names))
        befores: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            return lambda _, arguments: befores.__setitem__(name, arguments[0])

        with ExitStack() as hooks:
            for name in wanted:
                hooks.callback(self.submodule(name).register_forward_pre_hook(keep(name)).remove)
            afters = self.module.activations(self.images, wanted)
        return {name: Passage(_plain(befores[name]), _plain(afters[name])) for name in wanted}

    @torch.inference_mode()
    def first_maps(self, names: Iterable[str], count: int) -> dict[str, Numbers]:
        """The first maps of each named layer, from one run that keeps no more than these."""
        found: dict[str, Numbers] = {}

        def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
            return lambda _, __, output: found.__setitem__(name, _plain(output[:, :count]))

        with ExitStack() as hooks:
            for name in names:
                hooks.callback(self.submodule(name).register_forward_hook(keep(name)).remove)
            self.module.training_forward(self.images)  # what only training uses too
        return found

    @torch.inference_mode()
    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities."""
        probabilities = self.module.probabilities(self.images)[0].double()
        best = probabilities.topk(min(count, len(self.model.class_names)))
        names = self.model.class_names
        return [(names[k], p) for k, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def after(self, name: str) -> Iterator[Node]:
        """The layers that follow a layer in its own row."""
        row, at = self.rows[name]
        yield from row[at + 1 :]

    def before(self, name: str) -> Node | None:
        """The layer right before a layer in its own row."""
        row, at = self.rows[name]
        return row[at - 1] if at else None


def _plain(numbers: Tensor) -> Numbers:
    return numbers[0].numpy().copy()


def _every(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        for path in node.paths:
            yield from _every(path)


def _places(nodes: tuple[Node, ...]) -> Iterator[tuple[str, tuple[tuple[Node, ...], int]]]:
    for at, node in enumerate(nodes):
        yield node.name, (nodes, at)
        for path in node.paths:
            yield from _places(path)
