"""Picture files: opened with care, decoded no larger than needed, with a plain reason when unreadable."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from convscope.data.array_types import Bytes
from convscope.data.colours import is_gray
from convscope.data.preprocessing import Preprocessing
from convscope.errors import DataError

MAX_PIXELS = 89_478_485
"""Larger pictures are refused by their header, before memory is taken. Source: Pillow's MAX_IMAGE_PIXELS."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "DIB", "TGA", "ICO", "JPEG2000")
"""Formats that are only pixels. Others start programs (EPS) or are drawings."""

# fmt: off
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".tga", ".ico", ".jp2", ".j2k",
})
# fmt: on


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before its pixels are decoded: (width, height) and colour."""

    size: tuple[int, int]
    is_gray: bool


def read_image(path: str | os.PathLike[str], preprocessing: Preprocessing) -> Bytes:
    """Pixels of one picture file, uint8 (C, H, W), made as the preprocessing says.

    A JPEG at least four times larger than needed is decoded at half size or less, never below twice the size
    needed. Of an animation, the first picture counts. The file is only read.

    Raises:
        DataError: missing, empty, damaged, no picture, or too large; the message says which.
    """
    path = Path(path)
    with _reasons(path), refusing_bombs():
        return decode(path, preprocessing)


def decode(path: Path, preprocessing: Preprocessing) -> Bytes:
    """`read_image` for those who call it from many threads inside `refusing_bombs`."""
    with _opened(path) as picture:
        side = 2 * max(preprocessing.size_px)
        picture.draft(None, (side, side))  # None keeps the mode
        return preprocessing.pixels(picture)


def header(path: Path) -> Header:
    """Size and colour without decoding the pixels."""
    with _opened(path) as picture:
        return Header(picture.size, is_gray(picture.mode))


def reason(error: Exception, path: Path) -> str:
    """Why a picture could not be read, in words."""
    if isinstance(error, DataError):
        return error.received
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "permission denied"
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that is read here"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"larger than {MAX_PIXELS:,} pixels"
    return f"damaged ({str(error)[:200]})"


@contextlib.contextmanager
def refusing_bombs() -> Iterator[None]:
    """Inside, Pillow refuses pictures of more than MAX_PIXELS by their header, instead of warning.

    The list of warning filters belongs to the process: enter this before starting threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def _reasons(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise DataError(
            f"cannot read {path}: {reason(error, path)}", "a picture (JPEG, PNG, WebP, …)", "Check the file"
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with Image.open(path, formats=_available_formats()) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        yield picture


@functools.cache
def _available_formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow can read (AVIF and JPEG 2000 are options of it)."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
