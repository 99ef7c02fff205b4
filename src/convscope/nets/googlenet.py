"""GoogLeNet: nine inception modules, each four branches side by side, and two heads that only training sees.

    3×224×224 → 64@112×112 → pool 56 → 64, 192@56×56 → pool 28 → 3a 256, 3b 480@28×28 → pool 14
              → 4a 512 … 4e 832@14×14 → pool 7 → 5a 832, 5b 1024@7×7 → mean → 1024 → 1000

Source: Szegedy et al., "Going deeper with convolutions", 2014.

`googlenet`: 6,998,552 parameters, and 6,379,728 in the two heads, by the module widths of the paper's table 1 (its own
column adds up to about 6.8 million). What differs: the response norms have AlexNet's constants, since the paper gives
none, and the 7×7 mean is over whatever the size leaves. The heads count 0.3 each, as published.

`googlenet_torchvision`: 6,624,904 parameters, 13,004,888 with the heads. What differs from the paper: a norm (eps
0.001) after every convolution and no bias, no response norm, the "5×5" branch is 3×3 (a slip that the published
weights keep), the last pool 2×2, dropout 0.2, and adaptive pools in the heads, which the published weights do not
train.

`googlenet_small`, for 28 or 32 px: `googlenet` with the same stages, kernels, modules and order. The first convolution
and the first pool move by 1 instead of 2, every width is 1/4.

    3×32×32 → 16@32×32 → pool 30 → 16, 48@30×30 → pool 15 → 3a 64, 3b 120@15×15 → pool 7 → 4a 128 … 4e 208@7×7
            → pool 3 → 5a 208, 5b 256@3×3 → mean → 256 → 10
"""

from collections.abc import Callable, Mapping
from functools import partial

from convscope.layers import (
    Layer,
    adaptiveavgpool,
    aux,
    avgpool,
    batchnorm,
    branches,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    globalpool,
    lrn,
    maxpool,
    relu,
)
from convscope.net import Net
from convscope.nets._entry import Entry

Layers = list[Layer | type[Layer]]
# filters, kernel, stride, padding and name → a convolution and what follows it
Convolve = Callable[..., Layers]

# 1×1, before the 3×3, 3×3, before the 5×5, 5×5, after the pool: the paper's table 1.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(part: int = 1, stride: int = 2) -> Net:
    """The network of the paper, every width divided by `part`; `stride` is that of the first convolution and pool."""
    pool = maxpool(3, stride=2, ceil=True)
    first_pool = maxpool(3, stride=stride, ceil=True)
    modules = _modules(_plain, MODULES, part, large=5)
    head = partial(_head, part)
    return Net(
        *_plain(64 // part, 7, stride=stride, padding=3, name="conv1"), first_pool, lrn,
        *_plain(64 // part, 1, name="conv2"), *_plain(192 // part, 3, padding=1, name="conv3"), lrn, pool,
        modules["3a"], modules["3b"], pool,
        modules["4a"], head("aux1"), modules["4b"], modules["4c"], modules["4d"], head("aux2"), modules["4e"], pool,
        modules["5a"], modules["5b"], globalpool, dropout(0.4), dense(classes, name="fc"),
    )  # fmt: skip


def googlenet_torchvision() -> Net:
    """The network of torchvision."""
    pool = maxpool(3, stride=2, ceil=True)
    modules = _modules(_normed, MODULES, 1, large=3)
    return Net(
        *_normed(64, 7, stride=2, padding=3, name="conv1"), pool,
        *_normed(64, 1, name="conv2"), *_normed(192, 3, padding=1, name="conv3"), pool,
        modules["3a"], modules["3b"], pool,
        modules["4a"], _normed_head("aux1"), modules["4b"], modules["4c"], modules["4d"], _normed_head("aux2"),
        modules["4e"], maxpool(2, ceil=True),
        modules["5a"], modules["5b"], globalpool, dropout(0.2), dense(classes, name="fc"),
    )  # fmt: skip


def _plain(filters: int, kernel: int, *, stride: int = 1, padding: int = 0, name: str) -> Layers:
    return [conv(filters, kernel, stride=stride, padding=padding, name=name), relu]


def _normed(filters: int, kernel: int, *, stride: int = 1, padding: int = 0, name: str) -> Layers:
    layer = conv(filters, kernel, stride=stride, padding=padding, bias=False, name=name)
    return [layer, batchnorm(eps=0.001, name=f"{name}_norm"), relu]


def _modules(
    convolve: Convolve, widths: Mapping[str, tuple[int, ...]], part: int, large: int
) -> dict[str, Layer]:
    return {
        name: _inception(f"inception{name}", convolve, tuple(width // part for width in row), large)
        for name, row in widths.items()
    }


def _inception(name: str, convolve: Convolve, widths: tuple[int, ...], large: int) -> branches:
    """Four branches from one input; the kernel of the third is `large`."""
    ones, before_threes, threes, before_fives, fives, after_pool = widths
    return branches(
        convolve(ones, 1, name="conv1x1"),
        [*convolve(before_threes, 1, name="reduce3x3"), *convolve(threes, 3, padding=1, name="conv3x3")],
        [
            *convolve(before_fives, 1, name="reduce5x5"),
            *convolve(fives, large, padding=large // 2, name="conv5x5"),
        ],
        [maxpool(3, stride=1, padding=1), *convolve(after_pool, 1, name="pool_conv")],
        name=name,
    )


def _head(part: int, name: str) -> aux:
    return aux(
        avgpool(5, stride=3), *_plain(128 // part, 1, name="conv"),
        flatten, dense(1024 // part, name="fc1"), relu, dropout(0.7), dense(classes, name="fc2"),
        weight=0.3, name=name,
    )  # fmt: skip


def _normed_head(name: str) -> aux:
    return aux(
        adaptiveavgpool(4), *_normed(128, 1, name="conv"),
        flatten, dense(1024, name="fc1"), relu, dropout(0.7), dense(classes, name="fc2"), weight=0.3, name=name,
    )  # fmt: skip


ENTRIES = (
    Entry("googlenet", "googlenet", googlenet, (3, 224, 224), 1000, 2014, "GoogLeNet as in the paper"),
    Entry(
        "googlenet_torchvision", "googlenet", googlenet_torchvision, (3, 224, 224), 1000, None,
        "GoogLeNet with norms, as torchvision has it", "googlenet",
    ),
    Entry(
        "googlenet_small", "googlenet", partial(googlenet, part=4, stride=1), (3, 32, 32), 10, None,
        "GoogLeNet for 28 or 32 px",
    ),
)  # fmt: skip
