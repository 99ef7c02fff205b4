"""The C++ that works on pictures as they are read, built once for the machine, beside the reading of the first of them.

Without a compiler there is none, and those who ask do without: they get the same numbers in more time.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from pathlib import Path

from convscope import compiling

_NUMBER, _PLACE = ctypes.c_int, ctypes.c_void_p
_STRETCH = (
    *(_NUMBER, _PLACE, _NUMBER, _NUMBER),  # order, pixels, their height and width
    *(_PLACE, _NUMBER, _PLACE) * 2,  # weights along x and y
    *(_NUMBER, _NUMBER, _PLACE, _PLACE, _PLACE, _PLACE),  # height and width, three rooms, the result
)
_ADD_SUMS = (_PLACE, ctypes.c_int64, ctypes.c_int64, _PLACE)  # pixels, channels, pixels of each, sums


class PictureKernels:
    """Built in a thread of its own, so that nobody waits: `library` is None until then, and where that fails."""

    def __init__(self) -> None:
        self.library: ctypes.CDLL | None = None
        self._thread = threading.Thread(target=self._build, daemon=True)
        self._thread.start()

    def _build(self) -> None:
        self.library = load()

    def wait(self) -> None:
        """Until they are built, or have failed to be."""
        self._thread.join()


@functools.cache
def load() -> ctypes.CDLL | None:
    """The C++ of this machine, built where it is not in the cache; None where that is not possible."""
    library = compiling.load(Path(__file__).with_suffix(".cpp")).library
    if library is not None:
        library.convscope_stretch.argtypes, library.convscope_stretch.restype = _STRETCH, None
        library.convscope_add_sums.argtypes, library.convscope_add_sums.restype = _ADD_SUMS, None
    return library
