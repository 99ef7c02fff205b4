"""Random numbers are a pure function of what they are for, and look random."""

from __future__ import annotations

import pytest
import torch

from convscope.engine import Draw, key, order
from convscope.net import Net


def draw(step=3, samples=(0, 1, 2, 3), seed=1):
    return Draw(seed, step, torch.tensor(samples))


LIKE = torch.empty(4, 8, 5, 5)


@pytest.mark.parametrize("rate", [0.25, 0.1])
def test_a_sample_draws_the_same_wherever_it_stands_in_the_batch(rate):
    whole = draw(samples=(5, 6, 7, 8)).keep("dropout1", LIKE, rate)
    part = draw(samples=(8, 6)).keep("dropout1", LIKE[:2], rate)
    assert torch.equal(part, whole[[3, 1]])


@pytest.mark.parametrize("other", [draw(step=4), draw(seed=2), draw(samples=(9, 10, 11, 12))])
def test_another_step_seed_or_sample_draws_otherwise(other):
    assert not torch.equal(draw().keep("dropout1", LIKE, 0.5), other.keep("dropout1", LIKE, 0.5))


def test_another_layer_draws_otherwise():
    assert not torch.equal(draw().keep("dropout1", LIKE, 0.5), draw().keep("dropout2", LIKE, 0.5))


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.1, 1 / 3, 0.9, 0.004])
def test_the_share_dropped_is_the_rate_and_the_mean_stays(rate):
    like = torch.empty(64, 10_000)
    mask = Draw(0, 0, torch.arange(64)).keep("dropout1", like, rate)
    dropped = (mask == 0).double()
    deviation = (rate * (1 - rate) / like.numel()) ** 0.5
    assert abs(dropped.mean().item() - rate) < 5 * deviation
    assert torch.allclose(mask[mask > 0], torch.tensor(1 / (1 - rate)))
    # Neither along a sample nor across samples is there more spread than chance makes.
    assert dropped.mean(1).std() == pytest.approx((rate * (1 - rate) / 10_000) ** 0.5, rel=0.5)
    assert dropped.mean(0).std() == pytest.approx((rate * (1 - rate) / 64) ** 0.5, rel=0.1)


def test_every_bit_is_even_and_neighbours_do_not_agree():
    bits = Draw(0, 0, torch.arange(256)).bits("dropout1", 1_000, torch.device("cpu"))
    for position in range(32):
        ones = (bits >> position) & 1
        assert abs(ones.double().mean().item() - 0.5) < 0.005
        for one, other in ((ones[:, 1:], ones[:, :-1]), (ones[1:], ones[:-1])):
            assert abs((one == other).double().mean().item() - 0.5) < 0.005


def test_the_numbers_are_these_on_every_machine():
    assert key(0, "order", 3) == 17_364_076_536_795_784_207
    assert Draw(0, 0, torch.tensor([0, 1])).bits("dropout1", 3, torch.device("cpu")).tolist() == [
        [497370974, -1656949903, 517935454],
        [1314486080, 794475813, 1032142848],
    ]


def test_an_epoch_has_an_order_of_its_own():
    first = order(seed=0, epoch=0, n=100)
    assert sorted(first.tolist()) == list(range(100))
    assert torch.equal(first, order(0, 0, 100))
    assert not torch.equal(first, order(0, 1, 100))
    assert not torch.equal(first, order(1, 0, 100))


def test_two_dropouts_of_a_net_draw_by_their_names():
    network = Net.parse("dropout(0.5), dropout(0.5), flatten").build((1, 20, 20)).train()
    network.set_draw(Draw(0, 0, torch.tensor([0])))
    outputs = network.activations(torch.ones(1, 1, 20, 20), ["dropout1", "dropout2"])
    kept = (outputs["dropout1"] > 0).double().mean().item()
    assert (outputs["dropout2"] > 0).double().mean().item() == pytest.approx(kept / 2, abs=0.1)


def test_without_a_draw_torch_s_own_generator_serves():
    network = Net.parse("dropout(0.5), flatten").build((1, 20, 20)).train()
    torch.manual_seed(0)
    one = network(torch.ones(1, 1, 20, 20))
    torch.manual_seed(0)
    assert torch.equal(one, network(torch.ones(1, 1, 20, 20)))
    assert not torch.equal(one, network(torch.ones(1, 1, 20, 20)))


@pytest.mark.gpu
def test_a_gpu_draws_the_same_numbers():
    here = draw().keep("dropout1", LIKE, 0.25)
    there = draw().keep("dropout1", LIKE.cuda(), 0.25)
    assert torch.equal(here, there.cpu())
