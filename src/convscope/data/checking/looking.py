"""What one picture shows at a glance: a few numbers and a thumbnail, kept for every picture.

A picture is looked at with its longer side at 256 pixels or a little more, which is about what networks see, so a
JPEG of twelve megapixels is decoded at an eighth of its size. About 0.9 kB are kept of each.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convscope.data.array_types import Bytes
from convscope.data.colours import in_mode
from convscope.data.pictures import Header

GLANCE_PX = 256
THUMBNAIL_PX = 16
_HASH_PX, _HASH_WAVES = 32, 8

GLANCE = np.dtype(
    [
        ("is_read", "?"),
        ("width", "i4"),  # of the whole picture, upright
        ("height", "i4"),
        ("is_gray", "?"),
        ("has_more", "?"),
        ("is_reduced", "?"),  # decoded smaller than it is: equal digests still have to be confirmed
        ("digest", "V16"),  # of the pixels that were decoded
        ("waves", "u1", (8,)),  # 64 bits, see `wave_bits`
        ("mirrored_waves", "u1", (8,)),
        ("thumbnail", "u1", (THUMBNAIL_PX, THUMBNAIL_PX, 3)),
        ("contrast", "f4"),  # standard deviation of the grays, 0 to 127.5
        ("sharpness", "f4"),  # see `sharpness`
    ]
)

Glances = npt.NDArray[Any]
"""One GLANCE a picture, (N,)."""


def glance_at(header: Header, picture: Image.Image) -> tuple[Any, ...]:
    """The fields of one GLANCE.

    Args:
        header: of the whole picture.
        picture: its pixels, loaded, perhaps at a smaller scale.
    """
    colours = in_mode(picture, "RGB")
    gray = _shrunk(colours.convert("L"))
    grays = np.asarray(gray)  # (h, w)
    amounts = _waves(np.asarray(gray.resize((_HASH_PX, _HASH_PX), _filter(gray)), dtype=np.float32))
    thumbnail = colours.resize((THUMBNAIL_PX, THUMBNAIL_PX), _filter(colours))
    return (
        True,
        *header.size,
        header.is_gray,
        header.has_more,
        colours.size != header.size,
        pixel_digest(colours),
        wave_bits(amounts),
        wave_bits(amounts * _MIRROR),
        np.asarray(thumbnail),
        grays.std(),
        sharpness(grays),
    )


def pixel_digest(colours: Image.Image) -> bytes:
    """16 bytes that are equal for equal pictures: size and RGB pixels."""
    return hashlib.blake2b(colours.tobytes(), digest_size=16, salt=repr(colours.size).encode()[:16]).digest()


def wave_bits(amounts: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """64 bits: which of the 8×8 longest waves (8, 8) are stronger than their median, as 8 bytes.

    They change little when a picture is compressed, resized or brightened. Source: the DCT hash of C. Zauner,
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1.
    """
    return np.packbits(amounts > np.median(amounts))


def sharpness(grays: Bytes) -> float:
    """The strongest change of slope, as a share of the range of grays (h, w); 1 where nothing can be said.

    The strongest is the 99.9th percentile of the Laplacian's size. Ours: the usual variance of the Laplacian says
    less of a picture's sharpest edge than of its plain background, and follows its contrast.
    """
    if min(grays.shape) < 3 or max(grays.shape) < GLANCE_PX // 2:
        return 1.0
    deep = grays.astype(np.int16)
    bends = 4 * deep[1:-1, 1:-1] - deep[:-2, 1:-1] - deep[2:, 1:-1] - deep[1:-1, :-2] - deep[1:-1, 2:]
    span = _at_share(grays, 0.995) - _at_share(grays, 0.005)
    return _at_share(np.abs(bends), 0.999) / (span + 1)


def _at_share(values: npt.NDArray[Any], share: float) -> int:
    """The number below or at which this share of small whole numbers lies; counting beats sorting here."""
    counts = np.cumsum(np.bincount(values.ravel()))
    return int(np.searchsorted(counts, share * counts[-1]))


def _shrunk(picture: Image.Image) -> Image.Image:
    """The longer side at most 256 pixels; smaller pictures as they are."""
    scale = GLANCE_PX / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BOX, reducing_gap=2.0)


def _filter(picture: Image.Image) -> Image.Resampling:
    """Means when it shrinks, a smooth surface when it grows."""
    return Image.Resampling.BOX if min(picture.size) >= _HASH_PX else Image.Resampling.BILINEAR


def _waves(grays: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Amounts (8, 8) of the longest cosine waves in (32, 32): rows are vertical waves, columns horizontal ones."""
    return np.asarray(_COSINES @ grays @ _COSINES.T, dtype=np.float32)


_POINTS = np.arange(_HASH_PX)
_ANGLES = np.pi * (2 * _POINTS + 1) * np.arange(_HASH_WAVES)[:, None] / (2 * _HASH_PX)  # (8, 32)
_COSINES = np.cos(_ANGLES).astype(np.float32)
_MIRROR = np.where(np.arange(_HASH_WAVES) % 2 == 0, 1, -1).astype(
    np.float32
)  # odd waves turn over in a mirror
