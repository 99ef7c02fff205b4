"""Networks for reaching an accuracy in little time, each with recipes that name it (convscope train --recipe …).

    speed_digits        1×28×28 → 16@14×14 → 32@7×7 → 64@3×3 → 576 → 10
    speed_digits_wide   1×28×28 → 32@14×14 → 64@7×7 → 128@3×3 → 1152 → 10
    speed_cifar         3×32×32 → 24@31×31 → 64@15×15 → 256@7×7 → 256@3×3 → 256 → 10
    speed_cifar_narrow  3×32×32 → 24@31×31 → 32@15×15 → 128@7×7 → 128@3×3 → 128 → 10

`speed_cifar` is the net of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024: a 2×2 convolution whose
weights whiten the pictures' patches (24 = 2·2·2·3 filters), three groups of convolution, pool, norm, gelu, convolution,
norm, gelu, the largest number of each map, and a layer without biases. What differs from it: its last factor 1/9 stands
in the recipe, as the gain and the rate of the last layer. `speed_cifar_narrow` has half the maps.

The nets for digits are ours, after the same plan, with one convolution a group. In all of them the pool stands before
the norm, so that norm and gelu work on a quarter of the numbers, and norms have no scale, for the convolution behind
them has one.
"""

from functools import partial

from convscope.layers import (
    Layer,
    batchnorm,
    block,
    classes,
    conv,
    dense,
    flatten,
    gelu,
    globalpool,
    maxpool,
)
from convscope.net import Net
from convscope.nets._entry import Entry

Layers = list[type[Layer] | Layer]


def _convolution(filters: int) -> conv:
    return conv(filters, 3, padding=1, bias=False)


def cifar(first: int, second: int, third: int) -> Net:
    """A convolution that whitens, and three groups of two convolutions with so many filters each."""
    norm = batchnorm(momentum=0.4, scale=False)
    groups = [
        block(f"group{i}", _convolution(width), maxpool(2), norm, gelu, _convolution(width), norm, gelu)
        for i, width in enumerate((first, second, third), start=1)
    ]
    ending: Layers = [globalpool("max"), dense(classes, bias=False, name="head")]
    return Net(conv(24, 2, name="whiten"), gelu, *groups, *ending)


def digits(first: int, second: int, third: int) -> Net:
    """Three convolutions with so many filters, each with a pool and a norm."""
    norm = batchnorm(momentum=0.3, scale=False)
    groups: Layers = [
        layer for width in (first, second, third) for layer in (_convolution(width), maxpool(2), norm, gelu)
    ]
    return Net(*groups, flatten, dense(classes, bias=False, name="head"))


def _entry(
    name: str, make: partial[Net], input_shape: tuple[int, int, int], year: int | None, description: str
) -> Entry:
    return Entry(name, "speed", make, input_shape, 10, year, description)


ENTRIES = (
    _entry("speed_digits", partial(digits, 16, 32, 64), (1, 28, 28), None, "For recipe mnist99"),
    _entry("speed_digits_wide", partial(digits, 32, 64, 128), (1, 28, 28), None, "For recipe mnist995"),
    _entry("speed_cifar", partial(cifar, 64, 256, 256), (3, 32, 32), 2024, "For recipe cifar94"),
    _entry("speed_cifar_narrow", partial(cifar, 32, 128, 128), (3, 32, 32), None, "For recipe cifar90"),
)
