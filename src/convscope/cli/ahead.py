"""What a command will need and can begin while torch is still loading, which takes some seconds."""

from __future__ import annotations

from pathlib import Path

import convscope
from convscope import compiling

TRAINING = ("kernels", "winograd")
SCORING = ("winograd",)


def begin_kernels(names: tuple[str, ...]) -> None:
    """Build the kernels that are not in the cache yet, beside everything else."""
    # By path: the package of the kernels is imported with torch.
    folder = Path(convscope.__file__).parent / "engine" / "kernels"
    compiling.begin(folder / f"{name}.cpp" for name in names)
