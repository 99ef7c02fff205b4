"""Many pictures decoded alike, from many threads: the pixels of `pictures.decode` in less time."""

from __future__ import annotations

from collections.abc import Callable

from convscope.data import hazards, pictures
from convscope.data.array_types import Bytes
from convscope.data.files import Copy, File
from convscope.data.jpegs import JpegDecoder
from convscope.data.picture_kernels import PictureKernels
from convscope.data.preprocessing import Preprocessing
from convscope.data.stretching import Stretcher, Stretching

COPIED_BYTES = 32 * 2**20
"""Up to this, a file is read into memory as a whole."""
MANY = 200
"""From so many pictures on, building the C++ that works on them is worth it."""


class Decoder:
    """Decodes files as one preprocessing wants them. Only inside `pictures.refusing_bombs`.

    Args:
        preprocessing: size, channels, fit.
        salvage: read what damaged files still hold.
        kernels: what is worth building for many pictures, or None.
    """

    def __init__(
        self, preprocessing: Preprocessing, *, salvage: bool = False, kernels: PictureKernels | None = None
    ) -> None:
        self._preprocessing = Stretching.of(preprocessing, Stretcher(kernels)) if kernels else preprocessing
        self._salvage, self._jpegs = salvage, JpegDecoder()

    def __call__(
        self, file: File, notice: Callable[[pictures.Header], object] = lambda header: None
    ) -> Bytes:
        """Pixels uint8 (C, H, W); `notice` gets the header before they are decoded.

        Raises:
            Exception: whatever checks and decoders raise; `pictures.reason` puts it into words.
        """
        if not isinstance(file, Copy) and hazards.check_file(file) <= COPIED_BYTES:
            file = Copy.of(file)
        return pictures.decode(
            file, self._preprocessing, salvage=self._salvage, notice=notice, jpegs=self._jpegs
        )
