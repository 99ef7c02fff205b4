"""The chapter's ConvNet for CIFAR-10: five convolutions, and what becomes of it with a global pool.

    3×32×32 → 32@30×30 → 32@28×28 → pool 14×14 → 64@12×12 → 64@10×10 → pool 5×5 → 64@3×3 → 576 → 1024 → 10
        (global maximum instead of the flattening:                                           64 → 1024 → 10)

Source: S. R. Das, "Deep Learning", the chapter on ConvNets. 703,594 parameters, of which 590,848 (84 %) stand in the
first dense layer; 179,306 with the global maximum, which the chapter finds costs no appreciable accuracy. Nothing
differs from the chapter.
"""

from functools import partial

from convscope.layers import Layer, classes, conv, dense, flatten, globalpool, maxpool, relu
from convscope.net import Net
from convscope.nets._entry import Entry


def net(head: Layer | type[Layer]) -> Net:
    """The five convolutions, then `head`, which makes a vector of the last maps."""
    return Net(
        conv(32, 3), relu, conv(32, 3), relu, maxpool(2),
        conv(64, 3), relu, conv(64, 3), relu, maxpool(2),
        conv(64, 3), relu, head, dense(1024), relu, dense(classes),
    )  # fmt: skip


ENTRIES = (
    Entry(
        "chapter_cifar", "chapter", partial(net, flatten), (3, 32, 32), 10, 2018,
        "The chapter's ConvNet for CIFAR-10",
    ),
    Entry(
        "chapter_cifar_globalmax", "chapter", partial(net, globalpool("max")), (3, 32, 32), 10, 2018,
        "The same with a global maximum in place of the flattening",
    ),
)  # fmt: skip
