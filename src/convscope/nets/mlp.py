"""Fully connected nets of any depth and width: pixels in a row, hidden layers with relu, scores.

    1×28×28 → 784 → 512 → 512 → 10        (mlp, two hidden layers of 512)

`mlp` is the usual small one; `mlp-3x256` has three hidden layers of 256, and so on.
"""

import re
from functools import partial

from convscope.layers import Layer, classes, dense, flatten, relu
from convscope.net import Net
from convscope.nets._entry import Entry

MAX_DEPTH, MAX_WIDTH = 1_000, 100_000


def net(depth: int = 2, width: int = 512) -> Net:
    """A fully connected net with `depth` hidden layers of `width` numbers each.

    >>> print(net(depth=1, width=20))
    Net(flatten, dense(20), relu, dense(classes))
    """
    hidden: list[type[Layer] | Layer] = [item for _ in range(depth) for item in (dense(width), relu)]
    return Net(flatten, *hidden, dense(classes))


def from_name(name: str) -> Entry | None:
    """The net that a name such as mlp-3x256 says, or None when it is no such name."""
    match = re.fullmatch(r"mlp-(\d{1,4})x(\d{1,6})", name)
    if not match:
        return None
    depth, width = int(match[1]), int(match[2])
    if not (1 <= depth <= MAX_DEPTH and 1 <= width <= MAX_WIDTH):
        return None
    return _entry(name, depth, width)


def _entry(name: str, depth: int, width: int) -> Entry:
    layers = f"{depth} hidden layer{'s' if depth > 1 else ''} of {width}"
    make = partial(net, depth, width)
    return Entry(name, "mlp", make, (1, 28, 28), 10, None, f"Fully connected, {layers}")


ENTRIES = (_entry("mlp", 2, 512),)
