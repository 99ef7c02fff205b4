"""AlexNet: the two towers of 2012, and the single tower that torchvision has.

    3×227×227 → 96@55×55 → pool 27 → 256@27×27 → pool 13 → 384, 384, 256@13×13 → pool 6 → 4096 → 4096 → 1000

Sources: Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", 2012;
Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

`alexnet_2012`, 60,965,224 parameters: each GPU held half of the maps, so conv2, conv4 and conv5 have two groups, and
the response norms do not look across the towers either. What differs from the paper: its 224×224 is 227×227 here,
since (224 − 11)/4 + 1 = 54.25 and the paper says 55.

`alexnet`, 61,100,840 parameters, is torchvision's: 3×224×224 → 64@55×55 → 192@27×27 → 384, 256, 256@13×13. What
differs from the paper of 2014: no response norm, dropout before fc6 and fc7 instead of after, and an adaptive pool to
6×6, which does nothing at 224 px and lets other sizes pass.

`alexnet_small`, for 28 or 32 px: stages, kernels and order of `alexnet`. conv1 moves by 1 instead of 4, widths are 3/8
and the dense layers 1/8; the adaptive pool, which does nothing at the published size, is left out.

    3×32×32 → 24@26×26 → pool 12 → 72@12×12 → pool 5 → 144, 96, 96@5×5 → pool 2 → 384 → 512 → 512 → 10
"""

from convscope.layers import (
    Layer,
    adaptiveavgpool,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    lrn,
    maxpool,
    relu,
)
from convscope.net import Net
from convscope.nets._entry import Entry

POOL = maxpool(3, stride=2)
TOWERS = 2


def alexnet_2012() -> Net:
    """Two towers."""
    norm = lrn(groups=TOWERS)
    return Net(
        conv(96, 11, stride=4), relu, norm, POOL,
        conv(256, 5, padding=2, groups=TOWERS), relu, norm, POOL,
        conv(384, 3, padding=1), relu,
        conv(384, 3, padding=1, groups=TOWERS), relu,
        conv(256, 3, padding=1, groups=TOWERS), relu, POOL,
        flatten, dense(4096, name="fc6"), relu, dropout(0.5), dense(4096, name="fc7"), relu, dropout(0.5),
        dense(classes, name="fc8"),
    )  # fmt: skip


def alexnet() -> Net:
    """One tower, as torchvision has it."""
    return Net(*_one_tower(64, 192, 384, 256, stride=4), adaptiveavgpool(6), *_head(4096))


def alexnet_small() -> Net:
    """One tower, narrow, its first convolution moving by 1."""
    return Net(*_one_tower(24, 72, 144, 96, stride=1), *_head(512))


def _one_tower(first: int, second: int, third: int, last: int, stride: int) -> list[Layer | type[Layer]]:
    return [
        conv(first, 11, stride=stride, padding=2), relu, POOL,
        conv(second, 5, padding=2), relu, POOL,
        conv(third, 3, padding=1), relu, conv(last, 3, padding=1), relu, conv(last, 3, padding=1), relu, POOL,
    ]  # fmt: skip


def _head(width: int) -> list[Layer | type[Layer]]:
    return [
        flatten, dropout(0.5), dense(width, name="fc6"), relu, dropout(0.5), dense(width, name="fc7"), relu,
        dense(classes, name="fc8"),
    ]  # fmt: skip


ENTRIES = (
    Entry("alexnet_2012", "alexnet", alexnet_2012, (3, 227, 227), 1000, 2012, "AlexNet with its two towers"),
    Entry("alexnet", "alexnet", alexnet, (3, 224, 224), 1000, 2014, "AlexNet in one tower", "alexnet"),
    Entry("alexnet_small", "alexnet", alexnet_small, (3, 32, 32), 10, None, "AlexNet for 28 or 32 px"),
)
