"""Methods of ours to convolve and to multiply: which layers they take, and what runs in the same pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from convscope.engine.kernels.operations import Convolving, Drop, is_few

GRAIN = 16  # channels and filters are multiples of it: the floats in the widest register
MOST_FIRST_BYTES = 2**18
"""Of one image's maps between two convolutions in one pass: what is made again has to stay in the second cache."""


@dataclass(frozen=True, eq=False)
class Then:
    """What runs behind the convolution in the same pass: a 2×2 max-pool of step 2, relu, and after a pool dropout; and
    behind a pool, in the pass of two convolutions, `flat`: vectors instead of maps, map after map."""

    relu: bool
    pool: bool = False
    drop: Drop | None = None
    flat: bool = False


@dataclass(frozen=True, eq=False)
class First:
    """The first convolution of a network: weight (filters, C, rows, columns) and bias, float32, and its window."""

    weight: Tensor
    bias: Tensor | None
    by: Convolving


class PlainMethod(Protocol):
    """How to convolve maps (N, C, H, W) with float32 weight (filters, C, rows, columns)."""

    def suits(self, maps: Tensor, weight: Tensor, by: Convolving, /) -> bool:
        """Whether the method can take this convolution, and gains by it (measured)."""

    def convolve(
        self, maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        """The convolution, one that `suits`, with its relu."""


class Method(PlainMethod, Protocol):
    """One that takes along everything that `Then` says, and a convolution before it."""

    def suits_two(self, images: Tensor, first: First, weight: Tensor, by: Convolving, /) -> bool:
        """Whether a first convolution and its relu can run in the pass of a second one behind it, so that the maps
        between the two, many times as large as the images, are never in memory."""

    def convolve_two(
        self, images: Tensor, first: First, weight: Tensor, bias: Tensor | None, by: Convolving, then: Then
    ) -> Tensor:
        """What `then` makes of the convolution of the relu of the first convolution of images; two that `suits_two`.
        The maps between are made again backward."""


class DenseMethod(Protocol):
    """How to multiply vectors (N, D) with float32 weight (units, D) of a dense layer."""

    def suits_dense(self, vectors: Tensor, weight: Tensor) -> bool:
        """Whether the method can take this layer, and gains by it (measured)."""

    def dense(self, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's outputs (N, units); one that `suits_dense`."""


@dataclass(frozen=True, eq=False)
class Methods:
    """What a plan takes instead of torch's operations.

    Args:
        main: for every convolution that suits it.
        others: for convolutions that do not; the first one that they suit.
        dense: for dense layers; the first one that they suit.
    """

    main: Method | None = None
    others: tuple[PlainMethod, ...] = ()
    dense: tuple[DenseMethod, ...] = ()

    @property
    def of_convolutions(self) -> tuple[PlainMethod, ...]:
        """In the order in which they are asked."""
        return (*((self.main,) if self.main else ()), *self.others)


def parts_of(part_bytes: int, most: int, all_bytes: int, least: int = 2) -> int:
    """Into how many parts images are taken, each with its own sum of `part_bytes` for the weight's gradient: as many as
    have room in `all_bytes`, and a power of two, so that threads have equally many.

    >>> parts_of(1000, 8, 6500), parts_of(1000, 8, 0), parts_of(1000, 8, 10**6)
    (4, 2, 8)
    """
    return 1 << max(least, min(most, all_bytes // part_bytes)).bit_length() - 1


def missing(channels: int) -> int:
    """How many channels of zeros make whole grains of so many.

    >>> missing(24), missing(32)
    (8, 0)
    """
    return -channels % GRAIN


def fills_grains(channels: int) -> bool:
    """Whether so many channels fill three quarters of the grains that hold them: less is a waste of products."""
    return 4 * channels >= 3 * (channels + missing(channels))


def in_whole_grains(tensor: Tensor) -> Tensor:
    """Maps (N, C, H, W) or weights (filters, C, rows, columns) with zeros for the channels that are missing."""
    lacking = missing(tensor.shape[1])
    return pad(tensor, (0, 0, 0, 0, 0, lacking)) if lacking else tensor


def maps_between(images: Tensor, first: First) -> Tensor:
    """The shape of the first convolution's maps, without their memory."""
    shape = (len(images), len(first.weight), *first.by.out(images, first.weight))
    return images.new_empty(1).expand(shape)


def fits_between(images: Tensor, first: First, weight: Tensor) -> bool:
    """Whether the first convolution, which has a kernel of its own, makes what the second, with this weight, takes, and
    its maps stay in the caches."""
    maps = maps_between(images, first)
    return (
        is_few(images, first.weight, first.by)
        and first.weight.dtype == torch.float32
        and maps.shape[1] == weight.shape[1]
        and not missing(weight.shape[1])
        and maps[0].numel() * 4 <= MOST_FIRST_BYTES
    )
