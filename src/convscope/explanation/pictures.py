"""Numbers as pictures: filters, templates and maps on sheets, each with its number and its range."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Floats = npt.NDArray[Any]
SHEET_WIDTH, TILE, GAP, CAPTION = 1000, 64, 8, 14
INK, GROUND, SOFT = "#1e2228", "#ffffff", "#6e7680"


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet and the words under it."""

    picture: Image.Image
    caption: str


def map_picture(numbers: Floats) -> Image.Image:
    """A map (H, W) in grays, its smallest number black and its largest white."""
    low, high = float(numbers.min()), float(numbers.max())
    share = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    return Image.fromarray(np.round(255 * share).astype(np.uint8))


def filter_picture(weights: Floats) -> Image.Image:
    """Weights (C, H, W): as colours for three maps, else blue for negative and red for positive numbers.

    Zero is the middle gray of colours, and white between blue and red; the largest size has the fullest colour.
    """
    largest = float(np.abs(weights).max()) or 1.0
    share = weights / largest  # -1 … 1
    if len(weights) == 3:
        return Image.fromarray(np.round(127.5 + 127.5 * share).astype(np.uint8).transpose(1, 2, 0).copy())
    return Image.fromarray(_blue_to_red(share[0] if len(weights) == 1 else np.hstack(list(share))))


def _blue_to_red(share: Floats) -> npt.NDArray[np.uint8]:
    """(H, W) in −1 … 1 as (H, W, 3): blue, white, red."""
    ends = np.where(share[..., None] < 0, np.array([33, 102, 172]), np.array([178, 24, 43]))
    strength = np.abs(share)[..., None]
    colours: npt.NDArray[np.uint8] = np.round(255 * (1 - strength) + ends * strength).astype(np.uint8)
    return colours


def image_picture(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """What the network was given, (C, H, W), as a picture."""
    return Image.fromarray(pixels[0] if len(pixels) != 3 else pixels.transpose(1, 2, 0).copy())


def enlarged(picture: Image.Image, side: int, *, exactly: bool = False) -> Image.Image:
    """A picture so that its longer side is about `side`: whole pixels when it grows, means when it shrinks.

    Exactly `side` where that is asked for, at the price of pixels of unequal width.
    """
    longer = max(picture.size)
    if longer <= side and not exactly:
        factor = max(1, side // longer)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    size = (max(1, picture.width * side // longer), max(1, picture.height * side // longer))
    return picture.resize(size, Image.Resampling.NEAREST if longer < side else Image.Resampling.BOX)


def sheet(tiles: Sequence[Tile], title: str, side: int = TILE) -> Image.Image:
    """Pictures in rows with their captions, under a title."""
    pictures = [enlarged(tile.picture, side) for tile in tiles]
    longest = max(_width(tile.caption) for tile in tiles)
    wide = max(max(picture.width for picture in pictures), longest) + GAP
    high = max(picture.height for picture in pictures) + CAPTION + GAP
    columns = max(1, min(len(tiles), SHEET_WIDTH // wide))
    width = max(columns * wide, _width(title)) + 2 * GAP
    canvas, draw = _canvas((width, 26 + -(-len(tiles) // columns) * high + GAP), title, pictures)
    for k, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        x, y = GAP + k % columns * wide, 26 + k // columns * high
        canvas.paste(picture, (x, y))
        draw.text((x, y + picture.height + 1), _drawable(tile.caption), SOFT, _font())
    return canvas


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], title: str, side: int = 48
) -> Image.Image:
    """A row of small pictures for each layer, its name before them."""
    margin = max(_width(label) for label, _ in rows) + 2 * GAP
    columns = max(len(pictures) for _, pictures in rows)
    width = max(margin + columns * (side + 4), _width(title)) + 2 * GAP
    canvas, draw = _canvas((width, 30 + len(rows) * (side + 6)), title, [p for _, row in rows for p in row])
    for k, (label, pictures) in enumerate(rows):
        y = 28 + k * (side + 6)
        draw.text((GAP, y + side // 2 - 6), _drawable(label), INK, _font())
        for j, picture in enumerate(pictures):
            canvas.paste(enlarged(picture, side, exactly=True), (margin + j * (side + 4), y))
    return canvas


def _canvas(
    size: tuple[int, int], title: str, pictures: Sequence[Image.Image]
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty sheet with its title; gray where all pictures are, which makes a third of the bytes."""
    is_gray = all(picture.mode == "L" for picture in pictures)
    canvas = Image.new("L" if is_gray else "RGB", size, GROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 6), _drawable(title), INK, _font(12))
    return canvas, draw


def range_text(numbers: Floats) -> str:
    """The smallest and the largest number.

    >>> range_text(np.array([-0.5, 2.0]))
    '−0.5 … 2'
    """
    return f"{float(numbers.min()):.2g} … {float(numbers.max()):.2g}".replace("-", "−")


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def data_url(content: bytes) -> str:
    """A PNG file inside a page."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


@cache
def _font(size: int = 10) -> Any:
    return ImageFont.load_default(size)


def _drawable(words: str) -> str:
    """Words without the marks that Pillow's own font has no letters for."""
    return words.replace("×", "x").replace("−", "-").replace("…", "..")


def _width(words: str) -> int:
    return int(_font(12 if len(words) > 40 else 10).getlength(_drawable(words))) + 2
