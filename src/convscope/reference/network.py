"""`Network`: the reference form of a net, a plain torch module that other people's tools work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convscope.errors import ConvscopeError, ShapeError, did_you_mean
from convscope.layers._base import written_shape
from convscope.layers._composite import Composite
from convscope.reference.modules import Auxiliary, Dropout, Paths, Row, dropouts

if TYPE_CHECKING:
    from convscope.engine.random import Draw
    from convscope.inference import Inference, Node
    from convscope.net import Net


class Network(Row):
    """A net as torch sees it: one submodule a word under the word's own name, float32, sole owner of the weights.

    Called with images (N, C, H, W), float32, it returns scores (N, K), the larger the better, before any softmax.
    Made by `Net.build`. A softmax at the very end is a submodule, but only `probabilities` applies it.
    """

    def __init__(self, net: Net, inference: Inference) -> None:
        super().__init__((_modules(inference.nodes, inference),))
        self.net = net
        self.input_shape = inference.input_shape
        last = inference.nodes[-1]
        self._softmax = last.name if last.layer.word == "softmax" else None
        self.scored = [name for name in self.paths[0] if name != self._softmax]
        for name, module in self.named_modules():
            if isinstance(module, Dropout):
                module.key = name

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) of images (N, C, H, W)."""
        self._check(images)
        for name in self.scored:
            images = self.get_submodule(name)(images)
        return images

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (N, K), each row adding to 1: the softmax of the scores."""
        scores: Tensor = self(images)
        if self._softmax is not None:
            softmaxed: Tensor = self.get_submodule(self._softmax)(scores)
            return softmaxed
        return scores.softmax(1)

    def training_forward(self, images: Tensor) -> tuple[Tensor, list[tuple[float, Tensor]]]:
        """The scores, and for each training-only output its weight and its scores (N, K)."""
        outputs: list[tuple[float, Tensor]] = []

        def note(module: Auxiliary) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
            return lambda _, arguments, __: outputs.append((module.weight, module.scores(arguments[0])))

        with ExitStack() as hooks:
            for module in self.modules():
                if isinstance(module, Auxiliary):
                    hooks.callback(module.register_forward_hook(note(module)).remove)
            return self(images), outputs

    def activations(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """What the named layers put out for images (N, C, H, W), with gradients; names are those of the table.

        Raises ConvscopeError with a suggestion when a name does not exist.
        """
        known = dict(self.named_modules())
        for name in names:
            if name not in known or not name:
                raise ConvscopeError(
                    f"no layer is named {name!r}",
                    f"one of {', '.join(filter(None, known))}",
                    did_you_mean(name, known),
                )
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
            return lambda _, __, output: found.__setitem__(name, output)

        with ExitStack() as hooks:
            for name in names:
                hooks.callback(known[name].register_forward_hook(keep(name)).remove)
            self._run_everything(images)
        return {name: found[name] for name in names}

    def _run_everything(self, images: Tensor) -> None:
        """The softmax at the end and the training-only outputs too, so that any name can be tapped."""
        scores, _ = self.training_forward(images)
        if self._softmax is not None:
            self.get_submodule(self._softmax)(scores)

    def set_draw(self, draw: Draw | None) -> None:
        """Where dropout takes its random numbers from in training: a counter, or torch's generator with None."""
        for module in dropouts(self.modules()):
            module.draw = draw

    def _check(self, images: Tensor) -> None:
        if (
            images.ndim != 4
            or tuple(images.shape[1:]) != self.input_shape
            or not torch.is_floating_point(images)
        ):
            raise ShapeError(
                f"images of shape {tuple(images.shape)} and {images.dtype}",
                f"float images (N, {', '.join(map(str, self.input_shape))})",
                f"Build the net for {written_shape(tuple(images.shape[1:]))}, or resize the images"
                if images.ndim == 4
                else "Add the batch dimension: images[None]",
            )


def _modules(nodes: Sequence[Node], inference: Inference) -> tuple[tuple[str, nn.Module], ...]:
    return tuple((node.local_name, _module(node, inference)) for node in nodes)


def _module(node: Node, inference: Inference) -> nn.Module:
    input_shape, output_shape = inference.shapes[node.name]
    if not isinstance(node.layer, Composite):
        return node.layer.module(input_shape)
    paths: Paths = tuple(_modules(path, inference) for path in node.paths)
    return node.layer.joined_module(paths, input_shape, output_shape)
