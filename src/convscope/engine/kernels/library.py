"""The C++ files here as libraries; `convscope.compiling` builds them. Without, torch's own operations run instead."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from convscope import compiling
from convscope.compiling import Built

__all__ = ["Built", "load", "sources"]

FOLDER = Path(__file__).parent


@functools.cache
def load(name: str = "kernels") -> Built:
    """The library made of `<name>.cpp`, built when it is not in the cache; asked twice, it answers at once.

    A library that needs more than every processor has says whether it may be used here, and is none where it may not.
    """
    built = compiling.load(FOLDER / f"{name}.cpp")
    permitted = getattr(built.library, "permitted", None)
    if permitted is not None and not permitted():
        return Built(
            None, "this processor has no instructions for it, or the system does not let us use them"
        )
    return built


def sources() -> str:
    """A digest of all the C++ here: what was measured with other kernels is no answer any more."""
    texts = sorted((file.name, file.read_bytes()) for kind in ("*.cpp", "*.h") for file in FOLDER.glob(kind))
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:24]
