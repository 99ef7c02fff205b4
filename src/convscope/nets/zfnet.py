"""ZFNet: AlexNet after a look inside, with a smaller and denser first layer.

    3×224×224 → 96@110×110 → pool 55 → 256@26×26 → pool 13 → 384, 384, 256@13×13 → pool 6 → 4096 → 4096 → 1000

Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2013. 62,357,608 parameters by our
count; the paper prints none. What is ours: the paper gives only the sizes 110, 55, 26, 13 and 6, and paddings and
rounding follow from them (conv1 with padding 1, the first two pools rounded up); its contrast normalisation, which it
does not define, is AlexNet's response norm. The towers of AlexNet are gone: no groups.

`zfnet_small`, for 28 or 32 px: the same stages, kernels and order. conv1 and conv2 move by 1 instead of 2, widths are
3/8 and the dense layers 1/8.

    3×32×32 → 36@28×28 → pool 14 → 96@10×10 → pool 5 → 144, 144, 96@5×5 → pool 2 → 384 → 512 → 512 → 10
"""

from functools import partial

from convscope.layers import classes, conv, dense, dropout, flatten, lrn, maxpool, relu
from convscope.net import Net
from convscope.nets._entry import Entry

POOL_UP = maxpool(3, stride=2, ceil=True)


def net(widths: tuple[int, int, int, int, int], width: int, stride: int) -> Net:
    """The five convolutions of these widths, the first two with `stride`, and dense layers of `width`."""
    first, second, third, fourth, fifth = widths
    return Net(
        conv(first, 7, stride=stride, padding=1), relu, POOL_UP, lrn,
        conv(second, 5, stride=stride), relu, POOL_UP, lrn,
        conv(third, 3, padding=1), relu, conv(fourth, 3, padding=1), relu,
        conv(fifth, 3, padding=1), relu, maxpool(3, stride=2),
        flatten, dense(width, name="fc6"), relu, dropout(0.5), dense(width, name="fc7"), relu, dropout(0.5),
        dense(classes, name="fc8"),
    )  # fmt: skip


zfnet = partial(net, (96, 256, 384, 384, 256), 4096, 2)
zfnet_small = partial(net, (36, 96, 144, 144, 96), 512, 1)

ENTRIES = (
    Entry("zfnet", "zfnet", zfnet, (3, 224, 224), 1000, 2013, "AlexNet with a finer first layer"),
    Entry("zfnet_small", "zfnet", zfnet_small, (3, 32, 32), 10, None, "ZFNet for 28 or 32 px"),
)
