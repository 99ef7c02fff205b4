"""Picture files: opened with care, decoded no larger than needed, with a plain reason when unreadable."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from convscope.data import hazards
from convscope.data.array_types import Bytes
from convscope.data.colours import is_gray, is_turned
from convscope.data.files import Copy, File
from convscope.data.hazards import MAX_PIXELS
from convscope.data.jpegs import Frame, JpegDecoder
from convscope.data.preprocessing import Preprocessing
from convscope.data.signatures import CAMERA_RAW_SUFFIXES, FOREIGN_SUFFIXES, is_picture, what_it_is
from convscope.errors import DataError

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of damaged files is in our reasons

__all__ = ["MAX_PIXELS", "SUFFIXES", "Header", "decode", "header", "opened", "read_image", "reason"]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "DIB", "TGA", "ICO", "JPEG2000")
"""Formats that are only pixels. Others start programs (EPS) or are drawings."""

# fmt: off
READ_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".tga", ".ico", ".jp2", ".j2k",
})
# fmt: on
SUFFIXES = READ_SUFFIXES | FOREIGN_SUFFIXES
"""Names that a person takes for pictures. The content decides what is read; the others are skipped, and said."""

_PLUGINS = ("Jpeg", "Png", "Gif", "WebP", "Bmp", "Tiff", "Ppm", "Avif", "Tga", "Ico", "Jpeg2K")
"""Pillow's modules for them; with those for thirty others, `Image.init` takes twice as long."""

_LARGE_PIXELS = 2**24
_ONE_LARGE_PICTURE = threading.Lock()  # as many at once as there are threads would take gigabytes

