"""JPEGs decoded by the library that torchvision brings: Pillow's pixels, in two thirds of the time.

Pillow puts every pixel in four bytes, and NumPy takes them out again; here they come as they are. Used where torch is
loaded anyway. The header, all checks and every refusal stay Pillow's: what is not decoded here goes Pillow's way.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.data.array_types import Bytes
from convscope.data.colours import is_upright

COMPARED = 4
"""So many pictures of a kind are decoded by both; where one differs, Pillow decodes all of that kind."""

Kind = tuple[tuple[int, int], ...]
"""How finely each channel is sampled, (down, across); decoders differ in how they fill in the rest."""


class JpegDecoder:
    """Decodes usual JPEGs as Pillow does; what it leaves to Pillow is None.

    Two builds of libjpeg can differ in the last bit, so each kind of picture is compared with Pillow first.
    """

    def __init__(self) -> None:
        self._decode = library()
        self._equal: dict[Kind, int] = {}

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
        try:
            pixels = self._decode(content)
        except RuntimeError:  # damaged: Pillow says how
            return None
        if equal < COMPARED:
            picture.load()
            is_equal = np.array_equal(pixels, np.asarray(picture))
            self._equal[kind] = equal + 1 if is_equal else -1
            return pixels if is_equal else None
        return pixels if pixels.shape == (picture.height, picture.width, 3) else None


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
