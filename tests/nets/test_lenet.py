"""LeNet-5 as in 1998: its connections, its squashing, its output of distances, and its loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from convscope import nets
from convscope.errors import RecipeError
from convscope.nets.lenet import CONNECTIONS, SQUASH
from convscope.training import recipes
from convscope.training.objective import objective


def test_the_connections_are_the_papers() -> None:
    links = [len(row) for row in CONNECTIONS]
    assert links == [3] * 6 + [4] * 9 + [6]
    assert [sum(k in row for row in CONNECTIONS) for k in range(6)] == [10] * 6
    steps = {step.name: step for step in nets.get("lenet5").net.infer((1, 32, 32)).steps}
    counts = [steps[name].parameters for name in ("C1", "S2", "C3", "S4", "C5", "F6")]
    assert counts == [156, 12, 1516, 32, 48_120, 10_164]


def test_an_unconnected_map_plays_no_part() -> None:
    torch.manual_seed(0)
    c3 = nets.get("lenet5").net.build((1, 32, 32)).get_submodule("C3")
    maps = torch.randn(1, 6, 14, 14)
    changed = maps.clone()
    changed[:, 3] += 1
    moved = (c3(maps) != c3(changed)).any(dim=(2, 3))[0].tolist()
    assert moved == [3 in row for row in CONNECTIONS]


def test_the_squashing_keeps_one_at_one() -> None:
    assert pytest.approx(1, abs=1e-4) == SQUASH.amplitude * math.tanh(SQUASH.slope)


def test_the_same_net_for_28_pixels() -> None:
    torch.manual_seed(0)
    large, small = (nets.get(name).net.build(nets.get(name).input_shape) for name in ("lenet5", "lenet5_28"))
    small.load_state_dict(large.state_dict())
    digits = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(small(digits), large(torch.nn.functional.pad(digits, (2, 2, 2, 2))))


def test_the_map_loss_is_the_papers() -> None:
    distances = torch.rand(5, 10, dtype=torch.float64) * 9
    labels = torch.arange(5)
    j = 2.5
    correct = distances[torch.arange(5), labels]
    paper = (correct + torch.log(math.exp(-j) + torch.exp(-distances).sum(1))).mean()
    torch.testing.assert_close(objective(-distances, [], labels, loss="map", map_constant=j), paper)
    far = objective(-distances, [], labels, loss="map", map_constant=1000.0)
    torch.testing.assert_close(far, objective(-distances, [], labels))  # without the constant: cross-entropy


def test_the_constant_stops_pushing_what_is_far() -> None:
    scores = torch.tensor([[-1.0, -50.0]], requires_grad=True)
    objective(scores, [], torch.tensor([0]), loss="map", map_constant=5.0).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert abs(scores.grad[0, 1]) < 1e-15 < abs(scores.grad[0, 0])


def test_the_recipe() -> None:
    recipe = recipes.get("lenet5")
    assert (recipe.loss, recipe.initialisation, recipe.epochs) == ("map", "lenet", 20)
    assert recipes.Recipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(RecipeError, match="label smoothing with loss='map'"):
        replace(recipe, label_smoothing=0.1)
    with pytest.raises(RecipeError, match=r"(?s)loss 'mop'.*one of cross_entropy, map.*map_constant 0"):
        replace(recipe, loss="mop", map_constant=0)


def test_a_few_steps_of_the_recipe_make_the_loss_smaller() -> None:
    recipe = recipes.get("lenet5")
    torch.manual_seed(0)
    network = nets.get("lenet5_28").net.build((1, 28, 28))
    images, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.optimizer.rate)
    losses = []
    for _ in range(15):
        loss = recipe.objective(network(images), [], labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
