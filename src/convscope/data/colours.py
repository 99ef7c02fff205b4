"""Any kind of picture as upright 8-bit gray or RGB: orientation, transparency, 16 bits, floats, CMYK, Lab."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageCms

from convscope.data import hazards
from convscope.data.array_types import Bytes
from convscope.errors import DataError

_DEEP_MODES = ("I", "F")
_ROWS_AT_ONCE = 256
_WHITE_IS_ZERO = 0
_PHOTOMETRIC_TAG = 262
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of this EXIF orientation upright. Source: EXIF 2.32, 4.6.4 A."""


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture upright, on white where it is transparent, in 8 bits of `mode`.

    Args:
        picture: of any mode Pillow knows.
        mode: "L" (gray) or "RGB". A picture in that mode already keeps its pixels bit for bit.

    Raises:
        DataError: a pixel is not a finite number.
    """
    picture.load()
    shallow = _eight_bit(picture) if _is_deep(picture) else picture
    opaque = _on_white(shallow) if shallow.has_transparency_data else shallow
    plain = opaque if opaque.mode == mode else _converted(opaque, mode)
    turn = _TURNS.get(_orientation(picture))
    return plain if turn is None else plain.transpose(turn)


def is_gray(mode: str) -> bool:
    """Whether pictures of this Pillow mode have no colour."""
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")


def is_turned(picture: Image.Image) -> bool:
    """Whether width and height change places when the picture is made upright; needs no pixels."""
    return _orientation(picture) >= 5


def is_upright(picture: Image.Image) -> bool:
    """Whether the picture stands as it is stored."""
    return _orientation(picture) == 1


def _orientation(picture: Image.Image) -> int:
    """1 to 8. TIFF is turned by Pillow when its pixels are read, and its size before."""
    exif = picture.info.get("exif")
    return hazards.orientation(exif) if isinstance(exif, bytes) and picture.format != "TIFF" else 1


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode != "LAB":
        return picture.convert(mode)
    lab, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    colours = ImageCms.profileToProfile(picture, lab, screen, outputMode="RGB")
    assert colours is not None, "only in-place conversion returns nothing"
    return colours.convert(mode)


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith(_DEEP_MODES)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float gray as 8 bits, a few rows at a time to keep memory low.

    16 bits are divided by 257. Wider numbers say nothing about their white, so it is the smallest of 1 (for
    floats), 255, 65535 and the largest pixel that no pixel exceeds.
    """
    values = np.asarray(picture)  # (H, W)
    white = _white(picture, values)
    shallow = np.empty(values.shape, dtype=np.uint8)
    for top in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        shallow[rows] = np.clip(np.rint(values[rows] * (255.0 / white)), 0, 255)
    return Image.fromarray(_positive(picture, values, shallow))


def _white(picture: Image.Image, values: np.ndarray[Any, Any]) -> float:
    largest, smallest = float(values.max()), float(values.min())
    if not (
        np.isfinite(largest) and np.isfinite(smallest)
    ):  # NaN is the largest and the smallest of its array
        raise DataError("a picture with NaN or infinite pixels", "finite numbers")
    if picture.mode.startswith("I;16") or picture.format == "PPM":
        return 65535.0
    usual = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if largest <= white), largest)


def _positive(picture: Image.Image, values: np.ndarray[Any, Any], shallow: Bytes) -> Bytes:
    """What Pillow leaves to its users in 16-bit pictures: white that is zero, and one transparent gray."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        shallow = 255 - shallow
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        shallow[values == transparent] = 255
    return shallow


def _on_white(picture: Image.Image) -> Image.Image:
    layered = picture.convert("RGBA")
    page = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(page, layered).convert("RGB")
