"""LeNet-5, as in 1998 and as people build it today.

    1×32×32 → C1 6@28×28 → S2 6@14×14 → C3 16@10×10 → S4 16@5×5 → C5 120 → F6 84 → 10

Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998.

`lenet5` has what the paper has: each filter of C3 sees only some maps of S2 (`CONNECTIONS`), S2 and S4 have a trainable
coefficient and bias a map, every layer up to F6 is squashed by 1.7159·tanh(2a/3), and the output is the distance of F6
to one fixed code a class. 60,000 trainable parameters and 340,908 connections, both as published; the 840 numbers of
the codes are fixed. What differs: the codes are digits drawn by us, not the paper's bitmaps, and the sign of the output
is turned, so that the largest score wins. Its loss is the recipe `lenet5`.

`lenet5_modern` has a dense C3, average pools, relu and a dense output: 61,706 parameters.

The published input is 32×32: 28×28 digits with a border of two pixels. The `_28` forms take digits as they are; C1
makes the border (padding 2), and everything after it is the same, parameter for parameter.
"""

from functools import partial

from convscope.layers import avgpool, classes, conv, dense, flatten, rbf, relu, subsample, tanh
from convscope.net import Net
from convscope.nets._entry import Entry

# Which maps of S2 each map of C3 sees: six of three neighbours, six of four, three of four that are not, one of all.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
SQUASH = tanh(amplitude=1.7159, slope=2 / 3)


def lenet5(padding: int = 0) -> Net:
    """The network of the paper; `padding` is the border that C1 puts around the picture."""
    return Net(
        conv(6, 5, padding=padding, name="C1"), SQUASH, subsample(2, name="S2"), SQUASH,
        conv(16, 5, table=CONNECTIONS, name="C3"), SQUASH, subsample(2, name="S4"), SQUASH,
        conv(120, 5, name="C5"), SQUASH, flatten, dense(84, name="F6"), SQUASH, rbf(classes),
    )  # fmt: skip


def lenet5_modern(padding: int = 0) -> Net:
    """The same sizes with today's layers."""
    return Net(
        conv(6, 5, padding=padding, name="C1"), relu, avgpool(2, name="S2"),
        conv(16, 5, name="C3"), relu, avgpool(2, name="S4"),
        conv(120, 5, name="C5"), relu, flatten, dense(84, name="F6"), relu, dense(classes),
    )  # fmt: skip


ENTRIES = (
    Entry("lenet5", "lenet", lenet5, (1, 32, 32), 10, 1998, "LeNet-5 as in 1998"),
    Entry(
        "lenet5_28", "lenet", partial(lenet5, 2), (1, 28, 28), 10, 1998, "The same for 28×28: C1 makes the border"
    ),
    Entry(
        "lenet5_modern", "lenet", lenet5_modern, (1, 32, 32), 10, None, "LeNet-5 with a dense C3, relu and dense output"
    ),
    Entry(
        "lenet5_modern_28", "lenet", partial(lenet5_modern, 2), (1, 28, 28), 10, None,
        "The same for 28×28: C1 makes the border",
    ),
)  # fmt: skip
