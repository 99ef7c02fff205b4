"""The lecture's small numbers, each computed by the package and compared with what the lecture prints."""

from __future__ import annotations

import pytest
import torch

from convscope import nets
from convscope.layers import conv, dense, flatten, lppool, maxpool
from convscope.net import Net


def test_a_local_filter_has_76_parameters_and_a_full_template_3073():
    assert conv(1, 5).parameters((3, 32, 32)) == 76
    assert Net(flatten, dense(1)).infer((3, 32, 32)).parameters == 3073


def test_5x5_on_32x32_gives_28x28():
    assert conv(6, 5).output_shape((3, 32, 32)) == (6, 28, 28)
    assert conv(6, 5).parameters((3, 32, 32)) == (5 * 5 * 3 + 1) * 6 == 456


def test_two_rings_of_zeros_make_36x36_and_keep_32x32():
    padded = conv(3, 5, padding=2)
    (rows, columns) = padded._slides((3, 32, 32))
    assert rows.size + rows.before + rows.after == columns.size + columns.before + columns.after == 36
    assert padded.output_shape((3, 32, 32)) == (3, 32, 32)


def test_100_nodes_on_200x200x3_need_12_million_weights():
    inference = Net(flatten, dense(100)).infer((3, 200, 200))
    assert inference.parameters == 12_000_100
    assert inference.macs == 12_000_000


def test_twenty_maps_have_fewer_weights_and_more_nodes_and_multiplications():
    maps = Net(conv(20, 5)).infer((3, 32, 32))
    nodes = Net(flatten, dense(20)).infer((3, 32, 32))
    assert (maps.parameters, nodes.parameters) == (1_520, 61_460)
    assert (maps.macs, nodes.macs) == (1_176_000, 61_440)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (maxpool(2), [[6, 8], [3, 4]]),
        (lppool(2, p=1), [[13, 21], [8, 8]]),
        (lppool(2, p=2), [[63**0.5, 133**0.5], [18**0.5, 26**0.5]]),
    ],
)
def test_the_pooling_example(layer, expected):
    picture = torch.tensor([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[None, None]
    pooled = layer.module((1, 4, 4))(picture)
    assert torch.allclose(pooled[0, 0], torch.tensor(expected, dtype=torch.float32), rtol=1e-6)


def test_a_large_power_is_nearly_the_maximum():
    picture = torch.tensor([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[None, None]
    pooled = lppool(2, p=64).module((1, 4, 4))(picture)
    assert torch.allclose(pooled[0, 0], torch.tensor([[6.0, 8.0], [3.0, 4.0]]), rtol=0.02)
    assert torch.isfinite(lppool(2, p=64).module((1, 4, 4))(picture * 1e9)).all()


def test_the_lecture_network():
    inference = nets.get("lecture").net.infer((1, 28, 28))
    assert inference.parameters == 1_199_882
    assert inference.macs == 11_992_448
    assert [step.parameters for step in inference.steps if step.parameters] == [320, 18_496, 1_179_776, 1_290]


def test_without_the_pool_it_has_4738826_parameters():
    layers = [layer for layer in nets.get("lecture").net.layers if layer.word != "maxpool"]
    assert Net(*layers).infer((1, 28, 28)).parameters == 4_738_826


def test_the_linear_classifier():
    assert nets.get("linear").net.infer((3, 32, 32)).parameters == 30_730


@pytest.mark.parametrize(("stride", "padding", "shape"), [(1, 0, (4, 4)), (2, (0, 1, 0, 0), (2, 3))])
def test_a_2x2_filter_on_5x5_and_one_column_of_zeros_at_the_right(stride, padding, shape):
    assert conv(1, 2, stride=stride, padding=padding).output_shape((1, 5, 5))[1:] == shape


def test_the_size_formula_of_the_chapter():
    assert conv(1, 3).output_shape((1, 10, 10)) == (1, 8, 8)
    assert conv(1, 3, stride=2).output_shape((1, 10, 10)) == (1, 4, 4)  # 4.5, rounded down
