"""Our names beside their publishers', family by family: the same layers, called differently.

A table maps our module to torchvision's, or to that of EfficientNet-Lite0's converter; the tensors in both have the
same last names (weight, bias, running_mean …).
"""

from __future__ import annotations

from convscope.nets.efficientnet import STAGES
from convscope.nets.resnet import BLOCKS

Table = dict[str, str]

ALEXNET: Table = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8", "conv5": "features.10",
    "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip

# Where the convolutions stand among torchvision's `features`; with norms each norm stands right behind its convolution.
VGG_CONVOLUTIONS: dict[str, Table] = {
    "vgg11": {
        "conv1_1": "0", "conv2_1": "3", "conv3_1": "6", "conv3_2": "8", "conv4_1": "11", "conv4_2": "13",
        "conv5_1": "16", "conv5_2": "18",
    },
    "vgg13": {
        "conv1_1": "0", "conv1_2": "2", "conv2_1": "5", "conv2_2": "7", "conv3_1": "10", "conv3_2": "12",
        "conv4_1": "15", "conv4_2": "17", "conv5_1": "20", "conv5_2": "22",
    },
    "vgg16": {
        "conv1_1": "0", "conv1_2": "2", "conv2_1": "5", "conv2_2": "7", "conv3_1": "10", "conv3_2": "12",
        "conv3_3": "14", "conv4_1": "17", "conv4_2": "19", "conv4_3": "21", "conv5_1": "24", "conv5_2": "26",
        "conv5_3": "28",
    },
    "vgg19": {
        "conv1_1": "0", "conv1_2": "2", "conv2_1": "5", "conv2_2": "7", "conv3_1": "10", "conv3_2": "12",
        "conv3_3": "14", "conv3_4": "16", "conv4_1": "19", "conv4_2": "21", "conv4_3": "23", "conv4_4": "25",
        "conv5_1": "28", "conv5_2": "30", "conv5_3": "32", "conv5_4": "34",
    },
    "vgg11_bn": {
        "conv1_1": "0", "conv2_1": "4", "conv3_1": "8", "conv3_2": "11", "conv4_1": "15", "conv4_2": "18",
        "conv5_1": "22", "conv5_2": "25",
    },
    "vgg13_bn": {
        "conv1_1": "0", "conv1_2": "3", "conv2_1": "7", "conv2_2": "10", "conv3_1": "14", "conv3_2": "17",
        "conv4_1": "21", "conv4_2": "24", "conv5_1": "28", "conv5_2": "31",
    },
    "vgg16_bn": {
        "conv1_1": "0", "conv1_2": "3", "conv2_1": "7", "conv2_2": "10", "conv3_1": "14", "conv3_2": "17",
        "conv3_3": "20", "conv4_1": "24", "conv4_2": "27", "conv4_3": "30", "conv5_1": "34", "conv5_2": "37",
        "conv5_3": "40",
    },
    "vgg19_bn": {
        "conv1_1": "0", "conv1_2": "3", "conv2_1": "7", "conv2_2": "10", "conv3_1": "14", "conv3_2": "17",
        "conv3_3": "20", "conv3_4": "23", "conv4_1": "27", "conv4_2": "30", "conv4_3": "33", "conv4_4": "36",
        "conv5_1": "40", "conv5_2": "43", "conv5_3": "46", "conv5_4": "49",
    },
}  # fmt: skip
VGG_DENSE: Table = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}

# In every inception module: ours → theirs, without `.conv` and `.bn`.
INCEPTION: Table = {
    "conv1x1": "branch1", "reduce3x3": "branch2.0", "conv3x3": "branch2.1", "reduce5x5": "branch3.0",
    "conv5x5": "branch3.1", "pool_conv": "branch4.1",
}  # fmt: skip
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")

HEADS = frozenset({"fc8", "fc", "aux1.fc2", "aux2.fc2"})
"""The layers that hold `classes`, by our names."""


def table(builder: str) -> Table:
    """Our module → the publisher's, for one of torchvision's builders or efficientnet-lite0.

    >>> table("resnet18")["layer2.residual1.projection"]
    'layer2.0.downsample.0'
    """
    if builder == "alexnet":
        return ALEXNET
    if builder == "googlenet":
        return googlenet()
    if builder == "efficientnet-lite0":
        return efficientnet()
    if builder in VGG_CONVOLUTIONS:
        return vgg(builder)
    return resnet(int(builder.removeprefix("resnet")))


def vgg(builder: str) -> Table:
    """The convolutions by their places, and their norms where there are any."""
    convolutions = VGG_CONVOLUTIONS[builder]
    names = {ours: f"features.{place}" for ours, place in convolutions.items()}
    if builder.endswith("_bn"):
        places = enumerate(convolutions.values(), start=1)
        names |= {f"batchnorm{number}": f"features.{int(place) + 1}" for number, place in places}
    return names | VGG_DENSE


def googlenet() -> Table:
    """Every convolution has its norm beside it, under `conv` and `bn` there."""
    convolutions = {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3"}
    convolutions |= {
        f"inception{module}.{ours}": f"inception{module}.{theirs}"
        for module in MODULES
        for ours, theirs in INCEPTION.items()
    }
    convolutions |= {"aux1.conv": "aux1.conv", "aux2.conv": "aux2.conv"}
    names = {ours: f"{theirs}.conv" for ours, theirs in convolutions.items()}
    names |= {f"{ours}_norm": f"{theirs}.bn" for ours, theirs in convolutions.items()}
    dense = ("aux1.fc1", "aux1.fc2", "aux2.fc1", "aux2.fc2", "fc")
    return names | {name: name for name in dense}


def resnet(depth: int) -> Table:
    """Blocks are counted from 0 there and from 1 here; a projection is `downsample` there."""
    names = {"conv1": "conv1", "batchnorm1": "bn1", "fc": "fc"}
    in_block = 2 if depth < 50 else 3
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for number in range(blocks):
            ours, theirs = f"layer{stage}.residual{number + 1}", f"layer{stage}.{number}"
            for k in range(1, in_block + 1):
                names[f"{ours}.conv{k}"] = f"{theirs}.conv{k}"
                names[f"{ours}.batchnorm{k}"] = f"{theirs}.bn{k}"
        if stage > 1 or depth >= 50:
            names[f"layer{stage}.residual1.projection"] = f"layer{stage}.0.downsample.0"
            names[f"layer{stage}.residual1.projection_norm"] = f"layer{stage}.0.downsample.1"
    return names


def efficientnet() -> Table:
    """Blocks are counted through from 0 there, and norms by their place in the block, whose first may not widen."""
    names = {"stem": "_conv_stem", "stem_norm": "_bn0", "top": "_conv_head", "top_norm": "_bn1", "fc": "_fc"}
    number = 0
    for stage, (expansion, _, _, _, blocks) in enumerate(STAGES, start=1):
        for block in range(1, blocks + 1):
            ours, theirs = f"stage{stage}.block{block}", f"_blocks.{number}"
            parts = ("expand", "depthwise", "project") if expansion > 1 else ("depthwise", "project")
            for place, part in enumerate(parts, start=3 - len(parts)):
                names[f"{ours}.{part}"] = f"{theirs}._{part}_conv"
                names[f"{ours}.{part}_norm"] = f"{theirs}._bn{place}"
            number += 1
    return names
