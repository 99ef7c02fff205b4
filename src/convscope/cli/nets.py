"""convscope nets: the networks that come with the package, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from convscope.cli.options import Json
from convscope.cli.output import emit_json, say, shape_text, table


@dataclass(frozen=True)
class Row:
    """One network at its own default input; `depth` counts the convolution and dense layers on the longest path."""

    name: str
    family: str
    year: int | None
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    macs: int
    depth: int
    description: str
    net: str


def nets(as_json: Json = False) -> None:
    """The networks that come with convscope, in one comparison table."""
    from convscope import nets as zoo

    rows = [_row(name) for name in zoo.names()]
    if as_json:
        return emit_json([asdict(row) for row in rows])
    headings = ["name", "family", "year", "input", "parameters", "MACs", "depth"]
    say(table(headings, [_cells(row) for row in rows], left=2))
    say("\nSee one layer by layer: convscope inspect NAME. Train one: convscope train --net NAME")


def _row(name: str) -> Row:
    from convscope import nets as zoo

    entry = zoo.get(name)
    inference = entry.net.infer(entry.input_shape, entry.classes)
    return Row(
        name=entry.name,
        family=entry.family,
        year=entry.year,
        input_shape=entry.input_shape,
        classes=entry.classes,
        parameters=inference.parameters,
        macs=inference.macs,
        depth=inference.depth,
        description=entry.description,
        net=str(entry.net),
    )


def _cells(row: Row) -> list[str]:
    year = str(row.year) if row.year else "–"
    shape = shape_text(row.input_shape)
    return [row.name, row.family, year, shape, f"{row.parameters:,}", f"{row.macs:,}", str(row.depth)]
