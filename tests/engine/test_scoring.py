"""Scoring: the reference's scores, whatever the threads and the form, and everything as it was afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convscope import nets
from convscope.data import Preprocessing
from convscope.engine import fast, make_plan, measure
from convscope.engine.scoring import images_at_once, score
from convscope.net import Net

PLAN = make_plan("cpu", threads=2)


def pixels_of(shape: tuple[int, int, int], count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture(scope="module")
def digits():
    """The lecture's network, 150 random images and how they are scaled: more than one batch."""
    torch.manual_seed(0)
    network = nets.get("lecture").net.bind(10).build((1, 28, 28))
    return network, pixels_of((1, 28, 28), 150), Preprocessing((28, 28), 1, mean=(0.2,), std=(0.4,))


def test_scores_are_the_references(digits):
    network, pixels, preprocessing = digits
    with torch.inference_mode():
        expected = network.eval()(preprocessing.scale(torch.from_numpy(pixels)))
    scores = score(network, pixels, preprocessing, PLAN)
    assert (scores.dtype, scores.shape) == (torch.float32, (150, 10))
    assert torch.allclose(scores, expected, atol=1e-5)


def test_bits_do_not_depend_on_threads_or_on_who_asks(digits):
    network, pixels, preprocessing = digits
    expected = score(network, pixels, preprocessing, PLAN)
    for threads in (1, 3):
        assert torch.equal(score(network, pixels, preprocessing, replace(PLAN, threads=threads)), expected)
    assert torch.equal(score(fast(network), pixels, preprocessing, PLAN), expected)
    assert torch.equal(score(network.train(), pixels, preprocessing, PLAN), expected)


def test_mode_and_threads_are_as_before(digits):
    network, pixels, preprocessing = digits
    before = torch.get_num_threads()
    for module in (network, nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 2))):
        for training in (True, False):
            module.train(training)
            score(module, pixels, preprocessing, PLAN)
            assert module.training is training
    assert torch.get_num_threads() == before


class Failing(nn.Module):
    def forward(self, images):
        raise ValueError("no scores today")


def test_a_failure_comes_through_and_leaves_the_mode(digits):
    _, pixels, preprocessing = digits
    module = Failing().train()
    with pytest.raises(ValueError, match="no scores today"):
        score(module, pixels, preprocessing, PLAN)
    assert module.training


def test_measure_counts_what_is_right(digits):
    network, pixels, preprocessing = digits
    scores = score(network, pixels, preprocessing, PLAN)
    labels = scores.argmax(1).numpy().copy()
    labels[:30] = (labels[:30] + 1) % 10
    scoring = measure(network, pixels, labels, preprocessing, PLAN)
    assert (scoring.correct, scoring.n, scoring.accuracy) == (120, 150, 0.8)
    log_probabilities = scores.double().log_softmax(1)
    assert scoring.loss == pytest.approx(-log_probabilities[range(150), labels].mean().item())


def test_batches_are_as_large_as_the_caches_allow():
    small, large = (net.build(shape) for net, shape in (
        (Net.parse("flatten, dense(2)"), (1, 4, 4)), (Net.parse("conv(64, 3), globalpool, dense(2)"), (3, 226, 226)),
    ))  # fmt: skip
    assert images_at_once(small, PLAN) == PLAN.evaluation_batch
    assert images_at_once(large, PLAN) == 8
    lecture = nets.get("lecture").net.build((1, 28, 28))  # its largest maps are 64×24×24
    assert images_at_once(lecture, PLAN) == (16 << 20) // (4 * 64 * 24 * 24)
    assert images_at_once(large, replace(PLAN, device="cuda")) == PLAN.evaluation_batch
