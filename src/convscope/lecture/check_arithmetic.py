"""A lecture's worth of arithmetic on small pictures of whole numbers, in plain Python: exact, and without torch.

A picture is a list of rows. Several maps are a list of pictures. Everything here is defined as the lecture defines it
and compared with the layers' torch modules by the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Picture = list[list[int]]
Maps = list[Picture]
Reduce = Callable[[list[int]], float]


def correlation(maps: Maps, filters: Maps, bias: int = 0) -> Picture:
    """The lecture's a = Σ w_i·x_i + b at every position: the window's numbers times the filter's, added up.

    >>> correlation([[[1, 2, 3]]], [[[1, 10]]])
    [[21, 32]]
    """
    rows = range(len(maps[0]) - len(filters[0]) + 1)
    columns = range(len(maps[0][0]) - len(filters[0][0]) + 1)
    weights = flat(filters)
    return [
        [
            sum(w * x for w, x in zip(weights, window(maps, filters, r, c), strict=True)) + bias
            for c in columns
        ]
        for r in rows
    ]


def convolution(picture: Picture, kernel: Picture) -> Picture:
    """The mathematicians' (x ∗ k)(r, c) = Σ k(i, j)·x(r − i, c − j), where the kernel lies within the picture.

    >>> convolution([[1, 2, 3]], [[1, 10]])
    [[12, 23]]
    """
    high, wide = len(kernel), len(kernel[0])
    return [
        [
            sum(kernel[i][j] * picture[r - i][c - j] for i in range(high) for j in range(wide))
            for c in range(wide - 1, len(picture[0]))
        ]
        for r in range(high - 1, len(picture))
    ]


def pooled(picture: Picture, reduce: Reduce, side: int = 2, stride: int = 2) -> list[list[float]]:
    """Each window replaced by one number.

    >>> pooled([[1, 1, 2, 4], [5, 6, 7, 8]], max)
    [[6, 8]]
    """
    rows = range(0, len(picture) - side + 1, stride)
    columns = range(0, len(picture[0]) - side + 1, stride)
    return [
        [reduce([x for row in picture[r : r + side] for x in row[c : c + side]]) for c in columns]
        for r in rows
    ]


def norm(p: int) -> Reduce:
    """The Lp norm (Σ |x|^p)^(1/p) as something to pool with."""
    return lambda numbers: sum(abs(x) ** p for x in numbers) ** (1 / p)


def window(maps: Maps, filters: Maps, row: int, column: int) -> list[int]:
    """The numbers under the filter at one position, map by map and row by row: x_1 … x_75."""
    high, wide = len(filters[0]), len(filters[0][0])
    return [x for one in maps for line in one[row : row + high] for x in line[column : column + wide]]


def dot(numbers: Sequence[float], weights: Sequence[float]) -> float:
    """Σ w_i·x_i."""
    return sum(x * w for x, w in zip(numbers, weights, strict=True))


def flat(maps: Maps) -> list[int]:
    """All numbers in a row."""
    return [x for one in maps for row in one for x in row]


def flipped(kernel: Picture) -> Picture:
    """Upside down and left to right."""
    return [row[::-1] for row in kernel[::-1]]


def moved(picture: Picture, rows: int, columns: int) -> Picture:
    """The picture moved down and to the right, zeros where nothing comes from.

    >>> moved([[1, 2], [3, 4]], 1, 0)
    [[0, 0], [1, 2]]
    """
    high, wide = len(picture), len(picture[0])
    return [
        [
            picture[r - rows][c - columns] if 0 <= r - rows < high and 0 <= c - columns < wide else 0
            for c in range(wide)
        ]
        for r in range(high)
    ]


def difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The largest |one − other|."""
    return max(
        abs(a - b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def random_maps(seed: int, maps: int, high: int, wide: int, most: int = 9) -> Maps:
    """Maps of whole numbers from −most to most; the same for the same seed."""
    source = random.Random(seed)
    return [[[source.randint(-most, most) for _ in range(wide)] for _ in range(high)] for _ in range(maps)]


def object_on_zeros(seed: int, side: int, object_side: int) -> Picture:
    """A small random object in the middle of a background of zeros."""
    start = (side - object_side) // 2
    picture = [[0] * side for _ in range(side)]
    for r, row in enumerate(random_maps(seed, 1, object_side, object_side)[0]):
        picture[start + r][start : start + object_side] = row
    return picture


def unit_vector(source: random.Random, numbers: int) -> list[float]:
    """A vector of length 1 in a random direction."""
    values = [source.gauss(0, 1) for _ in range(numbers)]
    length = dot(values, values) ** 0.5
    return [value / length for value in values]
