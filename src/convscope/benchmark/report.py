"""What `bench` found, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convscope.benchmark.alternation import Rates
from convscope.benchmark.machine import Machine
from convscope.engine.plan import Plan

HEADINGS = ("", "images/s", "least – most", "times plain")


@dataclass(frozen=True)
class MachinePlan:
    """This machine and the plan that was chosen on it for a net."""

    machine: Machine
    net: str
    input_shape: tuple[int, ...]
    batch_size: int
    plan: Plan

    def to_json(self) -> dict[str, Any]:
        """Plain values: `machine, net, input_shape, batch_size, plan`."""
        return {
            "machine": self.machine.to_json(),
            "net": self.net,
            "input_shape": list(self.input_shape),
            "batch_size": self.batch_size,
            "plan": self.plan.to_json(),
        }

    def text(self) -> str:
        """Machine, plan, reason, and the trials it rests on."""
        return "\n".join([*_machine_lines(self.machine), "", *self._plan_lines(), *_trial_lines(self.plan)])

    def _plan_lines(self) -> list[str]:
        plan, shape = self.plan, "×".join(map(str, self.input_shape))
        facts = {
            "for": f"{self.net} on {shape}, {self.batch_size} images a step",
            "device": plan.device,
            "precision": plan.precision,
            "threads": str(plan.threads),
            "layout": plan.layout.replace("_", " "),
            "steps": _how(plan.compiled, plan.convolution),
            "evaluation": f"{plan.evaluation_batch} images at a time",
            "reason": plan.reason,
        }
        return _lines(facts)


@dataclass(frozen=True)
class Bench:
    """Images a second of the contestants, all measured in alternation.

    Args:
        planned: the machine and the plan.
        training: ours and plain PyTorch's, by what a table calls them; the first is under the plan.
        limit: images a second of the measured limit of a step in the plan's precision.
        evaluation: of scoring, without start-up.
    """

    planned: MachinePlan
    training: dict[str, Rates]
    limit: Rates
    evaluation: Rates

    @property
    def ours(self) -> Rates:
        """Training under the plan."""
        return next(iter(self.training.values()))

    @property
    def plain(self) -> Rates:
        """Plain PyTorch in float32."""
        return next(reversed(self.training.values()))

    @property
    def share_of_limit(self) -> float:
        """Training under the plan over the measured limit, of medians."""
        return self.ours.median / self.limit.median

    @property
    def times_plain(self) -> float:
        """Training under the plan over plain PyTorch in float32, of medians."""
        return self.ours.median / self.plain.median

    def to_json(self) -> dict[str, Any]:
        """Plain values: those of `MachinePlan`, and `training[], limit, share_of_limit, times_plain, evaluation`."""
        return {
            **self.planned.to_json(),
            "training": [{"what": what, **rates.to_json()} for what, rates in self.training.items()],
            "limit": self.limit.to_json(),
            "share_of_limit": self.share_of_limit,
            "times_plain": self.times_plain,
            "evaluation": self.evaluation.to_json(),
        }

    def text(self) -> str:
        """The plan, a table, and two sentences on how to read it."""
        rows = [self._row(what, rates) for what, rates in self.training.items()]
        rows += [self._row("measured limit of a step", self.limit), _row("evaluate", self.evaluation, "")]
        return "\n".join([self.planned.text(), "", _table([HEADINGS, *rows]), "", *self._sentences()])

    def _row(self, what: str, rates: Rates) -> tuple[str, ...]:
        return _row(what, rates, f"{rates.median / self.plain.median:.2f}")

    def _sentences(self) -> list[str]:
        rounds = len(self.ours.each)
        return [
            f"Training reaches {self.share_of_limit:.2f} of the measured limit and is {self.times_plain:.2f} times as"
            " fast as plain PyTorch in float32.",
            f"Medians of {rounds} rounds in alternation; compare within one table only.",
        ]


def _row(what: str, rates: Rates, last: str) -> tuple[str, ...]:
    return what, f"{rates.median:,.0f}", f"{min(rates.each):,.0f} – {max(rates.each):,.0f}", last


def _machine_lines(machine: Machine) -> list[str]:
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "not known"
    return _lines(
        {
            "cpu": f"{machine.cpu or 'not known'}, {machine.cores} core{'s' if machine.cores > 1 else ''}",
            "instructions": ", ".join(machine.instruction_sets),
            "memory": memory,
            "gpu": machine.gpu or "none",
            "torch": f"{machine.torch} on {machine.system}",
        }
    )


def _trial_lines(plan: Plan) -> list[str]:
    """What was tried before the plan was chosen; nothing where nothing had to be."""
    trials = plan.trials
    rows = [
        (trial.precision, _how(trial.compiled, trial.convolution), f"{trial.images_per_s:,.0f}")
        for trial in trials
    ]
    return ["", _table([("trial", "", "images/s"), *rows], left=2)] if rows else []


def _how(compiled: bool, convolution: str) -> str:
    if not compiled:
        return "as torch has them"
    method = {
        "winograd": ", 3×3 convolutions by Winograd's method",
        "amx": ", with matrix instructions (AMX)",
    }
    return "compiled" + method.get(convolution, "")


def _lines(facts: dict[str, str]) -> list[str]:
    return [f"{name:<14}{value}" for name, value in facts.items()]


def _table(rows: list[tuple[str, ...]], left: int = 1) -> str:
    """Columns lined up; the first `left` flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
