"""torch's optimizers without its compiler, and steps in one pass over memory where torch has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from convscope.engine.arithmetic import arithmetic_of

if TYPE_CHECKING:
    from convscope.engine.kernels.operations import Kernels
    from convscope.engine.plan import Plan


class Light(torch.optim.Optimizer):
    """Stands before one of torch's optimizers among the bases of a class, so that torch's compiler stays unloaded.

    torch marks these methods as none of its compiler's business, and the first call of one loads the whole of it (2 to
    4 s and 150 MB) to say so. Here they are what they are beneath the mark.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)

    def __init_subclass__(cls) -> None:
        cls.step = torch.no_grad()(unwrap(cls.step))  # type: ignore[method-assign]


def fast_optimizer(optimizer: torch.optim.Optimizer, plan: Plan) -> torch.optim.Optimizer:
    """The same optimizer, with the same groups and the same state by name, stepping as fast as this machine can.

    Adadelta becomes one pass of our own; torch has fused steps for the others we use, or foreach ones.
    """
    kernels = arithmetic_of(plan).kernels
    if kernels is None or not isinstance(optimizer, torch.optim.Adadelta):
        return optimizer
    return FusedAdadelta(optimizer.param_groups, kernels)


class FusedAdadelta(Light, torch.optim.Adadelta):
    """torch's Adadelta on float32 parameters on the CPU, one pass over memory a parameter."""

    def __init__(self, groups: list[dict[str, Any]], kernels: Kernels) -> None:
        super().__init__(groups)
        self._kernels = kernels

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; every gradient is laid out as its parameter is."""
        assert closure is None, "our loop has no closures"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._one(parameter, group)

    def _one(self, parameter: Tensor, group: dict[str, Any]) -> None:
        from convscope.engine.kernels.operations import adadelta

        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["square_avg"] = torch.zeros_like(parameter)
            state["acc_delta"] = torch.zeros_like(parameter)
        state["step"] += 1
        assert parameter.grad is not None
        adadelta(
            parameter,
            _laid_out(parameter.grad, parameter),
            state["square_avg"],
            state["acc_delta"],
            rate=group["lr"],
            rho=group["rho"],
            eps=group["eps"],
            decay=group["weight_decay"],
            kernels=self._kernels,
        )


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor, or a copy whose numbers lie in memory as those of `like`."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)
