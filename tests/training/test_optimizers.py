"""Optimizers: Adadelta against its paper in NumPy, each against the textbook, and what decays."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope.net import Net
from convscope.training.checkpoint import optimizer_tensors, restore_optimizer
from convscope.training.muon import orthogonal
from convscope.training.optimizers import (
    OPTIMIZERS,
    SGD,
    Adadelta,
    Adam,
    AdamW,
    Muon,
    Optimizer,
    RMSprop,
    parameter_groups,
    set_rate,
)

GRADIENTS = np.random.default_rng(0).normal(size=(6, 4)) * 10.0 ** np.arange(-4, 0)
START = np.array([1.0, -2.0, 0.5, 3.0])


def steps_of(optimizer: Optimizer, rate: float = 0.3) -> np.ndarray:
    parameter = nn.Parameter(torch.tensor(START[None], dtype=torch.float32))
    built = optimizer.build([{"params": [parameter], "weight_decay": optimizer.weight_decay}])
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient[None], dtype=torch.float32)
        set_rate(built, rate)
        built.step()
    return parameter.detach().numpy()[0]


def test_adadelta_is_the_paper_with_the_keras_numbers() -> None:
    w, squares, moves = START.copy(), np.zeros(4), np.zeros(4)
    for g in GRADIENTS:
        squares = 0.95 * squares + 0.05 * g * g
        move = np.sqrt(moves + 1e-7) / np.sqrt(squares + 1e-7) * g
        moves = 0.95 * moves + 0.05 * move * move
        w = w - 0.3 * move
    np.testing.assert_allclose(steps_of(Adadelta()), w, rtol=2e-6)


def test_sgd_is_nesterov() -> None:
    w, velocity = START.copy(), np.zeros(4)
    for i, g in enumerate(GRADIENTS):
        g = g + 0.01 * w
        velocity = g if i == 0 else 0.9 * velocity + g
        w = w - 0.3 * (g + 0.9 * velocity)
    np.testing.assert_allclose(steps_of(SGD(weight_decay=0.01)), w, rtol=2e-6)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_and_adamw_are_the_papers(decoupled: bool) -> None:
    w, first, second = START.copy(), np.zeros(4), np.zeros(4)
    for t, g in enumerate(GRADIENTS, start=1):
        w = w * (1 - 0.3 * 0.02) if decoupled else w
        g = g if decoupled else g + 0.02 * w
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        w = w - 0.3 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    kind = AdamW if decoupled else Adam
    np.testing.assert_allclose(steps_of(kind(weight_decay=0.02)), w, rtol=1e-5)


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
    w, squares = START.copy(), np.zeros(4)
    for g in GRADIENTS:
        squares = 0.9 * squares + 0.1 * g * g
        w = w - 0.3 * g / (np.sqrt(squares) + 1e-7)
    np.testing.assert_allclose(steps_of(RMSprop()), w, rtol=1e-5)


def test_muon_is_nesterov_where_there_is_no_filter() -> None:
    w, velocity = START.copy(), np.zeros(4)
    for g in GRADIENTS:
        g = g + 0.01 * w
        velocity = 0.7 * velocity + g
        w = w - 0.3 / 4 * (g + 0.7 * velocity)
    optimizer = Muon(rate=0.4, other_rate=0.1, other_momentum=0.7, weight_decay=0.01)
    np.testing.assert_allclose(steps_of(optimizer), w, rtol=2e-6)


def newton_schulz(matrix: np.ndarray, iterations: int) -> np.ndarray:
    """The iteration on the singular values alone."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(matrix)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    moved: np.ndarray = u * s @ v
    return moved


@pytest.mark.parametrize("unit_filters", [True, False])
@pytest.mark.parametrize("filters", [3, 30])
def test_muon_moves_filters_by_an_orthogonal_matrix(filters: int, unit_filters: bool) -> None:
    generator = np.random.default_rng(1)
    w = generator.normal(size=(filters, 2, 3, 3))
    gradients = generator.normal(size=(4, filters, 2, 3, 3))
    parameter = nn.Parameter(torch.tensor(w, dtype=torch.float32).to(memory_format=torch.channels_last))
    setting = Muon(rate=0.2, momentum=0.6, iterations=5, unit_filters=unit_filters, weight_decay=0.1)
    built = setting.build([{"params": [parameter], "weight_decay": 0.1}])
    momentum = np.zeros_like(w)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        set_rate(built, 0.2)
        built.step()
        momentum = 0.6 * momentum + gradient
        move = newton_schulz((gradient + 0.6 * momentum).reshape(filters, -1), 5).reshape(w.shape)
        w = w * np.sqrt(filters) / np.linalg.norm(w) if unit_filters else w * (1 - 0.2 * 0.1)
        w = w - 0.2 * move
    np.testing.assert_allclose(parameter.detach().numpy(), w, atol=2e-5)


