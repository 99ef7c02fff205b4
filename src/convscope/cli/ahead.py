"""Loading torch, the larger part of a short command, and what can be done meanwhile."""

from __future__ import annotations

import gc
from pathlib import Path

import convscope
from convscope import compiling

TRAINING = ("kernels", "winograd", "products", "tiles", "tile_products")
SCORING = ("winograd",)


def load_torch(kernels: tuple[str, ...]) -> None:
    """Load torch, and meanwhile build these kernels where they are not in the cache yet.

    Nothing of what is loaded goes away again, so Python need not look through it for what may: a tenth of the time.
    """
    # By path: the package of the kernels is imported with torch.
    folder = Path(convscope.__file__).parent / "engine" / "kernels"
    compiling.begin(folder / f"{name}.cpp" for name in kernels)
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
