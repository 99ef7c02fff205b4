"""`fast(module)`: the form that training and evaluation run. It shares the reference's Parameters; equal by test.

Every rewrite lives here and nowhere else. These change no result, forward or backward, beyond the order of additions:

* relu then max-pool → max-pool then relu: the larger of two numbers stays the larger, and relu touches less data;
* response normalisation: its sum over neighbouring maps as a 1×1 convolution, 3 to 5 times faster;
* maps lie in memory pixel by pixel ("channels last"), which convolutions on CPU and GPU read faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.reference.modules import Auxiliary, Branches, PaddedMaxPool2d, Residual, ResponseNorm, Row

if TYPE_CHECKING:
    from convscope.engine.random import Draw
    from convscope.layers import lrn
    from convscope.reference import Network

Outputs = list[tuple[float, Tensor]]  # weight and scores of each training-only output
Operation = Callable[[Tensor, Outputs | None], Tensor]


def fast(module: Network) -> Fast:
    """The fast form of a reference network: same scores, same gradients, the very same Parameter objects.

    The reference's convolution weights are laid out pixel by pixel in memory; their values and shapes stay.

    >>> from convscope.net import Net
    >>> reference = Net.parse("flatten, dense(classes)").build((1, 4, 4))
    >>> next(fast(reference).parameters()) is next(reference.parameters())
    True
    """
    return Fast(module)


class Fast(nn.Module):
    """What `fast` returns: called like the reference, with images (N, C, H, W) for scores (N, K)."""

    def __init__(self, reference: Network) -> None:
        super().__init__()
        self.reference = reference.to(memory_format=torch.channels_last)
        self._operation = _in_a_row(reference, reference.scored)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) of float images (N, C, H, W)."""
        return self._operation(images.contiguous(memory_format=torch.channels_last), None)

    def training_forward(self, images: Tensor) -> tuple[Tensor, Outputs]:
        """The scores, and for each training-only output its weight and its scores (N, K)."""
        outputs: Outputs = []
        return self._operation(images.contiguous(memory_format=torch.channels_last), outputs), outputs

    def set_draw(self, draw: Draw | None) -> None:
        """Where dropout takes its random numbers from, as `Network.set_draw`."""
        self.reference.set_draw(draw)


def _in_a_row(row: Row, names: Sequence[str]) -> Operation:
    """One operation for the named modules of a row, in the order that is fast."""
    operations = [_operation(module) for module in _pool_first([row.get_submodule(name) for name in names])]

    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        for operation in operations:
            images = operation(images, outputs)
        return images

    return run


def _pool_first(modules: list[nn.Module]) -> list[nn.Module]:
    """Every relu that stands right before a max-pool moved behind it."""
    ordered = list(modules)
    for i in range(len(ordered) - 1):
        if isinstance(ordered[i], nn.ReLU) and isinstance(ordered[i + 1], nn.MaxPool2d | PaddedMaxPool2d):
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return ordered


def _operation(module: nn.Module) -> Operation:
    if isinstance(module, ResponseNorm):
        return lambda images, _: _response_norm(images, module.layer)
    if not isinstance(module, Row):
        return lambda images, _: module(images)
    paths = [_in_a_row(module, names) for names in module.paths]
    if isinstance(module, Residual):
        return lambda images, outputs: paths[0](images, outputs) + module.shortcut(images)
    if isinstance(module, Branches):
        return lambda images, outputs: torch.cat([path(images, outputs) for path in paths], dim=1)
    if isinstance(module, Auxiliary):
        return _auxiliary(module, paths[0])
    return paths[0]


def _auxiliary(module: Auxiliary, path: Operation) -> Operation:
    def run(images: Tensor, outputs: Outputs | None) -> Tensor:
        if outputs is not None:
            outputs.append((module.weight, path(images, outputs)))
        return images

    return run


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
