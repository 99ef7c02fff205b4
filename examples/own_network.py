"""Write a network in words, see what each layer costs, and read its text back.

python examples/own_network.py
"""

from __future__ import annotations

from convscope import Net
from convscope.layers import batchnorm, classes, conv, dense, globalpool, maxpool, relu, residual


def stage(filters: int) -> list[object]:
    """Halve the map, change its depth, then one residual block."""
    body = (
        conv(filters, 3, padding=1, bias=False),
        batchnorm,
        relu,
        conv(filters, 3, padding=1, bias=False),
        batchnorm,
    )
    return [maxpool(2), conv(filters, 1), residual(*body), relu]


def main() -> None:
    """A small residual network for 32×32 colour pictures."""
    net = Net(conv(16, 3, padding=1), relu, *stage(32), *stage(64), globalpool, dense(classes))
    inference = net.infer((3, 32, 32), classes=10)
    for step in inference.steps:
        print(
            f"{step.name:<20}{step.output_shape!s:<16}{step.parameters:>8,} parameters{step.macs:>12,} MACs"
        )
    print(f"{inference.parameters:,} parameters, {inference.macs:,} multiply-adds for one picture")

    assert Net.parse(str(net)) == net, "the text of a network is the network"
    assert inference.output_shape == (10,), "ten scores, one a class"


if __name__ == "__main__":
    main()
