"""Any kind of picture as upright 8-bit gray or RGB: orientation, transparency, 16 bits, floats, CMYK."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from convscope.errors import DataError

_DEEP_MODES = ("I", "F")


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture upright, on white where it is transparent, in 8 bits of `mode`.

    Args:
        picture: of any mode Pillow knows.
        mode: "L" (gray) or "RGB". A picture in that mode already keeps its pixels bit for bit.

    Raises:
        DataError: a pixel is not a finite number.
    """
    upright = _upright(picture)
    shallow = _eight_bit(upright) if _is_deep(upright) else upright
    opaque = _on_white(shallow) if shallow.has_transparency_data else shallow
    return opaque if opaque.mode == mode else opaque.convert(mode)


def is_gray(mode: str) -> bool:
    """Whether pictures of this Pillow mode have no colour."""
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # raises on damaged pixels, which must not pass for a broken EXIF block below
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # cameras write broken EXIF blocks; the pixels are still good
        return picture


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith(_DEEP_MODES)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float gray as 8 bits.

    16 bits are divided by 257. Wider numbers say nothing about their white, so it is the smallest of 1 (for
    floats), 255, 65535 and the largest pixel that no pixel exceeds.
    """
    values: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("a picture with NaN or infinite pixels", "finite numbers")
    white = 65535.0 if picture.mode.startswith("I;16") else _white(float(values.max()), picture.mode == "F")
    return Image.fromarray(np.clip(np.rint(values / white * 255), 0, 255).astype(np.uint8))


def _white(largest: float, is_float: bool) -> float:
    usual = (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0)
    return next((white for white in usual if largest <= white), largest)


def _on_white(picture: Image.Image) -> Image.Image:
    layered = picture.convert("RGBA")
    page = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(page, layered).convert("RGB")
