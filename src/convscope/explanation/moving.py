"""What the page needs to move a window over a map by itself: input, filters and rules, within bounds."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.explanation.tracing import Numbers, Tracer
from convscope.explanation.working import Working, filter_of, followers, normalisation
from convscope.inference import Node
from convscope.layers._base import both
from convscope.layers._pool import Pool

MOST_INPUT_NUMBERS = 400_000
MOST_WEIGHTS = 300_000
MOST_FILTERS = 512


def moving_window(tracer: Tracer, working: Working) -> dict[str, Any] | None:
    """The data of the moving window for a convolution or a pool, or None for other layers.

    Where all of it would be too much, it holds the part of the input around the position and the first filters
    besides the one asked for; the page says so.
    """
    node = tracer.node(working.layer)
    if node.layer.word != "conv" and not isinstance(node.layer, Pool):
        return None
    before = tracer.passages([node.name])[node.name].before
    extent, stride, gap = _window(node)
    left, right, top, bottom = node.layer.padded_sides(before.shape)  # type: ignore[attr-defined]
    maps = _maps_sent(node, before, working)
    rows, columns = _region(before, working, len(maps), (extent, stride, gap), (top, left))
    crop = _crop(before.shape, rows, columns, (extent, stride, gap), (top, left))
    numbers = before[np.ix_(maps, range(*crop[0]), range(*crop[1]))]
    filters = _filters(tracer, node, working) if node.layer.word == "conv" else None
    return {
        "layer": node.name, "kind": node.layer.word, "text": str(node.layer), "input_shape": list(before.shape),
        "output_shape": list(working.output_shape), "extent": list(extent), "stride": list(stride), "gap": list(gap),
        "top": top, "left": left, "bottom": bottom, "right": right, "rows": list(rows), "columns": list(columns),
        "crop": [crop[0][0], crop[1][0], crop[0][1] - crop[0][0], crop[1][1] - crop[1][0]], "maps": maps,
        "input": _packed(numbers), "filters": filters, "rule": _rule(tracer, node),
        "steps": [_step(tracer, follower) for follower in followers(tracer, node.name)],
        "at": list(working.position), "complete": _is_complete(working, rows, columns, filters, maps, before),
    }  # fmt: skip


def _window(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Extent, stride and gap of a window, each (rows, columns)."""
    layer: Any = node.layer
    if isinstance(layer, Pool):
        return layer.extent, layer.step, (1, 1)
    return both(layer.kernel), both(layer.stride), both(layer.dilation)


def _maps_sent(node: Node, before: Numbers, working: Working) -> list[int]:
    """Which input maps go into the page: all for a convolution, for a pool as many as fit, with the one asked for."""
    if node.layer.word == "conv":
        return list(range(len(before)))
    room = max(1, MOST_INPUT_NUMBERS // max(1, before[0].size))
    first = list(range(min(len(before), room)))
    return first if working.position[0] in first else sorted([*first[:-1], working.position[0]])


def _region(
    before: Numbers, working: Working, num_maps: int, window: Any, padding: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The output rows and columns that can be reached, (first, past the last): all, or a part around the position."""
    _, rows, columns = working.output_shape
    _, row, column = working.position
    reach = max(rows, columns)
    while True:
        row_range = (max(0, row - reach), min(rows, row + reach + 1))
        column_range = (max(0, column - reach), min(columns, column + reach + 1))
        (r0, r1), (c0, c1) = _crop(before.shape, row_range, column_range, window, padding)
        if reach == 0 or num_maps * (r1 - r0) * (c1 - c0) <= MOST_INPUT_NUMBERS:
            return row_range, column_range
        reach = reach * 3 // 4


def _crop(
    shape: tuple[int, ...],
    rows: tuple[int, int],
    columns: tuple[int, int],
    window: Any,
    padding: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The input rows and columns that those output rows and columns look at, within the map."""
    extent, stride, gap = window
    spans = []
    for axis, (first, past) in enumerate((rows, columns)):
        low = first * stride[axis] - padding[axis]
        high = (past - 1) * stride[axis] - padding[axis] + (extent[axis] - 1) * gap[axis] + 1
        size = shape[axis + 1]
        spans.append((min(max(low, 0), size - 1), max(1, min(high, size))))
    return spans[0], spans[1]


def _filters(tracer: Tracer, node: Node, working: Working) -> dict[str, Any]:
    """As many filters as fit, with the one asked for: their numbers, the maps each sees, weights and biases."""
    count, chosen = working.output_shape[0], working.position[0]
    weights = filter_of(tracer, node, chosen)[1]
    room = max(1, min(MOST_FILTERS, MOST_WEIGHTS // max(1, weights.size)))
    numbers = list(range(min(count, room)))
    if chosen not in numbers:
        numbers = sorted([*numbers[:-1], chosen])
    parts = [filter_of(tracer, node, number) for number in numbers]
    return {
        "numbers": numbers, "maps": [maps for maps, _, _ in parts],
        "weights": _packed(np.concatenate([weights.ravel() for _, weights, _ in parts])),
        "biases": [bias for _, _, bias in parts],
    }  # fmt: skip


def _rule(tracer: Tracer, node: Node) -> dict[str, Any]:
    """What a pool does with its window besides its word."""
    layer: Any = node.layer
    if layer.word == "avgpool":
        return {"count_padding": layer.count_padding}
    if layer.word == "lppool":
        return {"p": layer.p}
    if layer.word == "subsample":
        module: Any = tracer.submodule(node.name)
        return {"coefficients": module.weight.tolist(), "biases": module.bias.tolist()}
    return {}


def _step(tracer: Tracer, node: Node) -> dict[str, Any]:
    """A layer after it that works number by number."""
    layer: Any = node.layer
    found: dict[str, Any] = {"name": node.name, "kind": layer.word}
    if layer.word == "tanh":
        found |= {"amplitude": layer.amplitude, "slope": layer.slope}
    if layer.word == "batchnorm":
        maps = range(tracer.shapes(node.name)[0][0])
        found["scales"] = [list(normalisation(tracer, node, number)) for number in maps]
    return found


def _is_complete(
    working: Working,
    rows: Any,
    columns: Any,
    filters: dict[str, Any] | None,
    maps: list[int],
    before: Numbers,
) -> bool:
    all_places = (rows, columns) == ((0, working.output_shape[1]), (0, working.output_shape[2]))
    num_sent, num_all = (
        (len(filters["numbers"]), working.output_shape[0]) if filters else (len(maps), len(before))
    )
    return all_places and num_sent == num_all


def _packed(numbers: npt.NDArray[Any]) -> str:
    """float32 numbers, little-endian, as base64: exact, and short."""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype="<f4").tobytes()).decode("ascii")
