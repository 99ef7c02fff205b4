"""ResNet: layers that learn what to add to their input, up to 152 deep; and the plain nets they were compared with.

    3×224×224 → 64@112×112 → pool 56 → layer1 56×56 → layer2 28×28 → layer3 14×14 → layer4 7×7 → mean → 1000

Source: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015. A norm follows every convolution.
resnet18 and 34 are made of basic blocks (two 3×3, widths 64 to 512), resnet50, 101 and 152 of bottlenecks (1×1, 3×3,
1×1, the last four times as wide). 11,689,512 / 21,797,672 / 25,557,032 / 44,549,160 / 60,192,808 parameters.

The plain names are torchvision's ("v1.5"). What differs from the paper: in bottlenecks that halve the size the stride
stands on the 3×3 instead of the first 1×1 (the same parameters, 0.23 G more multiply-adds), and resnet18 and 34 have
projections where the shape changes (option B).

The `_v1` names are the paper's: stride on the 1×1; resnet18_v1 and 34_v1 have shortcuts without parameters, every
second pixel and zeros for the new maps (option A: 11,515,688 and 21,623,848). plain18 and plain34 are those without
shortcuts.

`resnet18_small` and `resnet50_small`, for 28 or 32 px: the same stages, kernels, blocks and order. The first
convolution moves by 1 instead of 2; widths are 1/2 and 1/4.

    3×32×32 → 32@32×32 → pool 16 → layer1 32@16×16 → layer2 64@8×8 → layer3 128@4×4 → layer4 256@2×2 → mean → 10
"""

from collections.abc import Callable
from functools import partial

from convscope.layers import (
    Layer,
    batchnorm,
    block,
    classes,
    conv,
    dense,
    globalpool,
    maxpool,
    relu,
    repeat,
    residual,
)
from convscope.net import Net
from convscope.nets._entry import Entry

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4  # a bottleneck's output is this many times its width
WIDTH = 64

Layers = tuple[Layer | type[Layer], ...]
Body = Callable[[int, int], Layers]  # width and stride → what a block computes beside its shortcut


def _normed(filters: int, kernel: int, stride: int = 1) -> Layers:
    return conv(filters, kernel, stride=stride, padding=kernel // 2, bias=False), batchnorm


def basic(width: int, stride: int) -> Layers:
    """Two 3×3 convolutions."""
    return (*_normed(width, 3, stride), relu, *_normed(width, 3))


def bottleneck(width: int, stride: int) -> Layers:
    """1×1 narrow, 3×3 with the stride, 1×1 wide."""
    return (*_normed(width, 1), relu, *_normed(width, 3, stride), relu, *_normed(EXPANSION * width, 1))


def bottleneck_v1(width: int, stride: int) -> Layers:
    """The paper's: the stride on the first 1×1."""
    return (*_normed(width, 1, stride), relu, *_normed(width, 3), relu, *_normed(EXPANSION * width, 1))


def stage(name: str, body: Body, width: int, stride: int, blocks: int, shortcut: str | None) -> block:
    """One stage: a block that may change the shape, through `shortcut`, and the others, which do not.

    Without a shortcut the layers stand in a row, as in the plain nets.
    """
    if shortcut is None:
        return block(name, *body(width, stride), relu, repeat(blocks - 1, *body(width, 1), relu))
    first, others = residual(*body(width, stride), shortcut=shortcut), residual(*body(width, 1))
    return block(name, first, relu, repeat(blocks - 1, others, relu))


def net(
    body: Body, blocks: tuple[int, ...], shortcut: str | None, width: int = WIDTH, stem_stride: int = 2
) -> Net:
    """The stem, four stages that double the width and halve the size, and the mean of each map."""
    # A bottleneck's first stage changes the number of maps, a basic block's does not.
    first = "identity" if body is basic and shortcut else shortcut
    stages = [stage("layer1", body, width, 1, blocks[0], first)]
    stages += [
        stage(f"layer{k + 1}", body, width << k, 2, count, shortcut)
        for k, count in enumerate(blocks[1:], start=1)
    ]
    stem = conv(width, 7, stride=stem_stride, padding=3, bias=False, name="conv1")
    return Net(
        stem, batchnorm, relu, maxpool(3, stride=2, padding=1), *stages, globalpool, dense(classes, name="fc")
    )


def _entries(depth: int) -> list[Entry]:
    """The net of this depth as torchvision has it and as the paper has it."""
    blocks = BLOCKS[depth]
    now, paper = (basic, basic) if depth < 50 else (bottleneck, bottleneck_v1)
    v1_shortcut = "zeropad" if depth < 50 else "projection"
    name, shape = f"resnet{depth}", (3, 224, 224)
    v1 = partial(net, paper, blocks, v1_shortcut)
    told = "ResNet with {} layers".format
    return [
        Entry(name, "resnet", partial(net, now, blocks, "projection"), shape, 1000, 2015, told(depth), name),
        Entry(f"{name}_v1", "resnet", v1, shape, 1000, 2015, told(depth) + ", as in the paper"),
    ]


def _plain(depth: int) -> Entry:
    make = partial(net, basic, BLOCKS[depth], None)
    return Entry(
        f"plain{depth}", "resnet", make, (3, 224, 224), 1000, 2015, f"{depth} layers without shortcuts"
    )


def _small(depth: int, body: Body, width: int) -> Entry:
    make = partial(net, body, BLOCKS[depth], "projection", width, stem_stride=1)
    told = f"ResNet-{depth} for 28 or 32 px"
    return Entry(f"resnet{depth}_small", "resnet", make, (3, 32, 32), 10, None, told)


ENTRIES = (
    *(entry for depth in BLOCKS for entry in _entries(depth)),
    *map(_plain, (18, 34)),
    _small(18, basic, 32),
    _small(50, bottleneck, 16),
)
