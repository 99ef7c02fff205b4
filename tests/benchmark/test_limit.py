"""The measured limit: every product is found with its right size, every other layer with its bytes. No timing."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from convscope import nets
from convscope.benchmark import limit as limit_module
from convscope.benchmark.limit import (
    FORWARD,
    INPUT_GRADIENT,
    MEMORY,
    WEIGHT_GRADIENT,
    Clock,
    Limit,
    Mover,
    Part,
    Product,
    dtype_of,
    layers_of,
    moved_bytes,
    optimizer_bytes,
    product_parts,
    step_limit,
)
from convscope.engine import make_plan
from convscope.net import Net
from convscope.training.optimizers import SGD, Adadelta, Adam, RMSprop

LECTURE = nets.get("lecture").net.bind(10)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation runs once, and each takes a second more than the one before."""
    seconds = itertools.count(1.0)

    def took(self: Clock, operation: object) -> float:
        operation()  # type: ignore[operator]
        return next(seconds)

    monkeypatch.setattr(Clock, "_best_s", took)


def products(net: Net, shape: tuple[int, int, int]) -> list[Product]:
    return [layer for layer in layers_of(net.build(shape).train(), shape) if isinstance(layer, Product)]


def test_the_lectures_products() -> None:
    found = products(LECTURE, (1, 28, 28))
    assert [product.weight for product in found] == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 9216), (10, 128)]
    assert [product.learns_before for product in found] == [False, True, True, True]
    assert [product.input_shape for product in found] == [(1, 28, 28), (32, 26, 26), (9216,), (128,)]


@pytest.mark.parametrize(
    "name", ["lecture", "lenet5", "cifar_resnet20_b", "resnet18_small", "googlenet_small"]
)
def test_forward_macs_are_those_of_the_description(name: str, quick: None) -> None:
    """An independent count: `Net.infer` knows nothing of the modules that are looked at here."""
    entry = nets.get(name)
    net = entry.net.bind(10)
    inference = net.infer(entry.input_shape)
    clock = Clock("cpu", torch.float32, 0.0)
    parts = [p for layer in products(net, entry.input_shape) for p in product_parts(layer, 1, clock)]
    counted = sum(part.macs for part in parts if part.what == FORWARD)
    tables = name == "lenet5"  # its table of connections is computed as a full convolution
    expected = sum(step.macs for step in inference.steps if step.kind not in ("subsample", "rbf"))
    assert counted > expected if tables else counted == expected


def test_unequal_padding_is_put_on_before() -> None:
    (found,) = products(Net.parse('conv(4, 2, padding="same"), globalpool').bind(4), (1, 5, 5))
    assert found.input_shape == (1, 6, 6)
    assert found.padding == (0, 0)


def test_parts_of_a_step(quick: None) -> None:
    found = step_limit(LECTURE, (1, 28, 28), 4, make_plan("cpu"))
    of_conv1 = [part.what for part in found.parts if part.name == "conv1"]
    of_conv2 = [part.what for part in found.parts if part.name == "conv2"]
    assert of_conv1 == [FORWARD, WEIGHT_GRADIENT]
    assert of_conv2 == [FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT]
    moved = {part.name: part.moved_bytes for part in found.parts if part.what == MEMORY}
    assert moved == {
        "maxpool1": 4 * 4 * 2 * (64 * 24 * 24 + 64 * 12 * 12),
        "images": 4 * 784 * 5,
        "optimizer": 28 * 1_199_882,
    }
    assert found.step_s == sum(part.seconds for part in found.parts)
    assert found.images_per_s == 4 / found.step_s


def test_the_best_layout_counts(quick: None) -> None:
    """The clock here runs backwards from way to way, so the best is the first of each."""
    clock = Clock("cpu", torch.float32, 0.0)
    assert clock.best_s(lambda: 0, lambda: 0) < clock.best_s(lambda: 0)


def test_the_best_of_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 3.0, 2.0, 4.0])  # the first is for warming up
    monkeypatch.setattr(Clock, "_time_s", lambda self, operation: next(times))
    assert Clock("cpu", torch.float32, 0.0).best_s(lambda: 0) == 2.0


