"""`inspect`: shapes, parameters, multiply-adds and receptive fields of every layer, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convscope import nets
from convscope.errors import ShapeError
from convscope.inference import Inference, Step, shortened
from convscope.layers._base import Shape, written_shape
from convscope.net import DEFAULT_CLASSES, Net

if TYPE_CHECKING:
    from convscope.model_file import Model

HEADINGS = ("layer", "what", "output", "parameters", "share", "MACs", "sees", "jump")


def inspect(
    what: str | Net | Model, input_shape: Shape | None = None, classes: int | None = None
) -> Inspection:
    """Look at a network: a name of the zoo, text, a Net, or a model.

    Args:
        what: the network.
        input_shape: (C, H, W); a name and a model bring their own.
        classes: what the placeholder `classes` stands for; without it the published number, else 10.

    Raises NetTextError for an unknown name or unreadable text, ShapeError where the shapes do not fit.

    >>> inspect("lecture").inference.macs
    11992448
    """
    if isinstance(what, str) and what in nets.names():
        entry = nets.get(what)
        return _inspection(entry.net, input_shape or entry.input_shape, classes or entry.classes)
    if isinstance(what, str | Net):
        return _inspection(nets.resolve(what)[1], input_shape, classes)
    return _inspection(what.net, input_shape or what.input_shape, classes or len(what.class_names))


def _inspection(net: Net, input_shape: Shape | None, classes: int | None) -> Inspection:
    if input_shape is None:
        raise ShapeError(
            "a net without an input shape", "the pictures' channels, rows and columns", "Add --input 1,28,28"
        )
    return Inspection(net, net.infer(input_shape, DEFAULT_CLASSES if classes is None else classes))


@dataclass(frozen=True)
class Inspection:
    """A network and everything that follows from it for one input shape."""

    net: Net
    inference: Inference

    def to_json(self) -> dict[str, Any]:
        """The document `inspect --json` prints; sizes are numbers, shapes lists (C, H, W) or (D,)."""
        inference = self.inference
        return {
            "net": str(self.net),
            "input_shape": list(inference.input_shape),
            "output_shape": list(inference.output_shape),
            "parameters": inference.parameters,
            "parameters_training_only": inference.parameters_training_only,
            "macs": inference.macs,
            "depth": inference.depth,
            "layers": [_step_json(step) for step in inference.steps],
        }

    def render(self) -> str:
        """The table as plain text, a line a layer, then the totals."""
        rows = [HEADINGS, *(_cells(step, self.inference.parameters) for step in self.inference.steps)]
        return "\n".join([_title(self.inference), *_aligned(rows), *_totals(self.inference)])

    def __str__(self) -> str:
        return self.render()


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "text": str(step.layer),
        "input_shape": list(step.input_shape),
        "output_shape": list(step.output_shape),
        "parameters": step.parameters,
        "macs": step.macs,
        "receptive_field": step.receptive_field,
        "jump": step.jump,
        "training_only": step.training_only,
    }


def _title(inference: Inference) -> str:
    return f"Input {written_shape(inference.input_shape)} → scores {written_shape(inference.output_shape)}\n"


def _cells(step: Step, total: int) -> tuple[str, ...]:
    share = f"{100 * step.parameters / total:.1f} %" if step.parameters and not step.training_only else ""
    return (
        step.name + (" (training only)" if step.training_only else ""),
        shortened(str(step.layer), 44),
        written_shape(step.output_shape),
        f"{step.parameters:,}" if step.parameters else "",
        share,
        f"{step.macs:,}" if step.macs else "",
        _pixels(step.receptive_field),
        "" if step.jump is None else _pixels(step.jump),
    )


def _pixels(value: float | list[int] | list[float]) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns lined up; names and words to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(_padded(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in rows]


def _padded(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def _totals(inference: Inference) -> list[str]:
    lines = [
        "",
        f"{inference.parameters:,} parameters, {inference.macs:,} MACs a picture "
        "(multiply-adds of convolutions and dense layers).",
    ]
    if inference.parameters_training_only:
        lines.append(
            f"{inference.parameters_training_only:,} parameters more in outputs that only training uses."
        )
    lines.append(
        "“sees” is the receptive field and “jump” the distance of neighbours, in pixels of the picture."
    )
    return lines