_PIXELS_PER_BYTE = {"BMP": 8, "DIB": 8, "PPM": 8, "TGA": 128}
"""The most that these simple formats can hold: one bit a pixel, or runs of 128."""


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before its pixels are decoded.

    Args:
        size: (width, height), upright.
        is_gray: no colour.
        format: the format by content, as Pillow names it.
        has_more: an animation or a file of several pages; only the first picture is read.
    """

    size: tuple[int, int]
    is_gray: bool
    format: str = ""
    has_more: bool = False


def read_image(path: str | os.PathLike[str], preprocessing: Preprocessing, *, salvage: bool = False) -> Bytes:
    """Pixels of one picture file, uint8 (C, H, W), made as the preprocessing says.

    The content decides the format, not the name. EXIF orientation is applied, transparency lies on white, and of
    an animation or several pages the first picture counts. A JPEG at least four times larger than needed is
    decoded at half size or less, never below twice the size needed. The file is only read.

    Args:
        path: the file.
        preprocessing: size, channels, fit.
        salvage: read what a damaged file still holds; what is lost stays blank.

    Raises:
        DataError: missing, empty, damaged, no picture, or too large; the message says which.
    """
    path = Path(path)
    with _reasons(path), refusing_bombs():
        return decode(path, preprocessing, salvage=salvage)


def decode(
    path: File,
    preprocessing: Preprocessing,
    *,
    salvage: bool = False,
    notice: Callable[[Header], object] = lambda header: None,
    jpegs: JpegDecoder | None = None,
) -> Bytes:
    """`read_image` for those who call it from many threads inside `refusing_bombs`.

    `notice` gets the header before the pixels are decoded. `jpegs` decodes those it can of files that are in memory.
    """
    side = 2 * max(preprocessing.size_px)
    if jpegs is not None and isinstance(path, Copy) and not salvage:
        plain = _plain(path.content, side, jpegs)
        if plain is not None:
            notice(plain[0])
            return preprocessing.pixels_of(plain[1])
    with _identified(path) as (found, picture):
        notice(found)
        if jpegs is not None and isinstance(path, Copy) and not salvage and not _is_large(picture):
            picture.draft(None, (side, side))
            pixels = jpegs(picture, path.content)
            if pixels is not None:
                return preprocessing.pixels_of(pixels)
        with _loaded(picture, smallest_px=side, salvage=salvage):
            return preprocessing.pixels(picture)


def _plain(content: bytes, smallest_px: int, jpegs: JpegDecoder) -> tuple[Header, Bytes] | None:
    """Header and pixels (H, W, 3) of a plain JPEG that comes at its full size, without Pillow; or None."""
    frame = Frame.of(content)
    if (
        frame is None
        or min(frame.width, frame.height) >= 2 * smallest_px
        or frame.width * frame.height > _LARGE_PIXELS
    ):
        return None
    hazards.check_promise(
        frame.width, frame.height, len(content), hazards.PIXELS_PER_JPEG_BYTE * len(content)
    )
    pixels = jpegs.plain(frame, content)
    return None if pixels is None else (Header((frame.width, frame.height), False, "JPEG"), pixels)


def header(path: File) -> Header:
    """Size, colour and format without decoding the pixels."""
    with _identified(path) as (found, _):
        return found


@contextlib.contextmanager
def opened(
    path: File, *, smallest_px: int | None = None, longer_px: int | None = None, salvage: bool = False
) -> Iterator[tuple[Header, Image.Image]]:
    """A picture's header, and the picture with its pixels loaded, of any mode, not yet upright.

    Args:
        path: the file.
        smallest_px: a JPEG may come at a half, a quarter or an eighth of its size, both sides at least this.
        longer_px: likewise, the longer side at least this.
        salvage: take what a damaged file still holds.

    Raises:
        Exception: whatever the checks and Pillow's decoders raise; `reason` puts it into words.
    """
    with (
        _identified(path) as (found, picture),
        _loaded(picture, smallest_px=smallest_px, longer_px=longer_px, salvage=salvage),
    ):
        yield found, picture


@contextlib.contextmanager
def _loaded(
    picture: Image.Image, *, smallest_px: int | None = None, longer_px: int | None = None, salvage: bool
) -> Iterator[None]:
    """Its pixels decoded, as `opened` says; inside, no second large picture has any."""
    if smallest_px is not None:
        picture.draft(None, (smallest_px, smallest_px))  # None keeps the mode
    elif longer_px is not None:
        longer = max(picture.size)
        picture.draft(
            None, (-(-picture.width * longer_px // longer), -(-picture.height * longer_px // longer))
        )
    with _ONE_LARGE_PICTURE if _is_large(picture) else contextlib.nullcontext():
        _load(picture, salvage)
        yield


def _is_large(picture: Image.Image) -> bool:
    return picture.width * picture.height > _LARGE_PIXELS


def is_picture_file(path: File) -> bool:
    """Whether a file is a picture by its first bytes, whatever its name."""
    try:
        hazards.check_file(path)
        with path.open("rb") as stream:
            return is_picture(stream.read(12))
    except (OSError, DataError):
        return False


def reason(error: Exception, path: File) -> str:
    """Why a picture could not be read, in words."""
    if isinstance(error, DataError):
        return error.received
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(path)
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"larger than {MAX_PIXELS:,} pixels"
    if isinstance(error, MemoryError):
        return "the memory is not enough for it"
    if isinstance(error, OSError) and error.errno not in (
        None,
        errno.EINVAL,
    ):  # that comes of lies in the file
        return f"the system cannot read it ({error.strerror})"
    return _damage(str(error))


@contextlib.contextmanager
def refusing_bombs() -> Iterator[None]:
    """Inside, Pillow refuses pictures of more than MAX_PIXELS, and keeps its other remarks to itself.

    The list of warning filters belongs to the process: enter this before starting threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def _reasons(path: File) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise DataError(
            f"cannot read {path}: {reason(error, path)}", "a picture (JPEG, PNG, WebP, …)", "Check the file"
        ) from error


