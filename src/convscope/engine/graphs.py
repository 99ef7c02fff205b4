"""Forward and backward as one recorded CUDA graph each: a GPU at small batches waits for Python, not for arithmetic.

Recorded are the network's own operations; loss and optimizer stay outside, and gradients come through autograd as ever.
A graph replays the same addresses and constants, so what changes from step to step goes in as a tensor: the images, and
the hash of each sample in each dropout layer, from which its random numbers follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.engine.random import Draw
from convscope.reference.modules import Dropout, dropouts

Scores = tuple[Tensor, ...]
"""The network's scores (N, K), then those of its training-only outputs."""


@dataclass(frozen=True)
class _GivenRows(Draw):
    """A draw whose hashes of samples were made outside: layer name → (N,), int32."""

    given: Mapping[str, Tensor]

    def rows(self, layer_name: str, device: torch.device) -> Tensor:
        return self.given[layer_name]


class Recorded:
    """A training forward that is recorded at its first call and replayed for batches of that shape.

    Args:
        module: holds the parameters, the buffers and the dropout layers.
        forward: images (N, C, H, W) to scores; draws its random numbers through the dropout layers.
        record: what records; `torch.cuda.make_graphed_callables`, or something with its signature in a test.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[[Tensor], Scores],
        record: Callable[..., Any],
    ) -> None:
        self.module, self.forward, self.record = module, forward, record
        self.layers = [layer for layer in dropouts(module.modules()) if layer.rate > 0.0]
        self.replay: Callable[..., Scores] | None = None
        self.recorded: tuple[torch.Size, list[bool]] | None = None

    def __call__(self, images: Tensor) -> Scores:
        """Scores of a batch; one of another shape, with other weights learning, or without a counter for its dropout,
        runs unrecorded."""
        asked = (images.shape, [parameter.requires_grad for parameter in self.module.parameters()])
        if any(layer.draw is None for layer in self.layers) or self.recorded not in (None, asked):
            return self.forward(images)
        rows = _rows(self.layers, images)
        if self.replay is None:
            self.replay, self.recorded = self._recorded(images, rows), asked
        return self.replay(images, rows)

    def _recorded(self, images: Tensor, rows: Tensor) -> Callable[..., Scores]:
        """Recording runs the steps a few times: what they leave in running statistics is taken back."""
        before = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        replay: Callable[..., Scores] = self.record(_Stepped(self), (images, rows))
        with torch.no_grad():
            for name, buffer in self.module.named_buffers():
                buffer.copy_(before[name])
        return replay


class _Stepped(nn.Module):
    """The forward as a module of tensors only, as recording wants it."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.module = recorded.module
        self._run, self._layers = recorded.forward, recorded.layers

    def forward(self, images: Tensor, rows: Tensor) -> Scores:
        """Scores, with the dropout layers' hashes taken from `rows` (layers, N)."""
        draws = [layer.draw for layer in self._layers]
        given = {layer.key: row for layer, row in zip(self._layers, rows, strict=True)}
        for layer in self._layers:
            layer.draw = _GivenRows(0, 0, rows, given)
        scores = self._run(images)
        for layer, draw in zip(self._layers, draws, strict=True):
            layer.draw = draw
        return scores


def _rows(layers: list[Dropout], images: Tensor) -> Tensor:
    """Every dropout layer's hashes, (layers, N), int32; the network without dropout has none."""
    if not layers:
        return torch.zeros(0, len(images), dtype=torch.int32, device=images.device)
    rows = []
    for layer in layers:
        assert layer.draw is not None
        rows.append(layer.draw.rows(layer.key, images.device))
    return torch.stack(rows)
