"""Whitening, identities, rates of single parameters: what they promise, and that a resumed run keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from convscope.data import ImageData
from convscope.engine.plan import make_plan
from convscope.errors import RecipeError
from convscope.model_file import load_model
from convscope.net import Net
from convscope.training import SGD, RateFactors, Recipe, Whitening
from convscope.training.initialisation import set_identities
from convscope.training.material import make_network
from convscope.training.optimizers import parameter_groups, set_rate
from convscope.training.rates import Rate, head_of, rates
from convscope.training.whitening import whiten

NET = "conv(8, 2), batchnorm, relu, flatten, dense(classes)"  # 8 = 2·2·2·1
RECIPE = Recipe("mine", SGD(rate=0.1), batch_size=16, epochs=2, whitening=Whitening(images=40))


def correlated(n: int, channels: int = 3) -> torch.Tensor:
    """Smooth images with a mean that is not 0 (n, channels, 10, 10)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, channels, 14, 14, generator=generator)
    smooth = functional.avg_pool2d(noise, 5, 1)
    return 3 * smooth + smooth.mean(1, keepdim=True) + 0.7


def test_what_leaves_is_uncorrelated_and_has_variance_one() -> None:
    images = correlated(64)
    module = Net.parse("conv(24, 2, bias=False), flatten, dense(classes)").build((3, 10, 10))
    whiten(module, Whitening(eps=1e-9), images)
    with torch.no_grad():
        responses = module.conv1(images).transpose(0, 1).flatten(1).double()  # (24, N·9·9)
    covariance = torch.cov(responses)
    torch.testing.assert_close(covariance[:12, :12], torch.eye(12).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(responses[12:], -responses[:12])


def test_eps_keeps_weak_directions_weak() -> None:
    images = correlated(64)
    module = Net.parse("conv(24, 2, bias=False), flatten, dense(classes)").build((3, 10, 10))
    whiten(module, Whitening(eps=0.5), images)
    with torch.no_grad():
        responses = module.conv1(images).transpose(0, 1).flatten(1).double()
    patches = functional.unfold(images, 2).transpose(1, 2).flatten(0, 1).double()
    variances = torch.linalg.eigvalsh(torch.cov(patches.T)).flip(0)
    torch.testing.assert_close(responses[:12].var(1), variances / (variances + 0.5), rtol=1e-3, atol=1e-4)


def test_only_the_weights_are_frozen() -> None:
    module = Net.parse(NET).build((1, 6, 6), 3)
    whiten(module, Whitening(), correlated(9, 1)[:, :, :6, :6])
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["conv1.weight"]


@pytest.mark.parametrize(
    ("net", "text"),
    [
        ("conv(9, 2), flatten, dense(classes)", r"conv1, which has 9 filters. Expected 2·2·2·1 = 8 filters"),
        ("flatten, dense(classes)", "whitening of a network without a convolution"),
    ],
)
def test_a_net_that_it_does_not_fit(run_train: Any, tmp_path: Any, net: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        run_train(net=net, recipe=RECIPE, batch_size=None)
    assert not (tmp_path / "run").exists()


def test_without_images_there_is_nothing_to_whiten() -> None:
    with pytest.raises(RecipeError, match="whitening without images"):
        make_network(Net.parse(NET).bind(3), (1, 6, 6), RECIPE, 0, make_plan("cpu"))


@pytest.mark.parametrize(
    ("values", "text"),
    [({"eps": 0}, "eps 0"), ({"images": 0}, "images 0"), ({"bias_share": 1.5}, "bias_share 1.5")],
)
def test_what_whitening_refuses(values: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Whitening(**values)


def test_the_filters_stay_and_the_bias_moves_for_its_share(run_train: Any, data: ImageData) -> None:
    run = run_train(net=NET, recipe=RECIPE, batch_size=None)
    trained = dict(load_model(run.folder).module.named_parameters())
    start = make_network(Net.parse(NET).bind(3), (1, 6, 6), RECIPE, 0, make_plan("cpu"), data)
    begun = dict(start.named_parameters())
    assert torch.equal(trained["conv1.weight"], begun["conv1.weight"])
    assert not torch.equal(trained["conv1.bias"], begun["conv1.bias"])
    still = replace(RECIPE, whitening=Whitening(images=40, bias_share=0.0))
    run = run_train(net=NET, recipe=still, batch_size=None, overwrite=True)
    assert torch.equal(
        dict(load_model(run.folder).module.named_parameters())["conv1.bias"], begun["conv1.bias"]
    )


def test_identities_hand_on_the_maps() -> None:
    net = Net.parse('conv(4, 3, padding="same", bias=False), conv(6, 3, padding=1), conv(2, 3, padding=1)')
    module = net.build((4, 7, 7))
    torch.nn.init.zeros_(module.conv2.bias)
    set_identities(module)
    images = torch.randn(2, 4, 7, 7)
    with torch.no_grad():
        assert torch.equal(module.conv1(images), images)
        assert torch.equal(module.conv2(images)[:, :4], images)
        more = module.conv2(images)[:, 4:]
    assert more.abs().max() > 0
    assert module.conv3.weight.count_nonzero() == 2  # two filters hand on two of the six maps


def test_identities_leave_other_convolutions_alone() -> None:
    module = Net.parse("conv(4, 1), conv(4, 5, padding=2), conv(4, 3, groups=2), flatten, dense(5)").build(
        (4, 7, 7)
    )
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    set_identities(module)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_the_gain_scales_the_head_alone() -> None:
    net = Net.parse("conv(4, 3), relu, aux(flatten, dense(classes)), flatten, dense(6), dense(classes)").bind(
        3
    )
    one, half = (
        make_network(
            net, (1, 6, 6), Recipe("r", SGD(), steps=1, head_gain=gain), 0, make_plan("cpu")
        ).state_dict()
        for gain in (1.0, 0.5)
    )
    assert torch.equal(half.pop("dense2.weight"), 0.5 * one.pop("dense2.weight"))
    assert all(torch.equal(one[name], half[name]) for name in one)


def test_the_head_is_the_last_layer_with_weights_and_no_training_only_one() -> None:
    net = Net.parse("conv(4, 3), globalpool, dense(classes), aux(dense(classes)), softmax")
    assert head_of(net.build((1, 6, 6))) == "dense1"


FACTORS = RateFactors(norms=64.0, biases=2.0, head=0.5)


def test_factors_reach_the_parameters_they_name() -> None:
    module = Net.parse(NET).build((1, 6, 6), 3)
    found = rates(module, FACTORS, Whitening(bias_share=0.25))
    assert found == {
        "conv1.bias": Rate(2.0, 0.25),
        "batchnorm1.weight": Rate(64.0),
        "batchnorm1.bias": Rate(64.0),
        "dense1.weight": Rate(0.5),
        "dense1.bias": Rate(2.0),
    }
    assert rates(module, None, None) == {}


def test_rates_of_groups_follow_the_factor_and_the_share() -> None:
    module = Net.parse(NET).build((1, 6, 6), 3)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = parameter_groups(
        module.named_parameters(), 0.1, rates(module, FACTORS, Whitening(bias_share=0.25))
    )
    optimizer = SGD().build(groups)
    moved: dict[float, dict[str, float]] = {}
    for share in (0.0, 0.25):
        set_rate(optimizer, 0.01, share)
        moved[share] = {
            names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]
        }
    assert moved[0.0] == {
        "conv1.weight": 0.01,
        "dense1.weight": 0.005,
        "conv1.bias": 0.02,
        "batchnorm1.weight": 0.64,
        "batchnorm1.bias": 0.64,
        "dense1.bias": 0.02,
    }
    assert moved[0.25] == {**moved[0.0], "conv1.bias": 0.0}
    for group in groups:  # what a step takes away stays the same
        wanted = 0.1 if group["params"][0].ndim > 1 else 0.0
        assert group["weight_decay"] * group["factor"] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["norms", "biases", "head"])
def test_a_factor_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} 0"):
        RateFactors(**{name: 0})
