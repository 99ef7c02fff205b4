"""Contracts that every network of the zoo keeps, at the smallest picture it takes.

What needs no numbers runs on torch's meta device, which has shapes and gradients and no memory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convscope import nets
from convscope.data import Preprocessing
from convscope.engine.plan import make_plan
from convscope.engine.random import Draw
from convscope.errors import ShapeError
from convscope.model_file import Model, load_model, save_model
from convscope.net import Net
from convscope.nets import comparison
from convscope.reference import Network
from convscope.training import recipes
from convscope.training.material import make_network

from .published import COUNTS, FIELDS, SMALLEST

pytestmark = pytest.mark.slow

CLASSES = 7
BUILT = 4_000_000  # parameters up to which a network is built with numbers
ONE_A_FAMILY = ("alexnet", "vgg11", "resnet34", "googlenet")  # of the larger ones


def smallest(name: str, channels: int | None = None) -> tuple[int, int, int]:
    entry = nets.get(name)
    assert entry.smallest_px is not None
    return (channels or entry.input_shape[0], entry.smallest_px, entry.smallest_px)


def small_names() -> list[str]:
    return [name for name, counts in COUNTS.items() if counts[0] + counts[1] <= BUILT]


def with_numbers() -> list[object]:
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in ONE_A_FAMILY]
    return [*small_names(), *slow]


def test_every_network_has_its_published_counts() -> None:
    assert list(COUNTS) == nets.names()


@pytest.mark.parametrize("name", nets.names())
def test_counts(name: str) -> None:
    entry = nets.get(name)
    inference = entry.net.infer(entry.input_shape, entry.classes)
    counts = (
        inference.parameters,
        inference.parameters_training_only,
        inference.macs,
        inference.depth,
    )
    assert counts == COUNTS[name]
    assert inference.output_shape == (entry.classes,)
    assert entry.description


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_field_at_the_last_map(name: str) -> None:
    assert comparison.row(nets.get(name)).receptive_field == FIELDS[name]


@pytest.mark.parametrize("name", nets.names())
def test_text_comes_back(name: str) -> None:
    net = nets.get(name).net
    assert net.needs_classes
    assert Net.parse(str(net)) == net


@pytest.mark.parametrize("name", nets.names())
def test_the_smallest_picture_and_one_pixel_less(name: str) -> None:
    net, (channels, side, _) = nets.get(name).net, smallest(name)
    assert side == SMALLEST.get(name, side)
    assert net.infer((channels, side, side)).output_shape == (10,)
    if side > 1:
        with pytest.raises(ShapeError, match=rf"an input of at least {side}×{side} pixels"):
            net.infer((channels, side - 1, side - 1))


@pytest.mark.parametrize("name", nets.names())
def test_other_channels_classes_and_sides(name: str) -> None:
    net, (_, side, _) = nets.get(name).net, smallest(name)
    for shape in ((1, side, side), (4, side + 5, side + 19), (3, side, 2 * side + 1)):
        assert net.output_classes(shape, CLASSES) == CLASSES


@pytest.mark.parametrize("name", nets.names())
def test_shapes_and_gradients(name: str) -> None:
    shape = smallest(name)
    with torch.device("meta"):
        network = nets.get(name).net.build(shape, CLASSES)
        images = torch.empty(2, *shape)
    assert network.eval()(images).shape == (2, CLASSES)
    scores, extra = network.train().training_forward(images)
    assert {tuple(each.shape) for each in (scores, *(more for _, more in extra))} == {(2, CLASSES)}
    total = scores.sum() + sum((more.sum() for _, more in extra), torch.zeros((), device="meta"))
    total.backward()  # type: ignore[no-untyped-call]
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    inference = nets.get(name).net.infer(shape, CLASSES)
    counted = sum(p.numel() for p in network.parameters())
    assert counted == inference.parameters + inference.parameters_training_only


def built(name: str, seed: int = 0) -> Network:
    return make_network(
        nets.get(name).net.bind(CLASSES), smallest(name), recipes.get("fast"), seed, make_plan("cpu")
    )


@pytest.mark.parametrize("name", with_numbers())
def test_one_seed_one_network_and_one_file(name: str, tmp_path: Path) -> None:
    images = torch.rand(4, *smallest(name), generator=torch.Generator().manual_seed(1))
    network, again = built(name), built(name)
    assert torch.equal(_trained(network, images), _trained(again, images))
    scores = network.eval()(images)
    assert scores.isfinite().all()
    assert torch.equal(again.eval()(images), scores)
    del again
    assert torch.equal(_saved(network, smallest(name), tmp_path)(images), scores)


def _trained(network: Network, images: Tensor) -> Tensor:
    """The scores of a training pass, its dropout drawn from seed 0."""
    network.set_draw(Draw(0, 0, torch.arange(len(images))))
    return network.train().training_forward(images)[0]


def _saved(network: Network, shape: tuple[int, int, int], folder: Path) -> Network:
    names = tuple(f"class {k}" for k in range(CLASSES))
    model = Model(network.net, network, shape, names, Preprocessing(shape[1:], shape[0]), {})
    save_model(model, folder / "model.safetensors")
    return load_model(folder / "model.safetensors").module


@pytest.mark.parametrize("name", [name for name in nets.names() if name.endswith("_small")])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_small_forms_take_28_and_32_px_and_are_cheap(name: str, shape: tuple[int, int, int]) -> None:
    entry = nets.get(name)
    inference = entry.net.infer(shape)
    assert inference.macs <= 40_000_000
    large = {"googlenet_small": "googlenet"}.get(name, name.removesuffix("_small"))
    assert _kinds(name, shape) == _kinds(large, nets.get(large).input_shape)


def _kinds(name: str, shape: tuple[int, int, int]) -> list[tuple[str, object]]:
    """What stands after what, with the windows; a pool that changes nothing at the published size does not count."""
    steps = nets.get(name).net.infer(shape).steps
    return [
        (step.kind, getattr(step.layer, "kernel", getattr(step.layer, "window", None)))
        for step in steps
        if step.kind != "adaptiveavgpool"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in nets.names() if name.endswith("_small")])
def test_small_forms_learn_16_pictures_by_heart(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 1, 28, 28, generator=generator)
    labels = torch.arange(16) % 4
    recipe = replace(recipes.get("fast"), initialisation="he")  # rectified, and some without norms
    network = make_network(nets.get(name).net.bind(4), (1, 28, 28), recipe, 0, make_plan("cpu"))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)
    for _ in range(100):
        scores, extra = network.train().training_forward(images)
        loss = recipe.objective(scores, extra, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (network.eval()(images).argmax(1) == labels).all():
            return
    pytest.fail(f"{name} did not learn 16 pictures in 100 steps: loss {loss.item():.3f}")
