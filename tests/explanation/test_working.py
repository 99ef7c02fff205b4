"""One number of every kind of layer, computed again from its own input and weights, against the network's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convscope import nets
from convscope.errors import ConvscopeError
from convscope.explanation import explain
from convscope.explanation.tracing import Tracer
from convscope.explanation.working import work_out
from convscope.model_file import Model
from convscope.net import Net

from .conftest import noise, random_model

pytestmark = pytest.mark.slow

EVERYTHING = """
conv(6, 3, padding=(1, 2), stride=(1, 2)), batchnorm, relu, lrn,
conv(6, 3, padding="same", dilation=2, groups=2, bias=False), tanh(amplitude=1.7159, slope=0.66),
conv(3, 2, table=((0, 2), (1, 3, 5), (4,))), sigmoid,
branches([maxpool(3, stride=1, padding=1), relu6], [avgpool(3, stride=1, padding=1)],
         [avgpool(3, stride=1, padding=1, count_padding=True)], [lppool(3, stride=1, padding="same", p=3)], []),
subsample(2, ceil=True), maxpool(2, ceil=True, padding=1), identity,
residual(conv(20, 1), batchnorm, shortcut="projection"), batchnorm(scale=False), gelu,
aux(globalpool, dense(classes), weight=0.3), block("head", conv(5, 1), adaptiveavgpool((3, 2))),
flatten, dropout(0.5), dense(7), relu, dense(classes, bias=False), softmax
"""


def tracer(model: Model) -> Tracer:
    rng = np.random.default_rng(3)
    return Tracer(model, rng.integers(0, 256, model.input_shape, dtype=np.uint8))


@pytest.fixture(scope="module")
def everything() -> Tracer:
    return tracer(random_model(EVERYTHING))


NAMES = list(Net.parse(EVERYTHING).infer((1, 12, 12), 4).shapes)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_is_the_networks_own(everything: Tracer, name: str) -> None:
    shape = everything.shapes(name)[1]
    rng = np.random.default_rng(5)
    output = everything.module.activations(everything.images, [name])[name][0].detach()
    places = [tuple(0 for _ in shape), tuple(size - 1 for size in shape)]
    places += [tuple(int(rng.integers(size)) for size in shape) for _ in range(6)]
    for place in places:
        at = place if len(place) == 1 else (place[1], place[2], place[0])
        working = work_out(everything, name, at)
        assert working.position == place
        assert working.own == float(output[place])
        assert working.computed == pytest.approx(working.own, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["lenet5_28", "alexnet_small", "googlenet_small", "resnet18_small", "cifar_resnet20"]
)
def test_the_zoo_adds_up(name: str) -> None:
    entry = nets.get(name)
    looked = tracer(random_model(entry.net, entry.input_shape, entry.classes))
    scale = {k: float(np.abs(p.after).max()) for k, p in looked.passages(looked.nodes).items()}
    for layer in looked.nodes:
        working = work_out(looked, layer, None)
        assert abs(working.computed - working.own) <= 1e-5 * max(1.0, scale[layer]), layer


def test_the_lectures_75_products(tmp_path: Path) -> None:
    model = random_model("conv(6, 5), relu, flatten, dense(classes)", (3, 32, 32))
    found = explain(model, noise(tmp_path / "a.png", (3, 32, 32)), layer="conv1", at=(7, 10, 2)).working
    assert found is not None
    assert found.products is not None
    assert found.products.shape == (3, 5, 5)
    assert found.formula == "a = Σ w·x over 3·5·5 = 75 products + b"
    assert found.computed == pytest.approx(float(found.products.sum()) + (found.bias or 0), abs=1e-12)
    assert found.rows == (7, 8, 9, 10, 11)
    assert [step.name for step in found.steps] == ["relu1"]
    assert found.to_json()["z"] == max(0.0, found.to_json()["a_of_network"])


def test_padding_is_zero_and_outside(everything: Tracer) -> None:
    working = work_out(everything, "conv1", (0, 0, 1))
    assert working.inside is not None
    assert working.patch is not None
    assert not working.inside[0, 0]
    assert (working.patch[:, ~working.inside] == 0).all()
    assert working.rows[0] == -1


def test_the_winner_of_a_maximum(everything: Tracer) -> None:
    working = work_out(everything, "branches1.maxpool1", (0, 0, 1))
    assert working.winner is not None
    assert working.patch is not None
    assert working.patch[0][working.winner] == pytest.approx(working.own)


def test_steps_are_what_follows(everything: Tracer) -> None:
    working = work_out(everything, "conv1", (3, 3, 2))
    assert [step.name for step in working.steps] == ["batchnorm1", "relu1"]
    after = everything.module.activations(everything.images, ["relu1"])["relu1"].detach()
    assert working.steps[-1].value == float(after[0, 2, 3, 3])


def test_a_map_left_out_is_the_strongest(everything: Tracer) -> None:
    output = everything.module.activations(everything.images, ["conv1"])["conv1"][0].detach()
    assert work_out(everything, "conv1", (4, 4)).position == (int(output[:, 4, 4].argmax()), 4, 4)


def test_dense_contributions_know_their_place(everything: Tracer) -> None:
    working = work_out(everything, "dense1", (3,))
    assert working.places == (5, 3, 2)
    assert working.contributions is not None
    assert working.contributions.sum() + (working.bias or 0) == pytest.approx(working.own, abs=1e-5)


@pytest.mark.parametrize(
    ("layer", "at", "texts"),
    [
        ("conv11", (0, 0), ["no layer is named 'conv11'", "one of conv1, batchnorm1", "Did you mean 'conv1'?"]),
        ("conv1", (99, 0), ["position 99,0 of conv1 is outside its maps of 12×7", "to 11 and a column from 0 to 6"]),
        ("conv1", (0, 0, 6), ["map 6 of conv1, which makes 6", "a map from 0 to 5"]),
        ("conv1", (0,), ["which makes 6 maps of 12×7", "ROW,COLUMN or ROW,COLUMN,MAP"]),
        ("dense1", (1, 2), ["no maps but a vector of 7 numbers", "Try --at 1, or a layer with maps: conv1"]),
        ("dense1", (7,), ["position 7 of dense1, which has 7 numbers", "0 to 6"]),
        (None, (1, 2), ["a position without a layer", "Try --layer conv1"]),
    ],
)  # fmt: skip
def test_refusals(picture: Path, layer: str | None, at: tuple[int, ...], texts: list[str]) -> None:
    with pytest.raises(ConvscopeError) as caught:
        explain(random_model(EVERYTHING), picture, layer=layer, at=at)
    for text in texts:
        assert text in str(caught.value)


def test_the_list_of_layers_is_bounded(picture: Path) -> None:
    model = random_model("repeat(300, relu), flatten, dense(classes)")
    with pytest.raises(ConvscopeError, match=r"relu80 and 222 more"):
        explain(model, picture, layer="nothing")


def test_looking_changes_nothing(picture: Path) -> None:
    model = random_model(EVERYTHING)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    explain(model, picture, layer="conv1")
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
