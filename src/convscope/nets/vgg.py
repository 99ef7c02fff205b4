"""VGG: nothing but 3×3 convolutions and 2×2 pools, 11 to 19 layers deep.

    3×224×224 → 64@224×224 → pool 112 → 128@112×112 → pool 56 → 256@56×56 → pool 28 → 512@28×28 → pool 14
              → 512@14×14 → pool 7 → 4096 → 4096 → 1000              (each stage one to four convolutions)

Source: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014: its
configurations A, B, D and E are vgg11, 13, 16 and 19, and C is vgg16_c, whose last convolution of stages 3 to 5 is 1×1.
132,863,336 / 133,047,848 / 138,357,544 / 143,667,240 and 133,638,952 parameters.

What differs from the paper: an adaptive pool to 7×7 before the dense layers, as in torchvision, which does nothing at
224 px and lets other sizes pass. The `_bn` forms, with a norm after every convolution, are torchvision's; the paper has
none, and the convolutions keep their biases, which the norms make idle.

`vgg11_small` and `vgg16_small`, for 28 or 32 px: the same stages, kernels and order. Widths are 1/4 and the dense
layers 1/8; pools round up, so that 28 px pass too; the adaptive pool is left out.

    3×32×32 → 16@32×32 → pool 16 → 32 → pool 8 → 64 → pool 4 → 128 → pool 2 → 128 → pool 1 → 128 → 512 → 512 → 10
"""

from functools import partial

from convscope.layers import (
    Layer,
    adaptiveavgpool,
    batchnorm,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    maxpool,
    relu,
)
from convscope.net import Net
from convscope.nets._entry import Entry

WIDTHS = (64, 128, 256, 512, 512)
Kernels = tuple[tuple[int, ...], ...]  # of each stage, the kernel of each convolution


def _stages(*counts: int) -> Kernels:
    return tuple((3,) * count for count in counts)


CONFIGURATIONS: dict[str, tuple[str, Kernels]] = {
    "vgg11": ("A", _stages(1, 1, 2, 2, 2)),
    "vgg13": ("B", _stages(2, 2, 2, 2, 2)),
    "vgg16_c": ("C", ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))),
    "vgg16": ("D", _stages(2, 2, 3, 3, 3)),
    "vgg19": ("E", _stages(2, 2, 4, 4, 4)),
}


def vgg(configuration: str, norms: bool = False) -> Net:
    """The network of a row of `CONFIGURATIONS`, with norms or without."""
    convolutions = _convolutions(CONFIGURATIONS[configuration][1], WIDTHS, norms, maxpool(2))
    return Net(*convolutions, adaptiveavgpool(7), *_head(4096))


def small(configuration: str) -> Net:
    """The same, narrow, for 28 or 32 px."""
    widths = tuple(width // 4 for width in WIDTHS)
    pool = maxpool(2, ceil=True)
    return Net(*_convolutions(CONFIGURATIONS[configuration][1], widths, False, pool), *_head(512))


def _convolutions(
    kernels: Kernels, widths: tuple[int, ...], norms: bool, pool: maxpool
) -> list[Layer | type[Layer]]:
    layers: list[Layer | type[Layer]] = []
    for stage, (stage_kernels, width) in enumerate(zip(kernels, widths, strict=True), start=1):
        for number, kernel in enumerate(stage_kernels, start=1):
            layers.append(conv(width, kernel, padding=kernel // 2, name=f"conv{stage}_{number}"))
            layers += [batchnorm, relu] if norms else [relu]
        layers.append(pool)
    return layers


def _head(width: int) -> list[Layer | type[Layer]]:
    return [
        flatten, dense(width, name="fc6"), relu, dropout(0.5), dense(width, name="fc7"), relu, dropout(0.5),
        dense(classes, name="fc8"),
    ]  # fmt: skip


def _entry(name: str, configuration: str, norms: bool = False) -> Entry:
    letter, kernels = CONFIGURATIONS[configuration]
    layers = sum(map(len, kernels)) + 3
    description = f"VGG {letter}, {layers} layers" + (", with norms" if norms else "")
    builder = None if configuration == "vgg16_c" else name
    make = partial(vgg, configuration, norms)
    return Entry(name, "vgg", make, (3, 224, 224), 1000, 2014, description, builder)


def _small_entry(configuration: str) -> Entry:
    name, letter = f"{configuration}_small", CONFIGURATIONS[configuration][0]
    return Entry(
        name, "vgg", partial(small, configuration), (3, 32, 32), 10, None, f"VGG {letter} for 28 or 32 px"
    )


ENTRIES = (
    *(_entry(name, name) for name in CONFIGURATIONS),
    *(_entry(f"{name}_bn", name, norms=True) for name in ("vgg11", "vgg13", "vgg16", "vgg19")),
    *(_small_entry(name) for name in ("vgg11", "vgg16")),
)
