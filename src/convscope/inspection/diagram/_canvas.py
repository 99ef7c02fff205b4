"""SVG as text: shapes and words at absolute places, escaped, with rounded numbers: the same drawing, the same text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape

FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, SOFT_INK, LINE = "#222222", "#5b6470", "#6b7480"
SMALL, NORMAL, LARGE = 10.0, 11.5, 19.0
LEAST_ZOOM = 0.72  # below this a screen shows letters too small to read

Point = tuple[float, float]


class Canvas:
    """Collects elements; `document` wraps them in an `svg` with a viewBox and a white ground."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = LINE,
        *, radius: float = 0, dash: str = "", line: float = 1,
    ) -> None:  # fmt: skip
        """A rectangle with its upper left corner at (x, y)."""
        self.parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="{_n(line)}"{_dashed(dash)}/>'
        )

    def polygon(
        self, points: Sequence[Point], fill: str, stroke: str = LINE, line: float = 1, *, opacity: float = 1,
    ) -> None:  # fmt: skip
        """A closed outline; what is behind it shines through where its opacity is below 1."""
        through = f' fill-opacity="{_n(opacity)}"' if opacity < 1 else ""
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self.parts.append(
            f'<polygon points="{corners}" fill="{fill}"{through} stroke="{stroke}" stroke-width="{_n(line)}" '
            'stroke-linejoin="round"/>'
        )

    def circle(self, x: float, y: float, radius: float, fill: str, stroke: str = LINE) -> None:
        """A circle around (x, y)."""
        self.parts.append(
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}" stroke="{stroke}"/>'
        )

    def line(self, points: Sequence[Point], stroke: str = LINE, *, dash: str = "", line: float = 1.2) -> None:
        """A broken line through points."""
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self.parts.append(
            f'<polyline points="{corners}" fill="none" stroke="{stroke}" stroke-width="{_n(line)}" '
            f'stroke-linejoin="round"{_dashed(dash)}/>'
        )

    def arrow(self, points: Sequence[Point], stroke: str = LINE, *, dash: str = "") -> None:
        """A broken line with a head at its last point, whose last piece is horizontal or vertical."""
        (x0, y0), (x1, y1) = points[-2:]
        along = ((x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0))
        back = (x1 - 6 * along[0], y1 - 6 * along[1])
        side = (3.2 * along[1], 3.2 * along[0])
        self.line([*points[:-1], back], stroke, dash=dash)
        head = [(x1, y1), (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
        self.polygon(head, stroke, stroke, 0.5)

    def text(
        self, x: float, y: float, words: str, *, size: float = NORMAL, anchor: str = "middle",
        fill: str = INK, bold: bool = False, halo: bool = False,
    ) -> None:  # fmt: skip
        """Words whose baseline is at y; a halo keeps lines behind them away."""
        weight = ' font-weight="bold"' if bold else ""
        around = (
            ' stroke="#ffffff" stroke-width="3" paint-order="stroke" stroke-linejoin="round"' if halo else ""
        )
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}" fill="{fill}"'
            f"{weight}{around}>{escaped(words)}</text>"
        )

    @contextmanager
    def layer(self, names: Sequence[str], kind: str, title: str) -> Iterator[None]:
        """Everything drawn inside belongs to these layers; pointing at it shows `title`."""
        self.parts.append(
            f'<g class="layer" data-name="{escaped(" ".join(names))}" data-kind="{escaped(kind)}">'
            f"<title>{escaped(title)}</title>"
        )
        yield
        self.parts.append("</g>")

    def document(self, width: float, height: float, title: str) -> str:
        """The whole file. It fills the width it is given, and stays readable where that is narrow."""
        size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONTS}" role="img" '
            f'style="max-width:100%;height:auto;min-width:{_n(LEAST_ZOOM * width)}px">\n'
            f"<title>{escaped(title)}</title>\n"
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


def escaped(words: str) -> str:
    """Words as they may stand in XML: marks escaped, characters XML has no room for left out."""
    return escape("".join(c for c in words if c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))


def text_width(words: str, size: float = NORMAL) -> float:
    """About how wide words are, in pixels, in the widest of the fonts (DejaVu Sans)."""
    return size * sum(_character_width(c) for c in words)


def widest(lines: Iterable[str], size: float = NORMAL) -> float:
    """The width of the widest line."""
    return max((text_width(line, size) for line in lines), default=0.0)


def _character_width(character: str) -> float:
    if character in "iljtfI.,:;'|!()[]/ ":
        return 0.38
    if character in "mwMW@%…→—":
        return 0.95
    return 0.66 if character.isupper() or character.isdigit() else 0.61


def shaded(colour: str, share: float) -> str:
    """A colour moved towards white (share > 0) or black (share < 0)."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    goal = 255 if share > 0 else 0
    return "#" + "".join(f"{round(c + (goal - c) * abs(share)):02x}" for c in channels)


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _n(value: float) -> str:
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0")
        if -0.05 < value < 0
        else f"{value:.1f}".removesuffix(".0")
    )
