"""The lines of a table: one a layer or, so that a deep net fits on a page, one for layers that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from convscope.inference import Inference, Node, Step
from convscope.inspection.folding import Run, runs
from convscope.inspection.totals import Costs, total
from convscope.layers import Layer
from convscope.layers._composite import Composite

MOST_UNFOLDED = 30  # layers that are shown each on a line of its own
MOST_OPEN = 60  # lines above which composites are closed
LEAST_FOLDED = 4  # lines that a fold must save
FOLLOWERS = ("batchnorm", "relu", "relu6", "gelu", "tanh", "sigmoid", "dropout", "lrn", "identity", "softmax")


@dataclass(frozen=True)
class Line:
    """One line: a layer, or several together, whose numbers are added and of which the last says shape and field."""

    name: str
    what: str
    steps: tuple[Step, ...]
    takes_followers: bool = False
    followers: tuple[str, ...] = ()  # words behind the first layer

    @cached_property
    def costs(self) -> Costs:
        """What the layers of this line cost; inside a closed composite without its training-only ones."""
        return total(s for s in self.steps if self.training_only or not s.training_only)

    @property
    def training_only(self) -> bool:
        """Whether all of it is for training only."""
        return all(step.training_only for step in self.steps)

    @property
    def last(self) -> Step:
        """The layer whose shape and receptive field stand in the line."""
        return self.steps[-1]


def all_lines(inference: Inference) -> list[Line]:
    """A line for each layer."""
    return [Line(step.name, text_of(step.layer), (step,)) for step in inference.steps]


def folded_lines(inference: Inference) -> list[Line]:
    """At most some dozens of lines: followers join their layer, repeats are folded, then composites are closed."""
    if len(inference.steps) <= MOST_UNFOLDED:
        return all_lines(inference)
    opened = _Folder(inference, closed=False).row(inference.nodes)
    return opened if len(opened) <= MOST_OPEN else _Folder(inference, closed=True).row(inference.nodes)


class _Folder:
    def __init__(self, inference: Inference, closed: bool) -> None:
        self.inference, self.closed = inference, closed
        self.steps = {step.name: step for step in inference.steps}

    def row(self, nodes: Sequence[Node]) -> list[Line]:
        """The lines of nodes that stand in a row."""
        lines: list[Line] = []
        for run in runs(nodes, self.inference):
            self._add_run(lines, run)
        return lines

    def _add_run(self, lines: list[Line], run: Run) -> None:
        unit: list[Line] = []
        for node in run.unit:
            self._add(unit, node)
        others = run.nodes[len(run.unit) :]
        if (run.copies - 1) * len(unit) >= LEAST_FOLDED:
            rest = tuple(step for node in others for step in self._steps_of(node))
            again = "the line" if len(unit) == 1 else f"the {len(unit)} lines"
            lines += [
                *unit,
                Line(f"{run.copies - 1}× to {others[-1].name}", f"{again} above, again", rest),
            ]
            return
        for node in run.nodes:
            self._add(lines, node)

    def _add(self, lines: list[Line], node: Node) -> None:
        if isinstance(node.layer, Composite):
            lines += self._composite(node, node.layer)
        elif node.layer.word in FOLLOWERS and lines and lines[-1].takes_followers:
            before = lines.pop()
            steps, words = (*before.steps, self.steps[node.name]), (*before.followers, node.layer.word)
            lines.append(Line(before.name, before.what, steps, True, words))
        else:
            lines.append(Line(node.name, text_of(node.layer), (self.steps[node.name],), True))

    def _composite(self, node: Node, layer: Composite) -> list[Line]:
        if self.closed and layer.has_row:
            inside = self._steps_of(node)
            what = "for training only" if layer.word == "aux" else f"{len(inside) - 1} layers inside"
            what = f"{layer.word}, {what}"
            return [Line(node.name, what, inside, True)]
        lines = [line for path in node.paths for line in self.row(path)]
        return (
            [*lines, Line(node.name, _short(layer), (self.steps[node.name],), True)]
            if layer.has_row
            else lines
        )

    def _steps_of(self, node: Node) -> tuple[Step, ...]:
        inside = tuple(step for path in node.paths for n in path for step in self._steps_of(n))
        return (*inside, self.steps[node.name]) if node.name in self.steps else inside


def text_of(layer: Layer) -> str:
    """A layer's text without its name, which has a column of its own."""
    if isinstance(layer, Composite):
        return _short(layer)
    return str(replace(layer, name=None) if layer.name else layer)


def _short(layer: Composite) -> str:
    """What the join itself is, without the layers inside."""
    shortcut = getattr(layer, "shortcut", None)
    return layer.word if shortcut in (None, "identity") else f"{layer.word}, {shortcut}"
