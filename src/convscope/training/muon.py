"""Muon's arithmetic: momentum, made orthogonal, for the weights of convolutions; Nesterov's SGD beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convscope.engine.optimizers import Light

# The polynomial a·s + b·s³ + c·s⁵ that carries singular values from (0, 1] near 1 in few rounds: K. Jordan et al. 2024.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class OrthogonalMomentum(Light):
    """The optimizer that `Muon` builds. Groups have `lr` and `weight_decay`; a parameter with four axes is a filter's.

    Its memory is one tensor a parameter, `momentum`.
    """

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        super().__init__(groups, {"weight_decay": 0.0, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                move = _filters_step if parameter.ndim == 4 else _other_step
                move(parameter, momentum, group)


def _filters_step(weights: Tensor, momentum: Tensor, group: dict[str, Any]) -> None:
    """A convolution's weights (filters, C, F, F)."""
    assert weights.grad is not None
    momentum.mul_(group["momentum"]).add_(weights.grad)
    direction = orthogonal(
        weights.grad.add(momentum, alpha=group["momentum"]).flatten(1), group["iterations"]
    )
    if group["unit_filters"]:
        weights.mul_(len(weights) ** 0.5 / weights.norm().clamp_min(1e-7))
    else:
        weights.mul_(1.0 - group["lr"] * group["weight_decay"])
    weights.add_(direction.view(weights.shape), alpha=-group["lr"])


def _other_step(parameter: Tensor, momentum: Tensor, group: dict[str, Any]) -> None:
    assert parameter.grad is not None
    gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
    momentum.mul_(group["other_momentum"]).add_(gradient)
    gradient = gradient.add(momentum, alpha=group["other_momentum"])
    parameter.add_(gradient, alpha=-group["lr"] * group["other_share"])


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """About U·Vᵀ of the singular value decomposition U·S·Vᵀ of `matrix`, (m, n), float32, by Newton and Schulz.

    >>> orthogonal(torch.diag(torch.tensor([3.0, 2.0])), 5).round(decimals=0)
    tensor([[1., 0.],
            [0., 1.]])
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)  # so that no singular value is above 1
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    done: Tensor = x.T if is_tall else x
    return done
