"""Averaging, initialisation, objective, early stopping, stopwatch: each against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from convscope.net import Net
from convscope.training import Averaging, EarlyStopping, Lookahead, Midway
from convscope.training.averaging import Average
from convscope.training.initialisation import initialise
from convscope.training.objective import objective
from convscope.training.stopwatch import Stopwatch


@given(decay=st.floats(0.0, 0.999), n=st.integers(1, 30))
def test_the_average_is_its_closed_form(decay: float, n: int) -> None:
    weights = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    average = Average(Averaging(decay=decay), {"w": torch.full((3,), 99.0)})
    for step in range(1, n + 1):
        average.update(step, {"w": weights[step - 1]})
    shares = torch.tensor([decay ** (n - i) for i in range(1, n + 1)], dtype=torch.float64)
    closed = (shares / shares.sum()) @ weights.double()
    torch.testing.assert_close(average.tensors["w"].double(), closed, rtol=1e-4, atol=1e-4)


def test_the_average_takes_every_so_many_steps_and_copies_counters() -> None:
    average = Average(Averaging(decay=0.5, every=2), {"w": torch.zeros(1), "n": torch.tensor(0)})
    for step in range(1, 6):
        average.update(step, {"w": torch.tensor([float(step)]), "n": torch.tensor(step)})
    assert average.tensors["w"].item() == pytest.approx((4 * 1 + 2 * 0.5) / 1.5)
    assert average.tensors["n"].item() == 4


def test_lookahead_is_its_plain_computation() -> None:
    setting, steps = Lookahead(decay=0.8, every=2, power=3.0), 7
    moves = torch.randn(steps, 3, generator=torch.Generator().manual_seed(0))
    fast, count = torch.ones(3), torch.tensor(0)
    average = Average(setting, {"w": fast, "n": count}, steps)
    slow, plain = torch.ones(3), torch.ones(3)
    for step in range(1, steps + 1):
        fast += moves[step - 1]
        plain = plain + moves[step - 1]
        count += 1
        average.update(step, {"w": fast, "n": count})
        if step % 2 == 0:
            slow = slow + (1 - 0.8 * (step / steps) ** 3) * (plain - slow)
            plain = slow
        torch.testing.assert_close(fast, plain)
        torch.testing.assert_close(average.tensors["w"], slow)
    assert average.tensors["n"].item() == 6


def test_a_moving_average_leaves_the_weights_alone() -> None:
    weights = {"w": torch.tensor([1.0])}
    average = Average(Averaging(decay=0.5), weights)
    for step in (1, 2):
        weights["w"] += 1
        average.update(step, weights)
    assert weights["w"].item() == 3.0


@given(share=st.floats(0.0, 1.0), n=st.integers(1, 5))
def test_midway_lies_between_the_start_and_the_weights(share: float, n: int) -> None:
    moves = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    weights = {"w": torch.ones(3), "n": torch.tensor(0)}
    average = Average(Midway(share), weights, n)
    for step in range(1, n + 1):
        weights["w"] += moves[step - 1]
        weights["n"] += 1
        average.update(step, weights)
    reached = 1 + moves.sum(0)
    torch.testing.assert_close(weights["w"], reached)  # training takes no notice
    found = average.model(weights)
    torch.testing.assert_close(found["w"], 1 + share * (reached - 1), atol=1e-5, rtol=1e-4)
    assert found["n"].item() == n


def test_the_start_stays_as_it_is_whatever_training_comes_to() -> None:
    average = Average(Midway(0.5), {"w": torch.ones(2)})
    average.update(1, {"w": torch.tensor([torch.inf, torch.nan])})
    assert average.tensors["w"].tolist() == [1.0, 1.0]


TWO_WAYS = (
    "conv(6, 3), relu, flatten, dense(classes)",
    'conv(6, 3, name="conv1"), relu, flatten, dense(classes)',
)


def test_starting_weights_depend_on_seed_and_name_alone() -> None:
    def made(text: str, seed: int, noise: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(noise)
        module = Net.parse(text).build((1, 6, 6))
        initialise(module, "glorot_uniform", seed)
        return module.state_dict()

    one, same, other = made(TWO_WAYS[0], 0, 1), made(TWO_WAYS[1], 0, 2), made(TWO_WAYS[0], 1, 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("policy", ["glorot_uniform", "he", "torch", "lenet"])
def test_policies_have_their_spread(policy: str) -> None:
    module = Net.parse("conv(64, 5), batchnorm, flatten, dense(classes)").build((16, 8, 8))
    initialise(module, policy, 0)
    fan_in, fan_out = 16 * 25, 64 * 25
    weight, bias = module.conv1.weight, module.conv1.bias
    deviation = {"glorot_uniform": math.sqrt(2 / (fan_in + fan_out)), "he": math.sqrt(2 / fan_in),
                 "torch": math.sqrt(1 / fan_in / 3), "lenet": 2.4 / fan_in / math.sqrt(3)}[policy]  # fmt: skip
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)
    bounds = {
        "glorot_uniform": math.sqrt(6 / (fan_in + fan_out)),
        "torch": math.sqrt(1 / fan_in),
        "lenet": 2.4 / fan_in,
    }
    assert policy not in bounds or weight.abs().max().item() <= bounds[policy]
    assert bool((bias == 0).all()) is (policy in ("glorot_uniform", "he"))
    assert bool((module.batchnorm1.weight == 1).all())


def test_a_connection_table_has_the_fans_of_its_links() -> None:
    full = Net.parse("conv(8, 5), flatten, dense(classes)").build((8, 8, 8))
    table = [list(range(8))] * 8
    linked = Net.parse(f"conv(8, 5, table={table}), flatten, dense(classes)").build((8, 8, 8))
    for module in (full, linked):
        initialise(module, "he", 0)
    assert linked.conv1.weight.std().item() == pytest.approx(full.conv1.weight.std().item(), rel=0.05)


def test_training_only_outputs_count_with_their_weight() -> None:
    scores, more, labels = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    expected = functional.cross_entropy(scores, labels) + 0.3 * functional.cross_entropy(more, labels)
    assert objective(scores, [(0.3, more)], labels).item() == pytest.approx(expected.item())


def test_label_smoothing_is_its_formula() -> None:
    scores, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 1])
    logs = scores.log_softmax(1)
    right = logs[range(5), labels]
    expected = -(0.9 * right + 0.1 * logs.mean(1)).mean()
    assert objective(scores, [], labels, 0.1).item() == pytest.approx(expected.item(), rel=1e-5)


def test_better_means_lower_loss_or_higher_accuracy() -> None:
    assert EarlyStopping().better(0.5, 0.1, None)
    assert not EarlyStopping().better(0.5, 0.9, (0.5, 0.1))
    assert not EarlyStopping(margin=0.1).better(0.45, 0.9, (0.5, 0.1))
    assert EarlyStopping(metric="accuracy").better(9.0, 0.2, (0.5, 0.1))


def test_a_stopwatch_stands_still_when_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    watch = Stopwatch(already_s=5.0)
    watch.start()
    now[0] += 2
    watch.pause()
    now[0] += 10
    watch.start()
    now[0] += 1
    assert watch.total_s == 8.0
