"""convscope nets: the networks that come with the package, side by side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import Json
from convscope.cli.output import emit_json, say, shape_text, table

if TYPE_CHECKING:
    from convscope.nets.comparison import Pools, Row

HEADINGS = {
    "name": "name", "year": "year", "input": "input", "depth": "depth", "parameters": "parameters", "macs": "MACs",
    "receptive_field": "sees", "pools": "pools", "top5_single": "single", "top5_ensemble": "several",
    "torchvision": "weights",
}  # fmt: skip
DROPPED_FIRST = ("input", "pools", "torchvision", "receptive_field", "top5_ensemble", "top5_single", "year")
SORT_ALIASES = {
    "MACs": "macs",
    "sees": "receptive_field",
    "single": "top5_single",
    "several": "top5_ensemble",
}
NARROWEST = 40

LEGEND = """
depth: convolutions and dense layers on the longest path. sees: pixels, side by side, that one
number of the last map sees. pools: number×window/stride of max-pools, * where windows overlap; sub is
LeNet-5's sub-sampling, avg or max alone is over the whole map. single, several: the paper's best top-5
error on ImageNet in %, with one net and with an ensemble. weights: top-1/top-5 accuracy in % of
the published weights. --json says what each number is, and its source.
"""


def nets(
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Order by a column, smallest first, such as parameters."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw network size and error rate in ILSVRC to FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The networks that come with convscope, in one comparison table."""
    from convscope.nets.comparison import compare

    rows = compare(SORT_ALIASES.get(sort, sort) if sort else None)
    if svg is not None:
        _draw(svg)
    if as_json:
        return emit_json([row.to_json() for row in rows])
    say(comparison_text(rows, max(NARROWEST, shutil.get_terminal_size(fallback=(120, 24)).columns)))


def _draw(path: Path) -> None:
    from convscope.cli.output import note
    from convscope.inspection.chart import ilsvrc_svg
    from convscope.model_file import write_text

    write_text(path, ilsvrc_svg())
    note(f"Wrote {path}: network size and error rate in ILSVRC")


def comparison_text(rows: list[Row], width: int) -> str:
    """The table with its legend in at most `width` columns; columns that do not fit are left out, and named."""
    cells = [_cells(row) for row in rows]
    columns, dropped = list(HEADINGS), list(DROPPED_FIRST)
    while (text := _table(columns, cells)) and _width(text) > width and dropped:
        columns.remove(dropped.pop(0))
    missing = [heading for column, heading in HEADINGS.items() if column not in columns]
    wider = f"A wider window also shows: {', '.join(missing)}.\n" if missing else ""
    return (
        f"{text}\n{LEGEND}{wider}\n"
        "See one layer by layer: convscope inspect NAME. Train one: convscope train --net NAME"
    )


def _table(columns: list[str], cells: list[dict[str, str]]) -> str:
    return table([HEADINGS[column] for column in columns], [[row[c] for c in columns] for row in cells])


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _cells(row: Row) -> dict[str, str]:
    return {
        "name": row.name,
        "year": str(row.year) if row.year else "–",
        "input": shape_text(row.input_shape),
        "depth": str(row.depth),
        "parameters": f"{row.parameters:,}",
        "macs": _short(row.macs),
        "receptive_field": str(row.receptive_field or "–"),
        "pools": " ".join(map(_pool_text, row.pools)) or "–",
        "top5_single": _percent(row.top5_single),
        "top5_ensemble": _percent(row.top5_ensemble),
        "torchvision": _accuracies(row),
    }


def _short(macs: int) -> str:
    """Multiply-adds with three or four digits and a unit.

    >>> _short(724_406_816), _short(30_720)
    ('724.4 M', '0.031 M')
    """
    if macs >= 10**9:
        return f"{macs / 1e9:.2f} G"
    return f"{macs / 1e6:.1f} M" if macs >= 10**6 else f"{macs / 1e6:.3f} M"


def _percent(fraction: float | None) -> str:
    """A fraction in percent, with a second decimal only where it says something.

    >>> _percent(0.182), _percent(0.03567)
    ('18.2', '3.57')
    """
    return "–" if fraction is None else f"{100 * fraction:.2f}".removesuffix("0")


def _accuracies(row: Row) -> str:
    if row.package_top1 is not None:
        return f"{100 * row.package_top1:.1f}"
    if row.torchvision_top1 is None or row.torchvision_top5 is None:
        return "–"
    return f"{100 * row.torchvision_top1:.1f}/{100 * row.torchvision_top5:.1f}"


def _pool_text(pools: Pools) -> str:
    """For example 3×3/2* for three 3×3 max-pools that move by 2."""
    if pools.window is None:
        return pools.kind.rpartition(" ")[2]
    number = f"{pools.number}×" if pools.number > 1 else ""
    kind = {"max": "", "subsample": "sub "}.get(pools.kind, f"{pools.kind} ")
    return f"{number}{kind}{pools.window}/{pools.stride}{'*' if pools.overlap else ''}"