def test_the_same_bytes_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sizes = Clock("cpu", torch.float32, 0.0), []
    monkeypatch.setattr(clock, "_best_s", lambda copy: sizes.append(copy.args[0].nbytes) or 1.0)
    assert [clock.copy_s(100), clock.copy_s(100), clock.copy_s(60)] == [1.0, 1.0, 1.0]
    assert sizes == [50, 30]


def gradients(product: Product, clock: Clock) -> dict[str, list[object]]:
    """What the ways to compute each part return, less those that are not asked for."""
    ways = limit_module._dense_ways if len(product.weight) == 2 else limit_module._convolution_ways
    return {what: [way() for way in each] for what, each in ways(product, 3, clock)[1].items()}


@pytest.mark.parametrize("text", ["flatten, dense(5)", "conv(6, 3, stride=2, padding=1), globalpool"])
def test_each_way_does_the_work(text: str) -> None:
    """The shapes that come out are those of the forward and of the two gradients."""
    (product,) = products(Net.parse(text), (2, 8, 8))
    found = gradients(product, Clock("cpu", torch.float32, 0.0))
    batch = (3, *product.input_shape)
    if len(product.weight) == 2:
        assert {tuple(way.shape) for way in found[FORWARD]} == {(3, 5)}
        assert {tuple(way.shape) for way in found[INPUT_GRADIENT]} == {batch}
        assert {tuple(way.shape) for way in found[WEIGHT_GRADIENT]} == {(5, 128), (128, 5)}
    else:
        assert {tuple(way.shape) for way in found[FORWARD]} == {(3, 6, 4, 4)}
        assert {tuple(way[0].shape) for way in found[INPUT_GRADIENT]} == {batch}
        assert {tuple(way[1].shape) for way in found[WEIGHT_GRADIENT]} == {product.weight}
        assert all(way[0] is None for way in found[WEIGHT_GRADIENT])


@pytest.mark.parametrize(
    ("module", "numbers"),
    [
        (nn.ReLU(), 0),
        (nn.Flatten(), 0),
        (nn.BatchNorm2d(2), 8 * 100),
        (nn.MaxPool2d(2), 2 * (100 + 25)),
        (nn.AvgPool2d(2), 2 * (100 + 25)),
    ],
)
def test_bytes_of_other_layers(module: nn.Module, numbers: int) -> None:
    assert moved_bytes(Mover("name", module, 100, 25), 2) == ("name", 2 * numbers)


def test_residual_sums_and_norms_of_a_residual_net(quick: None) -> None:
    entry = nets.get("cifar_resnet20")
    found = step_limit(entry.net.bind(10), entry.input_shape, 2, make_plan("cpu"))
    moved = {part.name: part.moved_bytes for part in found.parts if part.what == MEMORY}
    assert moved["layer1.residual1"] == 2 * 4 * 2 * 16 * 32 * 32
    assert moved["batchnorm1"] == 2 * 4 * 8 * 16 * 32 * 32
    assert not any("relu" in name for name in moved)


def test_bytes_of_optimizers() -> None:
    assert optimizer_bytes(10, Adadelta(), 4) == optimizer_bytes(10, Adam(), 4) == 10 * 28
    assert optimizer_bytes(10, SGD(), 4) == optimizer_bytes(10, RMSprop(), 4) == 10 * 20
    assert optimizer_bytes(10, SGD(), 2) == 10 * (16 + 2 + 2)  # a narrow gradient and a narrow working copy


def test_json_there_and_back() -> None:
    found = Limit(
        "float32", 8, (Part("conv1", FORWARD, 0.5, macs=7), Part("images", MEMORY, 1.5, moved_bytes=9))
    )
    document = found.to_json()
    assert document["images_per_s"] == 4.0
    assert Limit.from_json(document) == found


def test_precisions() -> None:
    assert dtype_of("bfloat16") is torch.bfloat16
    assert dtype_of("float32") is torch.float32


def test_bfloat16_is_measured_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    seen = []
    monkeypatch.setattr(Clock, "_best_s", lambda self, operation: seen.append(self.dtype) or 1.0)
    found = step_limit(
        Net.parse("flatten, dense(3)"), (1, 4, 4), 2, replace(make_plan("cpu"), precision="bfloat16")
    )
    assert set(seen) == {torch.bfloat16}
    assert found.precision == "bfloat16"