@pytest.mark.parametrize("shape", [(16, 90), (90, 16), (20, 20)])
def test_five_rounds_make_singular_values_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix, 5))
    assert values.max() < 1.3
    assert (values > 0.6).float().mean() > 0.9
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert (
        torch.nn.functional.cosine_similarity(orthogonal(matrix, 5).flatten(), (u @ v).flatten(), dim=0)
        > 0.97
    )


def test_weights_decay_and_norms_and_biases_do_not() -> None:
    module = Net.parse("conv(4, 3), batchnorm, relu, flatten, dense(classes)").build((1, 6, 6))
    decaying, others = parameter_groups(module.named_parameters(), 0.1)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert decaying["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert [names[id(p)] for p in decaying["params"]] == ["conv1.weight", "dense1.weight"]
    assert len(decaying["params"]) + len(others["params"]) == len(names)


def test_frozen_parameters_are_left_out() -> None:
    module = Net.parse("flatten, dense(classes, bias=False)").build((1, 2, 2)).requires_grad_(False)
    assert parameter_groups(module.named_parameters(), 0.1) == []


def test_frozen_filters_stay_and_get_no_memory() -> None:
    module = Net.parse("conv(4, 3), flatten, dense(classes)").build((1, 6, 6))
    module.conv1.weight.requires_grad_(False)
    before = module.conv1.weight.clone()
    optimizer = Muon().build(parameter_groups(module.named_parameters(), 0.1))
    module(torch.randn(2, 1, 6, 6)).square().sum().backward()
    set_rate(optimizer, 0.1)
    optimizer.step()
    assert module.conv1.weight.grad is None
    assert torch.equal(module.conv1.weight, before)
    assert len(optimizer_tensors(optimizer)) == 3


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_restored_memory_has_the_parameter_s_layout(kind: str) -> None:
    """torch's fused CPU steps read raw memory: a momentum in another layout would silently mix up its numbers."""

    def made() -> tuple[nn.Parameter, torch.optim.Optimizer]:
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
        return parameter, OPTIMIZERS[kind]().build([{"params": [parameter]}])

    def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, seed: int) -> None:
        gradient = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
        parameter.grad = gradient.to(memory_format=torch.channels_last)
        optimizer.step()

    (one, straight), (two, broken) = made(), made()
    for seed in range(4):
        step(one, straight, seed)
    for seed in range(4):
        if seed == 2:
            memory = {name: value.contiguous().clone() for name, value in optimizer_tensors(broken).items()}
            broken = OPTIMIZERS[kind]().build([{"params": [two]}])
            restore_optimizer(broken, memory)
        step(two, broken, seed)
    assert torch.equal(one, two)


def test_training_never_loads_the_compiler() -> None:
    """torch.optim would load it, 2 to 4 s, to be left alone by it; a step of every optimizer must not."""
    code = (
        "import sys, torch\n"
        "from convscope.training.checkpoint import optimizer_tensors, restore_optimizer\n"
        "from convscope.training.optimizers import OPTIMIZERS\n"
        "for optimizer in OPTIMIZERS.values():\n"
        "    built = optimizer().build([{'params': [torch.nn.Parameter(torch.ones(2, 1, 3, 3))]}])\n"
        "    built.param_groups[0]['params'][0].sum().backward()\n"
        "    built.step()\n"
        "    restore_optimizer(built, optimizer_tensors(built))\n"
        "    built.zero_grad()\n"
        "print(sorted({'torch._dynamo', 'sympy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


TORCHS: dict[str, Any] = {
    "adadelta": torch.optim.Adadelta,
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize(("name", "kind"), TORCHS.items())
def test_without_the_compiler_the_bits_are_torchs(name: str, kind: Any) -> None:
    ours = OPTIMIZERS[name]()
    parameter, same = (nn.Parameter(torch.tensor(START, dtype=torch.float32)) for _ in range(2))
    built = ours.build([{"params": [parameter], "weight_decay": 0.01}])
    theirs = kind([{**built.param_groups[0], "params": [same]}])
    for gradient in GRADIENTS:
        for each in (parameter, same):
            each.grad = torch.tensor(gradient, dtype=torch.float32)
        built.step()
        theirs.step()
    assert torch.equal(parameter, same)
    assert optimizer_tensors(built).keys() == optimizer_tensors(theirs).keys()
