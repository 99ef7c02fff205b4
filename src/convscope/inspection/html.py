"""How a net shows itself in a notebook: its table and its drawing, as HTML that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from convscope.errors import ConvscopeError
from convscope.inspection.lines import folded_lines
from convscope.inspection.table import FULL, rows
from convscope.inspection.view import Inspection
from convscope.layers._base import Shape, written_shape
from convscope.net import Net

if TYPE_CHECKING:
    from collections.abc import Iterator

# Pictures that a net without an input of its own is shown for: the first it takes.
PROBABLE_INPUTS: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 224, 224), (1, 32, 32))
CELL = "padding:2px 8px;text-align:{};font-variant-numeric:tabular-nums;white-space:nowrap"


def net_page(net: Net) -> str:
    """HTML of a net, for the pictures it was published for or else the first common size it takes."""
    inspection = probable_inspection(net)
    if inspection is None:
        return f"<pre>{escape(str(net))}</pre>"
    return page(inspection)


def probable_inspection(net: Net) -> Inspection | None:
    """The net with an input it takes: the zoo's, a common one, or its smallest; None where there is none."""
    from convscope import nets

    for entry in map(nets.get, nets.names()):
        if entry.net == net:
            return Inspection(net, net.infer(entry.input_shape, entry.classes), entry.classes)
    for shape in _inputs(net):
        try:
            return Inspection(net, net.infer(shape))
        except ConvscopeError:
            continue
    return None


def _inputs(net: Net) -> Iterator[Shape]:
    yield from PROBABLE_INPUTS
    for channels in (1, 3):
        side = net.smallest_input(channels)
        if side is not None:
            yield channels, side, side


def page(inspection: Inspection) -> str:
    """The table and the drawing of a net for one input."""
    inference = inspection.inference
    title = (
        f"Input {written_shape(inference.input_shape)} → {written_shape(inference.output_shape)}: "
        f"{inference.parameters:,} parameters, {inference.macs:,} MACs a picture"
    )
    drawing = f'<div style="overflow-x:auto">{inspection.svg()}</div>'
    return f"<div><p>{escape(title)}</p>{drawing}{_table(inspection)}</div>"


def _table(inspection: Inspection) -> str:
    head, *body = rows(inspection.inference, folded_lines(inspection.inference), FULL)
    lines = [_row("th", head), *(_row("td", cells) for cells in body)]
    return f'<table style="border-collapse:collapse;font-size:90%">{"".join(lines)}</table>'


def _row(tag: str, cells: list[str]) -> str:
    sides = ["left", "left"] + ["right"] * (len(cells) - 2)
    inner = (
        f'<{tag} style="{CELL.format(side)}">{escape(cell)}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"
