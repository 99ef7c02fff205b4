"""Each layer's torch output against an independent computation in NumPy, written as plain loops over positions."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from convscope.layers import (
    PLAIN_WORDS,
    adaptiveavgpool,
    avgpool,
    batchnorm,
    branches,
    conv,
    dense,
    dropout,
    flatten,
    gelu,
    globalpool,
    identity,
    lppool,
    lrn,
    maxpool,
    rbf,
    relu,
    relu6,
    residual,
    sigmoid,
    softmax,
    subsample,
    tanh,
)  # fmt: skip
from convscope.net import Net

SHAPE = (4, 7, 9)
RNG = np.random.default_rng(0)


def run(layer, images):
    """The layer in a net of its own, on (N, C, H, W) float64 images; returns its output and its parameters."""
    network = Net(layer).build(images.shape[1:]).double().eval()
    with torch.no_grad():
        output = network(torch.from_numpy(images)).numpy()
    return output, {name: value.numpy() for name, value in network.state_dict().items()}


def images(shape=SHAPE):
    return RNG.normal(size=(2, *shape))


def padded(x, sides, value=0.0):
    left, right, top, bottom = sides
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def correlate(x, weight, bias, stride, dilation, groups):
    """Cross-correlation by loops: x (N, C, H, W) already padded."""
    filters, depth, kernel_rows, kernel_columns = weight.shape
    rows = (x.shape[2] - (kernel_rows - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (x.shape[3] - (kernel_columns - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((len(x), filters, rows, columns))
    for n, f, i, j in product(range(len(x)), range(filters), range(rows), range(columns)):
        first = f // (filters // groups) * depth
        total = bias[f] if bias is not None else 0.0
        for c, a, b in product(range(depth), range(kernel_rows), range(kernel_columns)):
            pixel = x[n, first + c, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]]
            total += weight[f, c, a, b] * pixel
        out[n, f, i, j] = total
    return out


@pytest.mark.parametrize(
    ("layer", "sides", "stride", "dilation", "groups"),
    [
        (conv(3, 3), (0, 0, 0, 0), (1, 1), (1, 1), 1),
        (conv(4, (2, 3), stride=(2, 1), padding=1), (1, 1, 1, 1), (2, 1), (1, 1), 1),
        (conv(4, 3, padding="same"), (1, 1, 1, 1), (1, 1), (1, 1), 1),
        (conv(4, 2, padding="same"), (0, 1, 0, 1), (1, 1), (1, 1), 1),
        (conv(4, 3, stride=2, padding="same"), (1, 1, 1, 1), (2, 2), (1, 1), 1),
        (conv(2, 2, stride=2, padding=(0, 1, 0, 0)), (0, 1, 0, 0), (2, 2), (1, 1), 1),
        (conv(4, 2, dilation=2), (0, 0, 0, 0), (1, 1), (2, 2), 1),
        (conv(6, 3, groups=2), (0, 0, 0, 0), (1, 1), (1, 1), 2),
        (conv(4, 3, groups=4, bias=False), (0, 0, 0, 0), (1, 1), (1, 1), 4),
    ],
    ids=str,
)
def test_conv(layer, sides, stride, dilation, groups):
    x = images()
    output, state = run(layer, x)
    expected = correlate(
        padded(x, sides), state["conv1.weight"], state.get("conv1.bias"), stride, dilation, groups
    )
    np.testing.assert_allclose(output, expected, atol=1e-12)


def test_conv_with_a_connection_table():
    x, table = images(), ((0, 1), (1, 2, 3), (0, 3))
    output, state = run(conv(3, 3, table=table, padding=1), x)
    weight, link = np.zeros((3, 4, 3, 3)), 0
    for f, row in enumerate(table):
        for c in row:
            weight[f, c] = state["conv1.weight"][link]
            link += 1
    expected = correlate(padded(x, (1, 1, 1, 1)), weight, state["conv1.bias"], (1, 1), (1, 1), 1)
    np.testing.assert_allclose(output, expected, atol=1e-12)
    assert conv(3, 3, table=table).parameters(SHAPE) == 7 * 9 + 3 == link * 9 + 3


def windows(x, extent, step, sides, ceil, fill):
    """For each output place the list of numbers in its window, missing ones left out."""
    left, _, top, _ = sides
    whole = padded(x, sides, fill)
    round_up = math.ceil if ceil else math.floor
    rows = round_up((whole.shape[2] - extent[0]) / step[0]) + 1
    columns = round_up((whole.shape[3] - extent[1]) / step[1]) + 1
    rows -= (rows - 1) * step[0] >= x.shape[2] + top
    columns -= (columns - 1) * step[1] >= x.shape[3] + left

    def box(i, j):
        return whole[:, :, i * step[0] : i * step[0] + extent[0], j * step[1] : j * step[1] + extent[1]]

    return rows, columns, [[box(i, j) for j in range(columns)] for i in range(rows)]


POOLS = [
    {"args": (2,), "sides": (0, 0, 0, 0)},
    {"args": (3,), "stride": 2, "sides": (0, 0, 0, 0)},
    {"args": (3,), "stride": 2, "padding": 1, "sides": (1, 1, 1, 1)},
    {"args": ((2, 3),), "stride": (1, 2), "sides": (0, 0, 0, 0)},
    {"args": (3,), "stride": 2, "ceil": True, "sides": (0, 0, 0, 0)},
    {"args": (2,), "stride": 2, "padding": 1, "ceil": True, "sides": (1, 1, 1, 1)},
    {"args": (2,), "stride": 1, "padding": "same", "sides": (0, 1, 0, 1)},
    {"args": (3,), "stride": 1, "padding": (1, 0, 0, 1), "sides": (1, 0, 0, 1)},
]


@pytest.mark.parametrize("case", POOLS, ids=str)
@pytest.mark.parametrize("word", [maxpool, avgpool, lppool, subsample])
def test_pools(word, case):
    keywords = {k: v for k, v in case.items() if k not in ("args", "sides")}
    layer, x = word(*case["args"], **keywords), images()
    fill = {"maxpool": -np.inf, "avgpool": np.nan}.get(word.__name__, 0.0)
    rows, columns, boxes = windows(
        x, layer.extent, layer.step, case["sides"], keywords.get("ceil", False), fill
    )
    reduce = {
        "maxpool": lambda box: box.max((2, 3)),
        "avgpool": lambda box: np.nanmean(box, (2, 3)),
        "lppool": lambda box: (box**2).sum((2, 3)) ** 0.5,
        "subsample": lambda box: box.sum((2, 3)) / (layer.extent[0] * layer.extent[1]),
    }[word.__name__]
    expected = np.stack([np.stack([reduce(box) for box in line], -1) for line in boxes], -2)
    output, _ = run(layer, x)
    assert output.shape == (2, *layer.output_shape(SHAPE)) == (2, 4, rows, columns)
    # float64 throughout, but the coefficient of subsample starts as a float32 number
    np.testing.assert_allclose(output, expected, rtol=1e-7)


@pytest.mark.parametrize("p", [1, 2, 3.5, 64, 300])
def test_lppool_powers(p):
    x = images()
    output, _ = run(lppool(2, p=p), x)
    box = np.stack([x[:, :, i : 6 + i : 2, j : 8 + j : 2] for i in (0, 1) for j in (0, 1)])
    biggest = np.abs(box).max(0)
    np.testing.assert_allclose(output, biggest * ((np.abs(box) / biggest) ** p).sum(0) ** (1 / p), rtol=1e-9)


def test_lppool_of_zeros_has_no_bad_gradient():
    zeros = torch.zeros(1, 1, 4, 4, requires_grad=True)
    lppool(2).module((1, 4, 4))(zeros).sum().backward()
    assert torch.isfinite(zeros.grad).all()


def test_avgpool_may_count_its_padding():
    output, _ = run(avgpool(2, stride=2, padding=1, count_padding=True), np.ones((1, 1, 4, 4)))
    np.testing.assert_allclose(output[0, 0], [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    uneven, _ = run(avgpool(2, stride=1, padding=(0, 1, 0, 0), count_padding=True), np.ones((1, 1, 2, 2)))
    np.testing.assert_allclose(uneven[0, 0], [[1, 0.5]])


@pytest.mark.parametrize("size", [1, 3, (2, 5), 7])
def test_adaptiveavgpool(size):
    x, layer = images(), adaptiveavgpool(size)
    _, rows, columns = layer.output_shape(SHAPE)
    expected = np.zeros((2, 4, rows, columns))
    for i, j in product(range(rows), range(columns)):
        r = slice(i * 7 // rows, math.ceil((i + 1) * 7 / rows))
        c = slice(j * 9 // columns, math.ceil((j + 1) * 9 / columns))
        expected[:, :, i, j] = x[:, :, r, c].mean((2, 3))
    np.testing.assert_allclose(run(layer, x)[0], expected, atol=1e-12)


NUMBERS = {
    relu: lambda a: np.maximum(a, 0),
    relu6: lambda a: np.minimum(np.maximum(a, 0), 6),
    gelu: lambda a: a * (1 + np.vectorize(math.erf)(a / math.sqrt(2))) / 2,
    sigmoid: lambda a: 1 / (1 + np.exp(-a)),
    tanh: np.tanh,
    identity: lambda a: a,
    flatten: lambda a: a.reshape(len(a), -1),
    globalpool: lambda a: a.mean((2, 3)),
    softmax: lambda a: a,  # at the end of a net the scores come before it; see the next test
}


@pytest.mark.parametrize("word", NUMBERS, ids=lambda word: word.__name__)
def test_number_by_number(word):
    x = 5 * images()
    np.testing.assert_allclose(run(word, x)[0], NUMBERS[word](x), atol=1e-12)


def test_softmax_within_a_net():
    x = images()
    z = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    output, _ = run_all([softmax, identity], x)
    np.testing.assert_allclose(output, z, atol=1e-12)


def run_all(layers, x):
    network = Net(*layers).build(x.shape[1:]).double().eval()
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy(), network


def test_scaled_tanh():
    x = images()
    np.testing.assert_allclose(
        run(tanh(amplitude=1.7159, slope=2 / 3), x)[0], 1.7159 * np.tanh(2 / 3 * x), atol=1e-12
    )
    assert 1.7159 * np.tanh(2 / 3) == pytest.approx(1, abs=1e-4)


def test_globalpool_max():
    x = images()
    np.testing.assert_array_equal(run(globalpool("max"), x)[0], x.max((2, 3)))


def test_dense():
    x = images()
    output, network = run_all([flatten, dense(5)], x)
    weight, bias = network.dense1.weight.detach().numpy(), network.dense1.bias.detach().numpy()
    expected = [
        [sum(weight[k, i] * row[i] for i in range(252)) + bias[k] for k in range(5)]
        for row in x.reshape(2, -1)
    ]
    np.testing.assert_allclose(output, expected, atol=1e-12)


@pytest.mark.parametrize("scale", [True, False])
def test_batchnorm_in_training_and_in_evaluation(scale):
    x, eps = images(), 1e-5
    network = Net(batchnorm(momentum=0.3, scale=scale)).build(SHAPE).double()
    assert len(list(network.parameters())) == (2 if scale else 1)
    assert ("batchnorm1.weight" in network.state_dict()) is scale
    trained = network.train()(torch.from_numpy(x)).detach().numpy()
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shaped = (slice(None), None, None)
    np.testing.assert_allclose(trained, (x - mean[shaped]) / np.sqrt(variance + eps)[shaped], atol=1e-10)
    count = 2 * 7 * 9
    running_mean, running_variance = 0.3 * mean, 0.7 + 0.3 * variance * count / (count - 1)
    judged = network.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(
        judged, (x - running_mean[shaped]) / np.sqrt(running_variance + eps)[shaped], atol=1e-6
    )


@pytest.mark.parametrize(
    "layer", [lrn(), lrn(size=3, alpha=0.2, beta=0.5, k=1.0), lrn(size=3, alpha=1.0, groups=2)], ids=str
)
def test_lrn_is_the_formula_of_the_paper(layer):
    x = images()
    expected, in_group = np.zeros_like(x), 4 // layer.groups
    for c in range(4):
        low, high = c - layer.size // 2, c + layer.size // 2
        same = [n for n in range(4) if low <= n <= high and n // in_group == c // in_group]
        total = sum(x[:, n] ** 2 for n in same)
        expected[:, c] = x[:, c] / (layer.k + layer.alpha * total) ** layer.beta
    np.testing.assert_allclose(run(layer, x)[0], expected, rtol=1e-10)


def test_rbf_is_minus_the_distance_and_its_codes_are_distinct():
    x = images((1, 12, 7))
    output, network = run_all([flatten, rbf(10)], x)
    codes = network.rbf1.codes.numpy()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    assert len({tuple(code) for code in codes}) == 10
    expected = [[-((row - code) ** 2).sum() for code in codes] for row in x.reshape(2, 84)]
    np.testing.assert_allclose(output, expected, rtol=1e-12)
    assert not list(network.parameters())


def test_rbf_codes_for_other_sizes():
    codes = Net(flatten, rbf(100)).build((1, 3, 5)).rbf1.codes
    assert len({tuple(code.tolist()) for code in codes}) == 100


@pytest.mark.parametrize("word", ["identity", "zeropad", "projection"])
def test_residual_shortcuts(word):
    x = images((4, 8, 8))
    same = word == "identity"
    body = conv(4 if same else 6, 3, stride=1 if same else 2, padding=1)
    output, network = run_all([residual(body, shortcut=word)], x)
    inner = network.residual1
    with torch.no_grad():
        f = inner.conv1(torch.from_numpy(x)).numpy()
        if word == "zeropad":
            added = np.concatenate([x[:, :, ::2, ::2], np.zeros((2, 2, 4, 4))], 1)
        elif word == "projection":
            weight = inner.projection.weight.numpy()[:, :, 0, 0]
            added = np.einsum("fc,nchw->nfhw", weight, x[:, :, ::2, ::2]) / np.sqrt(1 + 1e-5)
        else:
            added = x
    np.testing.assert_allclose(output, f + added, atol=1e-12)


def test_branches_stack_their_maps():
    x = images()
    output, _ = run_all([branches([conv(2, 1)], [], [maxpool(3, stride=1, padding=1), conv(1, 1)])], x)
    assert output.shape == (2, 7, 7, 9)
    np.testing.assert_array_equal(output[:, 2:6], x)


def test_dropout_in_evaluation_does_nothing():
    x = images()
    np.testing.assert_array_equal(run(dropout(0.5), x)[0], x)


def test_every_word_has_a_test_here():
    tested = {
        conv,
        maxpool,
        avgpool,
        lppool,
        subsample,
        adaptiveavgpool,
        dense,
        batchnorm,
        lrn,
        rbf,
        dropout,
        *NUMBERS,
    }
    assert tested == set(PLAIN_WORDS)
