"""What a terminal shows of an explanation, in lines that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.explanation.working import Floats, Working
from convscope.layers._base import written_shape

if TYPE_CHECKING:
    from convscope.explanation.looking import Explanation

MAPS_WRITTEN_OUT = 4
MOST_SUMS = 64
MOST_CONTRIBUTIONS = 8
MOST_ROWS = 16


def rendered(explanation: Explanation, width: int) -> str:
    """The prediction, the pictures, and where a layer was asked for the number written out."""
    likeliest = ", ".join(f"{label} {probability:.3f}" for label, probability in explanation.top)
    lines = [f"{explanation.image}: {likeliest}"]
    lines += [f"{sheet.file_name}: {sheet.title}" for sheet in explanation.sheets]
    if explanation.working and explanation.layer:
        lines += ["", *working_lines(explanation.working, width)]
    return "\n".join(line.rstrip() for line in lines)


def working_lines(working: Working, width: int = 80) -> list[str]:
    """One number of a layer written out."""
    shapes = f"{written_shape(working.input_shape)} → {written_shape(working.output_shape)}"
    lines = [f"{working.layer}, {working.where}  ({_short(working.text)}, {shapes})"]
    if working.rows:
        lines.append(_window_text(working))
    body = _body(working, width)
    return [*lines, "", *body, *([""] if body else []), *result_lines(working)]


def result_lines(working: Working) -> list[str]:
    """a with its numbers put in, and what the layers after it make of it."""
    lines = [f"{working.formula} = {_added(working)}{number(working.computed)}"]
    difference = abs(working.computed - working.own)
    lines.append(f"the network's own number: {number(working.own)} (difference {difference:.1e})")
    return lines + [f"z = {step.formula} = {number(step.value)}   ({step.name})" for step in working.steps]


def _added(working: Working) -> str:
    """The sum and the bias apart, where there is one."""
    if working.bias is None or (working.products is None and working.contributions is None):
        return ""
    sign = "−" if working.bias < 0 else "+"
    return f"{number(working.computed - working.bias)} {sign} {number(abs(working.bias))} = "


def _window_text(working: Working) -> str:
    rows, columns = working.rows, working.columns
    padding = "" if working.inside is None or working.inside.all() else "; · is padding"
    gap = "" if len(rows) < 2 or rows[1] - rows[0] == 1 else f", every {rows[1] - rows[0]}"
    count = len(working.maps)
    several = f" of {count} input map{'s' if count > 1 else ''}"
    maps = several if working.kind == "conv" else f" of map {working.maps[0]}"
    return (
        f"window: rows {rows[0]} to {rows[-1]}{gap}, columns {columns[0]} to {columns[-1]}{gap}{maps}{padding}"
    ).replace("-", "−")


def _body(working: Working, width: int) -> list[str]:
    if working.products is not None:
        return _convolution(working, width)
    if working.contributions is not None:
        return _contributions(working)
    if working.patch is not None:
        return _grid(working.patch[0][:MOST_ROWS, :MOST_ROWS], working.inside, working.winner, "window")
    return []


def _convolution(working: Working, width: int) -> list[str]:
    """patch × filter = products, map by map: all of a few, of many the ones that count most."""
    assert working.patch is not None
    assert working.weights is not None
    assert working.products is not None
    sums = working.map_sums
    order = range(len(sums))
    if len(sums) > MAPS_WRITTEN_OUT:
        order_by_size = np.argsort(-np.abs(sums), kind="stable")[:MAPS_WRITTEN_OUT]
        chosen = sorted(int(k) for k in order_by_size)
    else:
        chosen = list(order)
    lines = []
    for k in chosen:
        grids = [
            _grid(working.patch[k], working.inside, None, f"input map {working.maps[k]}"),
            _grid(working.weights[k], None, None, "× filter"),
            _grid(working.products[k], working.inside, None, f"= products, Σ {number(float(sums[k]))}"),
        ]
        lines += [*_beside(grids, width), ""]
    if len(sums) > len(chosen):
        lines += [f"The {len(chosen)} input maps that count most are written out. Σ of each map:"]
        lines += _sums(working.maps, sums, width)
    return lines[:-1] if lines and not lines[-1] else lines


def _sums(maps: Sequence[int], sums: Floats, width: int) -> list[str]:
    digits = _decimals(sums) + 1
    texts = [_cell(float(s), True, False, digits) for s in sums[:MOST_SUMS]]
    widest = max(map(len, texts))
    cells = [f"{m:>4} {text:>{widest}}" for m, text in zip(maps, texts, strict=False)]
    across = max(1, (width + 2) // (widest + 7))
    lines = ["  ".join(cells[k : k + across]) for k in range(0, len(cells), across)]
    rest = float(sums[MOST_SUMS:].sum())
    return lines + (
        [f"and {len(sums) - MOST_SUMS} more, together {number(rest)}"] if len(sums) > MOST_SUMS else []
    )


def _grid(numbers: Floats, inside: object, winner: tuple[int, int] | None, heading: str) -> list[str]:
    """Numbers in aligned columns under a heading; · for padding, and the winner in brackets."""
    mask = inside if isinstance(inside, np.ndarray) else np.ones(numbers.shape, bool)
    digits = _decimals(numbers)
    cells = [
        [_cell(float(v), bool(mask[i, j]), winner == (i, j), digits) for j, v in enumerate(row)]
        for i, row in enumerate(numbers)
    ]
    widest = max(len(cell) for row in cells for cell in row)
    return [heading, *(" ".join(cell.rjust(widest) for cell in row) for row in cells)]


def _cell(value: float, is_inside: bool, wins: bool, digits: int) -> str:
    if not is_inside:
        return "·"
    text = f"{value:.{digits}f}".replace("-", "−")
    text = text.removeprefix("−") if not text.strip("−0.") else text
    return f"[{text}]" if wins else text


def _decimals(numbers: Floats) -> int:
    """So many that the largest number shows three digits."""
    largest = float(np.abs(numbers).max())
    return 2 if largest == 0 else min(6, max(0, 2 - math.floor(math.log10(largest))))


def _beside(grids: list[list[str]], width: int) -> list[str]:
    """Grids next to each other, as many as fit in a line, the others under them."""
    lines: list[str] = []
    row: list[list[str]] = []
    for grid in grids:
        if row and sum(_width(g) + 3 for g in row) + _width(grid) > width:
            lines += _joined(row)
            row = []
        row.append(grid)
    return lines + _joined(row)


def _joined(grids: list[list[str]]) -> list[str]:
    height = max(len(grid) for grid in grids)
    columns = [[line.ljust(_width(grid)) for line in grid] + [""] * (height - len(grid)) for grid in grids]
    return ["   ".join(parts).rstrip() for parts in zip(*columns, strict=True)]


def _width(grid: list[str]) -> int:
    return max(len(line) for line in grid)


def _contributions(working: Working) -> list[str]:
    """The products of a dense layer that count most, either way."""
    assert working.contributions is not None
    assert working.inputs is not None
    order = np.argsort(working.contributions, kind="stable")
    lines = []
    for heading, chosen in (("most for it", order[::-1]), ("most against it", order)):
        lines.append(f"{heading}:")
        for k in chosen[:MOST_CONTRIBUTIONS].tolist():
            product, x = float(working.contributions[k]), float(working.inputs[k])
            if (product > 0) == (heading == "most for it") and product:
                words = f"  {place_text(working, k):<34} x {number(x):>9}"
                lines.append(f"{words} · w {number(product / x):>9} = {number(product):>9}")
    positive = float(working.contributions[working.contributions > 0].sum())
    negative = float(working.contributions[working.contributions < 0].sum())
    return [
        *lines,
        f"all positive products together {number(positive)}, all negative ones {number(negative)}",
    ]


def place_text(working: Working, index: int) -> str:
    """Which input it is: its place in the vector, and on the maps that were stretched into it."""
    if working.places is None:
        return f"input {index}"
    m, row, column = np.unravel_index(index, working.places)
    return f"input {index} (map {m}, row {row}, col {column})"


def number(value: float) -> str:
    """A number with six digits at most, and a real minus.

    >>> number(-0.12345678)
    '−0.123457'
    """
    return f"{value:.6g}".replace("-", "−")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 40 else flat[:39] + "…"
