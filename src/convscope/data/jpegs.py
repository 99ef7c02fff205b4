"""JPEGs decoded by the library that torchvision brings: Pillow's pixels, in two thirds of the time.

Pillow puts every pixel in four bytes, and NumPy takes them out again; here they come as they are. Used where torch is
loaded anyway. Every refusal stays Pillow's: what is not decoded here goes Pillow's way.

Opening a file with Pillow is two hundred lines of Python, during which no other thread runs any. So the header of a
plain JPEG, which has nothing in it but what the pixels need, is read here.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.data.array_types import Bytes
from convscope.data.colours import is_upright

COMPARED = 4
"""So many pictures of a kind are decoded by both; where one differs, Pillow decodes all of that kind."""

MOST_PARTS = 64
"""A plain JPEG has about ten parts before its pixels."""
_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"
_COMMENT, _TABLES, _RESTART, _CODES, _FRAME, _SCAN = 0xFE, 0xDB, 0xDD, 0xC4, 0xC0, 0xDA

Kind = tuple[tuple[int, int], ...]
"""How finely each channel is sampled, (down, across); decoders differ in how they fill in the rest."""


@dataclass(frozen=True)
class Frame:
    """What a plain JPEG says of its pixels.

    Args:
        width, height: in pixels, as stored, which is upright.
        kind: how finely each of its three channels is sampled.
    """

    width: int
    height: int
    kind: Kind

    @classmethod
    def of(cls, content: bytes) -> Frame | None:
        """The frame of a file, or None where Pillow must look.

        Plain is a JFIF file of one pass, three channels and eight bits, with comments at most: no EXIF, profile or
        second picture, nothing that is not where it belongs. Source: ITU T.81, annex B; JFIF 1.02.
        """
        frame: Frame | None = None
        for marker, part in _parts(content):
            if marker == _SCAN:
                return frame
            if marker == _FRAME and frame is None and (found := cls._read(part)):
                frame = found
            elif not _is_plain(marker, part):
                return None
        return None

    @classmethod
    def _read(cls, part: bytes) -> Frame | None:
        """Bits, height, width, number of channels; of each its number, sampling and table."""
        if len(part) != 15 or part[0] != 8 or part[5] != 3 or part[6::3] != b"\1\2\3":
            return None
        height, width = int.from_bytes(part[1:3], "big"), int.from_bytes(part[3:5], "big")
        kind = tuple((each >> 4, each & 15) for each in part[7::3])
        return cls(width, height, kind) if height and width else None


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each part before the pixels; none where it is no JFIF file, or not where one should be."""
    at = len(_START) + 8  # the density, which nobody here needs
    for _ in range(MOST_PARTS if content.startswith(_START) else 0):
        head = content[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF:
            return
        size = int.from_bytes(head[2:], "big")
        yield head[1], content[at + 4 : at + 2 + size]
        at += 2 + size


def _is_plain(marker: int, part: bytes) -> bool:
    """Whether it is one of the parts that a plain JPEG has besides its frame."""
    if marker == _TABLES:  # of 8 bits each
        return len(part) > 0 and len(part) % 65 == 0 and max(part[::65]) < 16
    return marker in (_CODES, _COMMENT) or (marker == _RESTART and len(part) == 2)


class JpegDecoder:
    """Decodes usual JPEGs as Pillow does; what it leaves to Pillow is None.

    Two builds of libjpeg can differ in the last bit, so each kind of picture is compared with Pillow first.
    """

    def __init__(self) -> None:
        self._decode = library()
        self._equal: dict[Kind, int] = {}

    def plain(self, frame: Frame, content: bytes) -> Bytes | None:
        """Pixels (H, W, 3) of a plain JPEG, of a kind that has been compared; or None."""
        if self._decode is None or self._equal.get(frame.kind, 0) < COMPARED:
            return None
        return self._decoded(content, frame.width, frame.height)

    def _decoded(self, content: bytes, width: int, height: int) -> Bytes | None:
        assert self._decode is not None, "asked before"
        try:
            pixels = self._decode(content)
        except RuntimeError:  # damaged: Pillow says how
            return None
        return pixels if pixels.shape == (height, width, 3) else None

    def __call__(self, picture: Image.Image, content: bytes) -> Bytes | None:
        """Pixels (H, W, 3) of a picture that Pillow has opened, not loaded, and this is its file; or None.

        Left to Pillow: all but upright RGB of one pass at full size, and what the library says it cannot decode.
        """
        if self._decode is None or not _is_usual(picture):
            return None
        kind = tuple((down, across) for _, down, across, _ in getattr(picture, "layer", ()))
        equal = self._equal.get(kind, 0)
        if equal < 0:
            return None
        pixels = self._decoded(content, *picture.size)
        if pixels is not None and equal < COMPARED:
            picture.load()
            is_equal = np.array_equal(pixels, np.asarray(picture))
            self._equal[kind] = equal + 1 if is_equal else -1
            return pixels if is_equal else None
        return pixels


def _is_usual(picture: Image.Image) -> bool:
    """Not progressive: of those, unfinished ones are smoothed, by rules that changed between versions."""
    return (
        picture.format == "JPEG"
        and picture.mode == "RGB"
        and "progressive" not in picture.info
        and getattr(picture, "decoderconfig", None) in ((), (1, 0))
        and is_upright(picture)
    )


@functools.cache
def library() -> Callable[[bytes], Bytes] | None:
    """What decodes the content of a file to (H, W, C), or None where torch is not loaded or torchvision has none.

    Only torchvision's library is loaded, some milliseconds; its Python would take seconds.
    """
    torch: Any = sys.modules.get("torch")
    found = importlib.util.find_spec("torchvision") if torch is not None else None
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in sorted(Path(folder).glob("image*")):
            if path.suffix in (".so", ".pyd", ".dll", ".dylib"):
                return _loaded(torch, path)
    return None


def _loaded(torch: Any, path: Path) -> Callable[[bytes], Bytes] | None:
    try:
        torch.ops.load_library(str(path))
        operation = torch.ops.image.decode_jpeg.default
    except (OSError, AttributeError, RuntimeError):
        return None
    as_it_is = 0  # the file's own colours

    def decoded(content: bytes) -> Bytes:
        held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        pixels: Bytes = operation(held, as_it_is).permute(1, 2, 0).numpy()
        return pixels

    return decoded
