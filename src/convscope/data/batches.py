"""From uint8 images to what a network takes, without fresh memory for every batch.

    take = Batches(as_tensor(split.images), preprocessing)
    images = take(index)                                     # float32 (B, C, H, W), until the next call

Fresh memory for a large batch costs three times as much as the arithmetic: the system hands out empty pages one by
one. So buffers are used again, and a few images at a time go through all steps while they are in the processor's
cache. The numbers are those of `Preprocessing.scale`, bit for bit. Source: ours.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from convscope.data.mapped import TensorRows
from convscope.data.preprocessing import Preprocessing

NUMBERS_AT_ONCE = 2**19


class Scaler:
    """`Preprocessing.scale` on the CPU, into one buffer.

    Args:
        preprocessing: of whose mean and standard deviation.

    >>> scaler = Scaler(Preprocessing((1, 2), 1, mean=(0.5,), std=(0.5,)))
    >>> scaler(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
    [[[[-1.0, 1.0]]]]
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        shape = (1, preprocessing.channels, 1, 1)
        self._mean = torch.tensor(preprocessing.mean, dtype=torch.float32).view(shape)
        self._std = torch.tensor(preprocessing.std, dtype=torch.float32).view(shape)
        self._buffer = torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        """Images uint8 (B, C, H, W) as float32 of the same shape; the next call writes over them."""
        if self._buffer.numel() < images.numel():
            self._buffer = torch.empty(images.numel())
        scaled = self._buffer[: images.numel()].view(images.shape)
        at_once = max(1, NUMBERS_AT_ONCE // math.prod(images.shape[1:]))
        for start in range(0, len(images), at_once):
            part = scaled[start : start + at_once]
            part.copy_(images[start : start + at_once]).div_(255.0).sub_(self._mean).div_(self._std)
        return scaled


class Batches:
    """Any images of a split as a network takes them.

    Args:
        images: uint8 (N, C, H, W) on the CPU, a tensor or `TensorRows`.
        preprocessing: that made them.
    """

    def __init__(self, images: Tensor | TensorRows, preprocessing: Preprocessing) -> None:
        self._choose, self._scale = Chooser(images), Scaler(preprocessing)

    def __call__(self, index: Tensor) -> Tensor:
        """Images number `index` (B,), float32 (B, C, H, W); the next call writes over them."""
        return self._scale(self._choose(index))


class Chooser:
    """Images by their numbers, into one buffer.

    Args:
        images: uint8 (N, C, H, W), a tensor on any device or `TensorRows`.

    >>> choose = Chooser(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1))
    >>> choose(torch.tensor([2, 0])).flatten().tolist()
    [2, 0]
    """

    def __init__(self, images: Tensor | TensorRows) -> None:
        self._images = images
        self._buffer = torch.empty((0, *images.shape[1:]), dtype=torch.uint8, device=images.device)

    def __call__(self, index: Tensor) -> Tensor:
        """Images number `index` (B,), uint8 (B, C, H, W) on the images' device; the next call writes over them."""
        index = index.to(self._buffer.device)
        if len(self._buffer) < len(index):
            self._buffer = self._buffer.new_empty((len(index), *self._buffer.shape[1:]))
        return chosen(self._images, index, self._buffer[: len(index)])


def chosen(images: Any, index: Tensor, out: Tensor | None = None) -> Tensor:
    """Images number `index` (B,) of a tensor or `TensorRows`, uint8 (B, C, H, W): whole images, eight times as fast as
    `images[index]`, which looks at every number for itself. They go to `out`, where that is given.
    """
    if isinstance(images, TensorRows):
        return torch.index_select(images.array, 0, images.rows[index], out=out)
    return torch.index_select(images, 0, index, out=out)
