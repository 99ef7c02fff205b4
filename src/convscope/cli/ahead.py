"""Loading torch, the larger part of a short command, and what can be done meanwhile."""

from __future__ import annotations

import gc
from pathlib import Path

import convscope
from convscope import compiling

SCORING = ("winograd",)


def training_kernels() -> tuple[str, ...]:
    """What a training's trial takes on this processor; what more it should turn out to want is built then."""
    instructions = compiling.processor()
    always = ("kernels", "winograd", "products", "tiles", "tile_products")
    if "amx_bf16" in instructions:
        return always
    return (*always, "winograd_half" if "avx512_bf16" in instructions else "winograd_bfloat16")


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
