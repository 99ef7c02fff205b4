"""How a layer's numbers come about: `Working`, and the formulas that several words share, with the numbers put in.

The letters are the lecture's: W a side of the map that comes, F of the window, P rings of padding, S the stride, D maps
that come, D′ maps that leave, W′ and H′ their columns and rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.layers._window import Slide

PRIME = "′"


@dataclass(frozen=True)
class Working:
    """What a layer does, and its shape, parameters and multiply-adds as formulas with numbers; a string is a line."""

    does: str
    shape: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


def product(*factors: int) -> str:
    """Factors with dots between them, as the lecture writes a product.

    >>> product(5, 5, 3)
    '5·5·3'
    """
    return "·".join(f"{factor:,}" for factor in factors)


def size_lines(slides: tuple[Slide, Slide]) -> tuple[str, ...]:
    """The lecture's size formula for rows and columns, once where both are the same."""
    rows, columns = slides
    if rows == columns:
        return (f"W{PRIME} = H{PRIME} = {_worked(rows)}",)
    # The formula's letter for a side is W; for the rows it is H.
    return f"H{PRIME} = {_worked(rows).replace('W', 'H', 1)}", f"W{PRIME} = {_worked(columns)}"


def _worked(axis: Slide) -> str:
    exact, positions = axis.exact, axis.positions
    said = f"{axis.formula} = {exact:g}"
    if exact == positions:
        return said
    if axis.ceil and positions >= exact:
        return f"{said}, rounded up {positions}"
    if axis.ceil and positions < exact - 1:
        return f"{said}, less a window that would start in the padding: {positions}"
    return f"{said}, rounded down {positions}"


def side_letters(extent: tuple[int, int]) -> str:
    """A window's area in letters: F·F, or F₁·F₂ where it is not square."""
    return "F·F" if extent[0] == extent[1] else "F₁·F₂"
