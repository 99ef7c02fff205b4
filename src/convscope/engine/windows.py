"""Windows of max-pools, however the reference says them: size, step, border, and what they make of a map's size."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.engine.kernels.operations import Pair
from convscope.reference.modules import PaddedMaxPool2d

MaxPool = nn.MaxPool2d | PaddedMaxPool2d


def window_of(module: MaxPool) -> tuple[Pair, Pair, Pair]:
    """Size, step and border before the map, each (rows, columns)."""
    if isinstance(module, PaddedMaxPool2d):
        return module.extent, module.step, (module.sides[2], module.sides[0])
    return pair(module.kernel_size), pair(module.stride), pair(module.padding)


def pooled_size(module: MaxPool, maps: Tensor) -> Pair:
    """(rows, columns) of the output, by torch's shape rule."""
    window, stride, border = window_of(module)
    ceil = bool(getattr(module, "ceil_mode", False))
    sides = 2 * border[0], 2 * border[1]
    if isinstance(module, PaddedMaxPool2d):
        sides = module.sides[2] + module.sides[3], module.sides[0] + module.sides[1]
    rows, columns = (
        _windows(maps.shape[2 + i], sides[i], border[i], window[i], stride[i], ceil) for i in (0, 1)
    )
    return rows, columns


def _windows(size: int, sides: int, before: int, window: int, stride: int, ceil: bool) -> int:
    """How many windows lie along one side; with `ceil` a last one may stick out if it starts inside the map."""
    count = (size + sides - window + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + before else count


def places(module: MaxPool) -> int:
    """How many numbers lie under a window."""
    rows, columns = window_of(module)[0]
    return rows * columns


def is_two_by_two(pool: MaxPool) -> bool:
    """Whether windows of 2×2 stand side by side, with no border and none that sticks out."""
    sides = pool.sides if isinstance(pool, PaddedMaxPool2d) else pair(pool.padding)
    return (
        window_of(pool)[:2] == ((2, 2), (2, 2))
        and not any(sides)
        and getattr(pool, "dilation", 1) in (1, (1, 1))
        and not getattr(pool, "ceil_mode", False)
    )


def pair(value: int | tuple[int, ...] | str) -> Pair:
    """(rows, columns) of what torch keeps as one number or two."""
    assert not isinstance(value, str), "the reference says its borders in numbers"
    return (value, value) if isinstance(value, int) else (value[0], value[1])
