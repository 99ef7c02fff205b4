"""Logistic regression on features, fitted to convergence: many of them at once, each with its own penalty and images.

    make small   1/Σw · Σ_i w_i·(−log softmax(x_i·W + b)[y_i])  +  λ/2·‖W‖²

The features are turned into the axes along which they vary, where each axis j has the length s_j. There the curvature
of the loss is at most h_j = s_j²/(2N) + λ along axis j (Böhning 1992): the units in which it is told when a problem is
solved. Where answers are already sure the curvature is far less, so steps are measured in that of the point from which
they start, axis by axis, taken anew now and then. A limited memory of past steps (L-BFGS, Nocedal 1980) does the rest
in a few dozen steps. One product of matrices serves every problem.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

MEMORY = 10
MOST_STEPS = 2000
HALVINGS = 20
SUFFICIENT = 1e-4
MEASURED_EVERY = 40
"""Steps after which the curvature is taken anew."""
LEAST_CURVATURE = 1e-3
"""Of its bound: an axis that seems flatter than this is taken for that flat."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Features in the axes along which they vary.

    Attributes:
        positions: the features there, (N, R), the last column all ones for the bias.
        directions: the axes, (R − 1, D).
        curvature: s_j²/(2N) for each axis and 1/2 for the bias, (R,).
    """

    positions: Tensor
    directions: Tensor
    curvature: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Axes:
        """The axes of features (N, D), with which nothing is lost: R − 1 is at most the smaller of N and D.

        >>> axes = Axes.of(torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        >>> axes.positions.shape, axes.directions.abs().mul(10).round().int().tolist()
        (torch.Size([2, 2]), [[6, 8]])
        """
        exact = features.double()
        number = len(exact)
        lengths, directions, along = principal(exact)
        positions = torch.cat([along, exact.new_ones(number, 1)], dim=1)
        curvature = torch.cat([lengths.square() / (2 * number), exact.new_full((1,), 0.5)])
        return cls(positions, directions, curvature)

    def single(self) -> Axes:
        """The same in float32, twice as fast: enough to compare penalties by, not for a final answer."""
        return Axes(self.positions.float(), self.directions.float(), self.curvature.float())

    def weights(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """A solution (R, K) in these axes as weight (K, D) and bias (K,)."""
        return (self.directions.T @ solution[:-1]).T, solution[-1]


class Principal(NamedTuple):
    """Axes, shortest first: lengths (R,), directions (R, D), and the features' positions along them (N, R)."""

    lengths: Tensor
    directions: Tensor
    positions: Tensor


def principal(features: Tensor, most: int | None = None) -> Principal:
    """The axes along which features (N, D) vary from zero.

    Args:
        features: float64.
        most: no more than so many, the longest; None for all that are not zero.
    """
    is_wide = len(features) < features.shape[1]
    # The smaller of the two products of the features with themselves has all the axes.
    squared, vectors = torch.linalg.eigh(features @ features.T if is_wide else features.T @ features)
    kept = torch.nonzero(squared > squared[-1].clamp_min(1e-12) * 1e-10)[:, 0]
    kept = kept[-most:] if most is not None else kept
    lengths, vectors = squared[kept].sqrt(), vectors[:, kept]
    if not is_wide:
        return Principal(lengths, vectors.T, features @ vectors)
    return Principal(lengths, (vectors.T @ features) / lengths[:, None], vectors * lengths)


def solve(
    axes: Axes,
    labels: Tensor,
    shares: Tensor,
    penalties: Tensor,
    num_classes: int,
    *,
    tolerance: float = 1e-6,
    start: Tensor | None = None,
) -> Tensor:
    """The solutions of P problems over the same images.

    Args:
        axes: the features.
        labels: (N,), int64.
        shares: how much each image counts in each problem, (P, N); 0 leaves it out.
        penalties: λ of each problem, (P,).
        num_classes: K.
        tolerance: the largest slope, in the units in which no curvature exceeds 1, at which a problem counts as solved.
        start: where to begin, (P, R, K), such as the solutions for penalties near these; None for zeros.

    Returns:
        (P, R, K), of the axes' type.
    """
    problems = _Problems.of(axes, labels, shares, penalties, num_classes)
    shape = (len(shares), axes.positions.shape[1], num_classes)
    solution = axes.positions.new_zeros(shape) if start is None else start.clone()
    open_, memory = torch.arange(len(shares)), list[Step]()
    point = solution
    for taken in range(MOST_STEPS):
        if taken % MEASURED_EVERY == 0:
            at_rest = problems.unscaled(point) if taken else point
            problems, memory = problems.measured(at_rest), []
            point = at_rest / problems.scale
            value, slope = problems.at(point)
        unsolved = problems.steepest(slope) > tolerance
        if 2 * int(unsolved.sum()) <= len(open_):  # half of them are done: go on with the others alone
            solution[open_] = problems.unscaled(point)
            if not bool(unsolved.any()):
                return solution
            open_, point, value, slope = open_[unsolved], point[unsolved], value[unsolved], slope[unsolved]
            problems = problems.only(unsolved)
            memory = [Step(*(part[unsolved] for part in step)) for step in memory]
        step = _direction(slope, memory)
        point, value, slope = _search(problems, point, value, slope, step, memory)
    solution[open_] = problems.unscaled(point)
    return solution


class Step(NamedTuple):
    """A step taken (P, R, K), how the slope changed on it, and 1 / their product, (P, 1, 1)."""

    moved: Tensor
    change: Tensor
    inverse: Tensor


@dataclass(frozen=True, eq=False)
class _Problems:
    """Values and slopes of all problems, in units in which curvatures are near 1.

    Attributes:
        positions: (N, R).
        truth: one-hot labels, (N, K).
        shares: (P, N), adding to 1.
        penalty: (P, R), 0 for the bias.
        bound: the unit along each axis in which no curvature exceeds 1, (P, R, 1).
        scale: the unit along each axis, (P, R, 1) or (P, R, K).
    """

    positions: Tensor
    truth: Tensor
    shares: Tensor
    penalty: Tensor
    bound: Tensor
    scale: Tensor

    @classmethod
    def of(cls, axes: Axes, labels: Tensor, shares: Tensor, penalties: Tensor, num_classes: int) -> _Problems:
        kind = axes.positions.dtype
        even = (shares / shares.sum(1, keepdim=True)).to(kind)
        penalised = torch.ones_like(axes.curvature)
        penalised[-1] = 0.0  # the bias is free
        penalty = penalties.to(kind)[:, None] * penalised
        # Where an image counts more than others, the curvature may be that much larger.
        largest = even.amax(1, keepdim=True) * len(labels)
        scale = (axes.curvature * largest + penalty).clamp_min(1e-12).rsqrt()[:, :, None]
        truth = torch.nn.functional.one_hot(labels, num_classes).to(kind)
        return cls(axes.positions, truth, even, penalty, scale, scale)

    def measured(self, solution: Tensor) -> _Problems:
        """The same in units of the curvature that each axis has at a solution (P, R, K), for each class of its own."""
        probabilities = self._scores(solution).softmax(2)  # (N, P, K)
        bends = probabilities * (1 - probabilities) * self.shares.T[:, :, None]
        along = self._across(self.positions.square(), bends) + self.penalty[:, :, None]  # (P, R, K)
        least = LEAST_CURVATURE / self.bound.square()
        return replace(self, scale=along.maximum(least).rsqrt())

    def steepest(self, slope: Tensor) -> Tensor:
        """The largest slope of each problem in the units of the bound, (P,)."""
        return (slope * (self.bound / self.scale)).abs().amax((1, 2))

    def only(self, which: Tensor) -> _Problems:
        """Some of the problems, by a mask (P,)."""
        return replace(
            self,
            shares=self.shares[which],
            penalty=self.penalty[which],
            bound=self.bound[which],
            scale=self.scale[which],
        )

    def unscaled(self, point: Tensor) -> Tensor:
        return point * self.scale

    def at(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Values (P,) and slopes (P, R, K) at `point` (P, R, K)."""
        solution = self.unscaled(point)
        logs = self._scores(solution).log_softmax(2)  # (N, P, K)
        losses = -(logs * self.truth[:, None, :]).sum(2)  # (N, P)
        penalty = self.penalty[:, :, None] * solution
        value = (self.shares.T * losses).sum(0) + 0.5 * (penalty * solution).sum((1, 2))
        excess = (logs.exp() - self.truth[:, None, :]) * self.shares.T[:, :, None]  # (N, P, K)
        return value, (self._across(self.positions, excess) + penalty) * self.scale

    def _scores(self, solution: Tensor) -> Tensor:
        """Solutions (P, R, K) at every image, (N, P, K)."""
        problems, axes, classes = solution.shape
        side_by_side = solution.permute(1, 0, 2).reshape(axes, problems * classes)
        return (self.positions @ side_by_side).view(-1, problems, classes)

    @staticmethod
    def _across(positions: Tensor, values: Tensor) -> Tensor:
        """Sums over the images of positions (N, R) times values (N, P, K), as (P, R, K)."""
        _, problems, classes = values.shape
        summed = (positions.T @ values.flatten(1)).view(-1, problems, classes)
        return summed.permute(1, 0, 2).contiguous()


def _direction(slope: Tensor, memory: list[Step]) -> Tensor:
    """Where to go from here, by the steps remembered: (P, R, K)."""
    direction, taken = -slope, []
    for step, change, inverse in reversed(memory):
        share = inverse * (step * direction).sum((1, 2), keepdim=True)
        direction = direction - share * change
        taken.append(share)
    for (step, change, inverse), share in zip(memory, reversed(taken), strict=True):
        direction = direction + step * (share - inverse * (change * direction).sum((1, 2), keepdim=True))
    return direction


def _search(
    problems: _Problems,
    point: Tensor,
    value: Tensor,
    slope: Tensor,
    step: Tensor,
    memory: list[Step],
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of every problem, halved where it does not lead down far enough; remembered in `memory`."""
    falls = (slope * step).sum((1, 2))  # (P,)
    length = torch.ones_like(value)
    rounding = 10 * torch.finfo(value.dtype).eps * value.abs()
    for _ in range(HALVINGS):
        there = point + length[:, None, None] * step
        there_value, there_slope = problems.at(there)
        short = there_value > value + SUFFICIENT * length * falls + rounding
        if not bool(short.any()):
            break
        length = torch.where(short, 0.5 * length, length)
    moved, change = there - point, there_slope - slope
    bend = (moved * change).sum((1, 2), keepdim=True)
    # A problem that no longer moves must not disturb the memory of the others: it remembers nothing.
    inverse = torch.where(bend > 1e-20, 1.0 / bend.clamp_min(1e-20), torch.zeros_like(bend))
    memory.append(Step(moved, change, inverse))
    del memory[:-MEMORY]
    return there, there_value, there_slope
