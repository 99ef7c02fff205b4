"""The lecture's network: the ConvNet its notebook trains on handwritten digits.

    1×28×28 → conv 32@26×26 → conv 64@24×24 → pool 64@12×12 → 9216 → 128 → 10

Source: S. R. Das, "Deep Learning: Introduction to CNN". Published count 1,199,882 parameters; 98.3 % of them stand in
the first dense layer. Nothing differs from the notebook; its softmax is taken by the loss and by predictions.
"""

from convscope.layers import classes, conv, dense, dropout, flatten, maxpool, relu
from convscope.net import Net
from convscope.nets._entry import Entry


def lecture() -> Net:
    """Two convolutions, a pool, two dense layers."""
    return Net(
        conv(32, 3), relu, conv(64, 3), relu, maxpool(2), dropout(0.25),
        flatten, dense(128), relu, dropout(0.5), dense(classes),
    )  # fmt: skip


ENTRIES = (
    Entry(
        "lecture", "lecture", lecture, (1, 28, 28), 10, 2018, "The ConvNet of the lecture's MNIST notebook"
    ),
)
