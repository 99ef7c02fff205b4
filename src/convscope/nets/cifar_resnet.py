"""The narrow ResNets of the paper's CIFAR-10 experiments, 6n + 2 layers deep, and the plain nets beside them.

    3×32×32 → 16@32×32 → layer1 16@32×32 → layer2 32@16×16 → layer3 64@8×8 → mean → 64 → 10

Source: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015, section 4.2. n = 3, 5, 7, 9, 18
blocks a stage; shortcuts without parameters (option A): 269,722 / 464,154 / 658,586 / 853,018 / 1,727,962 parameters.
Nothing differs from the paper. The `_b` forms have projections where the shape changes (option B), as often found
elsewhere: 272,474 for 20 layers. `cifar_plain…` has no shortcuts: the paper's nets that get worse with depth.
"""

from functools import partial

from convscope.layers import batchnorm, classes, conv, dense, globalpool, relu
from convscope.net import Net
from convscope.nets._entry import Entry
from convscope.nets.resnet import basic, stage

BLOCKS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}
WIDTH = 16


def net(blocks: int, shortcut: str | None) -> Net:
    """Three stages of `blocks` blocks; without a shortcut the plain net."""
    first = None if shortcut is None else "identity"
    return Net(
        conv(WIDTH, 3, padding=1, bias=False, name="conv1"), batchnorm, relu,
        stage("layer1", basic, WIDTH, 1, blocks, first),
        stage("layer2", basic, 2 * WIDTH, 2, blocks, shortcut),
        stage("layer3", basic, 4 * WIDTH, 2, blocks, shortcut),
        globalpool, dense(classes, name="fc"),
    )  # fmt: skip


def _entry(name: str, depth: int, shortcut: str | None, told: str) -> Entry:
    make = partial(net, BLOCKS[depth], shortcut)
    return Entry(name, "cifar_resnet", make, (3, 32, 32), 10, 2015, f"{depth} layers for CIFAR-10, {told}")


ENTRIES = (
    *(_entry(f"cifar_resnet{d}", d, "zeropad", "shortcuts without parameters") for d in BLOCKS),
    *(_entry(f"cifar_resnet{d}_b", d, "projection", "projection shortcuts") for d in BLOCKS),
    *(_entry(f"cifar_plain{d}", d, None, "no shortcuts") for d in BLOCKS),
)
