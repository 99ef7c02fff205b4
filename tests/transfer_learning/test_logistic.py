"""Logistic regression against scikit-learn, and what must hold whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import RecipeError
from convscope.transfer_learning.head import Scaling, balanced, fit_head, folds_of
from convscope.transfer_learning.logistic import Axes, solve

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is an extra of dev")


def blobs(n: int, width: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.arange(n) % classes
    return centres[labels] + 1.5 * torch.randn(n, width, generator=generator), labels


@pytest.mark.parametrize(("n", "width", "classes"), [(60, 20, 3), (30, 80, 4), (40, 5, 2)])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_solution_is_scikit_learns(n: int, width: int, classes: int, penalty: float) -> None:
    features, labels = blobs(n, width, classes, seed=n)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1)) + 0.5
    axes = Axes.of(features)
    solution = solve(axes, labels, weights[None], torch.tensor([penalty]), classes, tolerance=1e-9)[0]
    weight, bias = axes.weights(solution)
    shared = (
        penalty * float(weights.sum()) / (2 if classes == 2 else 1)
    )  # theirs has one vector for two classes
    theirs = linear_model.LogisticRegression(C=1 / shared, tol=1e-10, max_iter=20_000)
    theirs.fit(features.double().numpy(), labels.numpy(), sample_weight=weights.double().numpy())
    ours = features.double() @ weight.T + bias
    expected = theirs.predict_proba(features.double().numpy())
    np.testing.assert_allclose(ours.softmax(1).numpy(), expected, atol=1e-5)


def test_problems_together_are_problems_alone() -> None:
    features, labels = blobs(50, 12, 3, seed=5)
    axes = Axes.of(features)
    shares = torch.stack([torch.ones(50), (torch.arange(50) % 2).float(), (torch.arange(50) < 40).float()])
    penalties = torch.tensor([0.1, 1.0, 0.003])
    together = solve(axes, labels, shares, penalties, 3, tolerance=1e-8)
    for k in range(3):
        alone = solve(axes, labels, shares[k : k + 1], penalties[k : k + 1], 3, tolerance=1e-8)
        torch.testing.assert_close(together[k], alone[0], atol=1e-5, rtol=1e-4)


def test_images_that_do_not_count_are_as_if_left_out() -> None:
    features, labels = blobs(40, 6, 2, seed=2)
    out = torch.arange(40) % 4 == 0
    with_zero = solve(Axes.of(features), labels, (~out).float()[None], torch.tensor([0.1]), 2, tolerance=1e-9)
    axes = Axes.of(features[~out])
    without = solve(axes, labels[~out], torch.ones(1, 30), torch.tensor([0.1]), 2, tolerance=1e-9)
    weight, _ = Axes.of(features).weights(with_zero[0])
    expected, _ = axes.weights(without[0])
    torch.testing.assert_close(weight, expected, atol=1e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(4, 30),
    width=st.integers(1, 40),
    scale=st.floats(1e-3, 1e3),
    penalty=st.floats(1e-3, 10),
    seed=st.integers(0, 99),
)
def test_the_slope_is_zero_at_the_end(n: int, width: int, scale: float, penalty: float, seed: int) -> None:
    features, labels = blobs(n, width, 2, seed)
    axes = Axes.of(scale * features)
    solution = solve(axes, labels, torch.ones(1, n), torch.tensor([penalty]), 2, tolerance=1e-7)
    point = solution.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(axes.positions @ point[0], labels)
    (loss + 0.5 * penalty * point[0, :-1].square().sum()).backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    unit = (axes.curvature + penalty).sqrt().max()
    assert point.grad.abs().max() <= 1e-6 * unit + 1e-9


def test_axes_lose_nothing() -> None:
    for shape in ((30, 7), (7, 30)):
        features = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        axes = Axes.of(features)
        back = axes.positions[:, :-1] @ axes.directions
        torch.testing.assert_close(back.float(), features, atol=1e-4, rtol=1e-4)


# The head ---------------------------------------------------------------------------------------------


def test_scaling_is_folded_into_the_layer() -> None:
    features, labels = blobs(60, 10, 3, seed=3)
    features = features * torch.linspace(0.1, 9, 10) + 4
    head = fit_head(features, labels, 3, groups=[4, 6], penalty=0.1)
    scaling = Scaling.of(features, [4, 6])
    scaled = scaling(features).numpy()
    theirs = linear_model.LogisticRegression(C=1 / (0.1 * 60), tol=1e-10, max_iter=20_000).fit(
        scaled, labels.numpy()
    )
    expected = theirs.predict_proba(scaled)
    np.testing.assert_allclose(head.scores(features).softmax(1).double().numpy(), expected, atol=1e-4)


def test_groups_vary_alike_after_scaling() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    features[:, :3] *= 1000
    scaled = Scaling.of(features, [3, 5])(features)
    first, second = (part.var(0, correction=0).sum() for part in scaled.split([3, 5], dim=1))
    torch.testing.assert_close(first, second)


def test_the_penalty_is_the_one_that_fits_unseen_images_best() -> None:
    features, labels = blobs(60, 40, 3, seed=8)
    chosen = fit_head(features, labels, 3)
    assert chosen.loss is not None
    for other in (3.0, 0.003):
        fixed = fit_head(features, labels, 3, penalty=other)
        assert fixed.loss is not None
        assert chosen.loss <= fixed.loss + 1e-3
    assert chosen.accuracy_unseen(labels) is not None
    assert chosen.unseen_scores.isfinite().all()


def test_features_that_do_not_vary_are_harmless() -> None:
    features = torch.ones(12, 3)
    head = fit_head(features, torch.arange(12) % 2, 2)
    assert head.weight.isfinite().all()
    assert head.scores(features).softmax(1)[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_one_image_a_class_works() -> None:
    features = torch.eye(3)
    head = fit_head(features, torch.arange(3), 3)
    assert head.scores(features).argmax(1).tolist() == [0, 1, 2]
    assert (head.loss, head.accuracy_unseen(torch.arange(3))) == (None, None)


def test_balanced_classes_count_the_same() -> None:
    labels = torch.tensor([0] * 30 + [1] * 3)
    weights = balanced(labels, 3)
    assert (weights[labels] * (labels == 0)).sum() == pytest.approx((weights[labels] * (labels == 1)).sum())
    assert weights[2] == 0
    features = torch.randn(33, 4, generator=torch.Generator().manual_seed(0))
    features[labels == 1] += 1
    even = fit_head(features, labels, 2, class_weights=weights[:2], penalty=0.3)
    plain = fit_head(features, labels, 2, penalty=0.3)
    rare = labels == 1
    assert (
        even.scores(features)[rare].softmax(1)[:, 1].mean()
        > plain.scores(features)[rare].softmax(1)[:, 1].mean()
    )


def test_every_class_is_spread_over_the_folds() -> None:
    labels = torch.tensor([0] * 11 + [1] * 7 + [2] * 5)
    folds = folds_of(labels, seed=3)
    assert folds is not None
    for label in range(3):
        counts = torch.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert not torch.equal(folds, folds_of(labels, seed=4))  # type: ignore[arg-type]
    assert folds_of(torch.tensor([0, 1, 2]), 0) is None


def test_a_class_of_one_image_is_always_learned_from_and_the_others_choose_the_penalty() -> None:
    features, labels = blobs(60, 10, 3, seed=4)
    features, labels = torch.cat([features, torch.full((1, 10), 9.0)]), torch.cat([labels, torch.tensor([3])])
    folds = folds_of(labels, 0)
    assert folds is not None
    assert folds[60] == -1
    assert folds[:60].min() == 0
    head = fit_head(features, labels, 4)
    assert head.loss is not None
    assert head.unseen_scores[:60].isfinite().all()
    assert head.scores(features)[60].argmax() == 3


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_penalty(penalty: float) -> None:
    with pytest.raises(RecipeError, match=r"penalty .*Expected a finite number above 0. Leave it out"):
        fit_head(torch.eye(4), torch.arange(4) % 2, 2, penalty=penalty)