@contextlib.contextmanager
def _identified(path: File) -> Iterator[tuple[Header, Image.Image]]:
    """A picture whose file has been checked and whose header Pillow has read.

    Pillow gets a stream, not a name: by name it would map plain files into memory, and a file that another
    program shortens meanwhile would then end this process.
    """
    file_bytes = hazards.check_file(path)
    with path.open("rb") as stream:
        has_more = hazards.check_content(stream, file_bytes)
        with Image.open(stream, formats=_formats(path.suffix.lower())) as picture:
            _check_picture(picture, path, file_bytes)
            yield _header(picture, has_more), picture


def _header(picture: Image.Image, has_more: bool) -> Header:
    """What a phone's JPEG carries besides its photo (MPO) is no second picture."""
    width, height = picture.size
    size = (height, width) if is_turned(picture) else (width, height)
    if picture.format not in ("GIF", "MPO"):  # of a GIF, Pillow would decode two pictures to find out
        has_more = bool(getattr(picture, "is_animated", False))
    return Header(size, is_gray(picture.mode), picture.format or "", has_more)


def _check_picture(picture: Image.Image, path: File, file_bytes: int) -> None:
    is_packed = picture.info.get("compression", 0) not in (0, "raw")
    per_byte = MAX_PIXELS if is_packed else _PIXELS_PER_BYTE.get(picture.format or "", MAX_PIXELS)
    hazards.check_promise(*picture.size, file_bytes, per_byte * file_bytes)
    if picture.format == "TIFF" and path.suffix.lower() in CAMERA_RAW_SUFFIXES:
        raise DataError("a camera's raw file, of which only a small preview could be read")


def _load(picture: Image.Image, salvage: bool) -> None:
    """Decode; with `salvage`, keep what was decoded before the damage."""
    try:
        picture.load()
    except Exception:
        if not salvage or picture.format in ("WEBP", "AVIF", "JPEG2000"):  # all or nothing
            raise
        setattr(picture, "tile", [])  # noqa: B010 - nothing is left to decode; not every picture has one
        if not _holds_something(picture):
            raise


def _holds_something(picture: Image.Image) -> bool:
    try:
        return picture.getbbox(alpha_only=False) is not None
    except Exception:  # no memory was taken for it yet
        return False


def _unidentified(path: File) -> str:
    try:
        with path.open("rb") as stream:
            return what_it_is(stream.read(512))
    except OSError:
        return what_it_is(b"")


_DAMAGE = {
    "truncated": "damaged: the file ends before the picture does",
    "broken data stream": "damaged: its data cannot be decoded",
    "unrecognized data stream": "damaged: its data cannot be decoded",
    "broken PNG file": "damaged: a part of the PNG file is not what its checksum says",
    "decoder error": "damaged: its data cannot be decoded",
    "buffer overrun": "damaged: its data cannot be decoded",
    "decoder object": "damaged: its data cannot be decoded",
    "next frame": "damaged: its data cannot be decoded",
    "cannot load this image": "damaged: its data cannot be decoded",
    "failed to decode": "damaged: its data cannot be decoded",
    "expected to read": "damaged: the file ends before the picture does",
    "invalid argument": "damaged: its header makes no sense",
    "token too long": "damaged: its header makes no sense",
    "invalid literal": "damaged: its header makes no sense",
    "unsupported bmp": "damaged, or a kind of BMP that is not read here",
    "too large for": "text or profiles beside the picture that would exhaust memory",
}
"""Words for what Pillow says, found by a part of its message."""


def _damage(message: str) -> str:
    for part, words in _DAMAGE.items():
        if part.lower() in message.lower():
            return words
    return f"damaged ({message[:200]})"


_BY_NAME_ONLY = {"TGA": ".tga", "DIB": ".dib"}
"""Formats that any bytes may look like: they count only under their own name."""


@functools.lru_cache(maxsize=256)
def _formats(suffix: str) -> tuple[str, ...]:
    return tuple(name for name in _available_formats() if _BY_NAME_ONLY.get(name, suffix) == suffix)


@functools.cache
def _available_formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow can read (AVIF and JPEG 2000 are options of it)."""
    for plugin in _PLUGINS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)
