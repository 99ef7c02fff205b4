"""How one number of a layer comes about: the patch, the filter, the products, their sum + b, and z = f(a).

Everything is computed again in float64 from the layer's own input and weights, and stands beside the network's own
number, so that both can be compared. Rows, columns and maps are counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convscope.errors import ConvscopeError
from convscope.explanation.tracing import Numbers, Passage, Tracer
from convscope.inference import Node
from convscope.layers._base import both, written_shape
from convscope.layers._pool import Pool

Floats = npt.NDArray[np.float64]
Position = tuple[int, ...]  # (map, row, column) or (index,)


@dataclass(frozen=True)
class Step:
    """A layer after it that works number by number: what it does with a and what comes out."""

    name: str
    formula: str
    value: float


@dataclass(frozen=True)
class Working:
    """One number of a layer. Which of the parts below it has is a matter of its kind.

    Attributes:
        position: (map, row, column), or (index,) of a vector.
        own: the number as the network has it; `computed` the same from the numbers shown.
        steps: what the layers right after it make of it.
        rows, columns: where each row and column of the window lies in the input; those outside are padding.
        maps: the input maps in the window, the first axis of patch, weights and products.
        patch, weights, products: (maps, rows, columns).
        inside: (rows, columns), False where padding lies.
        bias: b; None where the layer has none.
        winner: (row, column) in the window of the number that a maximum took.
        inputs, contributions: of a dense layer, x_i and w_i·x_i for every i.
        formula: the rule in one line.
    """

    layer: str
    kind: str
    text: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    position: Position
    formula: str
    own: float
    computed: float
    steps: tuple[Step, ...] = ()
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    maps: tuple[int, ...] = ()
    patch: Floats | None = None
    weights: Floats | None = None
    products: Floats | None = None
    inside: npt.NDArray[np.bool_] | None = None
    bias: float | None = None
    winner: tuple[int, int] | None = None
    inputs: Floats | None = None
    contributions: Floats | None = None
    places: tuple[int, ...] | None = None  # the maps (C, H, W) that were stretched into `inputs`

    @property
    def map_sums(self) -> Floats:
        """The products of each input map added up."""
        assert self.products is not None
        sums: Floats = self.products.sum((1, 2))
        return sums

    @property
    def where(self) -> str:
        """The position in words."""
        if len(self.position) == 1:
            return f"number {self.position[0]}"
        return f"map {self.position[0]}, row {self.position[1]}, column {self.position[2]}"

    def to_json(self) -> dict[str, Any]:
        """Every number of it, as JSON values; what its kind does not have is null."""

        def listed(numbers: Any) -> Any:
            return None if numbers is None else numbers.tolist()

        return {
            "layer": self.layer, "kind": self.kind, "text": self.text, "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape), "map": self.position[0] if len(self.position) == 3 else None,
            "row": self.position[1] if len(self.position) == 3 else None,
            "column": self.position[2] if len(self.position) == 3 else None,
            "index": self.position[0] if len(self.position) == 1 else None, "formula": self.formula,
            "input_rows": list(self.rows), "input_columns": list(self.columns), "input_maps": list(self.maps),
            "patch": listed(self.patch), "weights": listed(self.weights), "products": listed(self.products),
            "inputs": listed(self.inputs), "contributions": listed(self.contributions), "bias": self.bias,
            "winner": None if self.winner is None else list(self.winner), "a": self.computed,
            "a_of_network": self.own,
            "steps": [{"layer": s.name, "formula": s.formula, "value": s.value} for s in self.steps],
            "z": self.steps[-1].value if self.steps else self.computed,
        }  # fmt: skip


# Where ----------------------------------------------------------------------------------------------


def position_of(tracer: Tracer, node: Node, at: tuple[int, ...], output: Numbers) -> Position:
    """(map, row, column) or (index,) for what was asked; a map left out is the one with the largest number there.

    Raises ConvscopeError that says the map's size and what can be asked.
    """
    shape = tracer.shapes(node.name)[1]
    asked = f"position {','.join(map(str, at))} of {node.name}"
    if len(shape) == 1:
        if len(at) != 1:
            raise ConvscopeError(
                f"{asked}, which has no maps but a vector of {shape[0]:,} numbers",
                "one number, its place in the vector",
                f"Try --at {min(at[0], shape[0] - 1)}, or a layer with maps: {_layers_with_maps(tracer)}",
            )  # fmt: skip
        if not 0 <= at[0] < shape[0]:
            raise ConvscopeError(f"{asked}, which has {shape[0]:,} numbers", f"0 to {shape[0] - 1}")
        return at
    maps, rows, columns = shape
    if len(at) not in (2, 3):
        raise ConvscopeError(
            f"{asked}, which makes {maps} maps of {rows}×{columns}",
            "ROW,COLUMN or ROW,COLUMN,MAP",
            "Try --at 0,0",
        )
    if not (0 <= at[0] < rows and 0 <= at[1] < columns):
        raise ConvscopeError(
            f"{asked} is outside its maps of {rows}×{columns}",
            f"a row from 0 to {rows - 1} and a column from 0 to {columns - 1}",
        )
    if len(at) == 3 and not 0 <= at[2] < maps:
        raise ConvscopeError(f"map {at[2]} of {node.name}, which makes {maps}", f"a map from 0 to {maps - 1}")
    chosen = at[2] if len(at) == 3 else int(output[:, at[0], at[1]].argmax())
    return chosen, at[0], at[1]


def _layers_with_maps(tracer: Tracer) -> str:
    names = [name for name in tracer.nodes if len(tracer.shapes(name)[1]) == 3]
    return ", ".join(names[:12]) + (" …" if len(names) > 12 else "") if names else "this network has none"


# How ------------------------------------------------------------------------------------------------


def work_out(tracer: Tracer, name: str, at: tuple[int, ...] | None) -> Working:
    """One number of a layer; without a position the largest one there is.

    Raises ConvscopeError when there is no such layer or position.
    """
    node = tracer.node(name)
    followers = list(_followers(tracer, node))
    passages = tracer.passages([name, *(follower.name for follower in followers)])
    output = passages[name].after
    if at is None:
        position: Position = tuple(int(i) for i in np.unravel_index(int(output.argmax()), output.shape))
    else:
        position = position_of(tracer, node, at, output)
    parts = _parts(tracer, node, passages[name], position)
    before, after = tracer.shapes(name)
    return Working(
        name, node.layer.word, str(node.layer), before, after, position, own=float(output[position]),
        steps=tuple(_steps(tracer, followers, passages, position)), **parts,
    )  # fmt: skip


def _parts(tracer: Tracer, node: Node, passage: Passage, position: Position) -> dict[str, Any]:
    word = node.layer.word
    if word == "conv":
        return _conv(tracer, node, passage.before, position)
    if isinstance(node.layer, Pool):
        return _pool(tracer, node, passage.before, position)
    if word in ("globalpool", "adaptiveavgpool"):
        return _whole_pool(node, passage, position)
    if word in FUNCTIONS:
        value = float(passage.before[position])
        return {
            "formula": function_text(tracer, node, position[0], value),
            "computed": float(passage.after[position]),
        }
    if word == "dense":
        return _dense(tracer, node, passage.before, position)
    return _passed(node, passage, position)


def _window(
    layer: Any, shape: tuple[int, ...], position: Position
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which rows and columns of the input the window at a position covers; those outside the map are padding."""
    left, _, top, _ = layer.padded_sides(shape)
    if isinstance(layer, Pool):
        extent, step, gap = layer.extent, layer.step, (1, 1)
    else:
        extent, step, gap = both(layer.kernel), both(layer.stride), both(layer.dilation)
    rows = tuple(position[1] * step[0] - top + i * gap[0] for i in range(extent[0]))
    columns = tuple(position[2] * step[1] - left + i * gap[1] for i in range(extent[1]))
    return rows, columns


def _patch(
    before: Numbers, maps: list[int], rows: tuple[int, ...], columns: tuple[int, ...]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The numbers in the window, zeros for padding, and where the window is inside the map."""
    _, high, wide = before.shape
    inside = np.outer([0 <= r < high for r in rows], [0 <= c < wide for c in columns])
    safe_rows = np.clip(rows, 0, high - 1)
    safe_columns = np.clip(columns, 0, wide - 1)
    patch = before[np.ix_(np.array(maps), safe_rows, safe_columns)].astype(np.float64)
    return patch * inside, inside


def filter_of(tracer: Tracer, node: Node, number: int) -> tuple[list[int], Floats, float | None]:
    """The input maps that a filter sees, its weights (maps, F, F), and its bias."""
    layer: Any = node.layer
    module: Any = tracer.submodule(node.name)
    num_maps = tracer.shapes(node.name)[0][0]
    bias = None if module.bias is None else float(module.bias.detach()[number])
    if layer.table is not None:
        maps = list(layer.table[number])
        return maps, module.full_weight().detach()[number, maps].double().numpy(), bias
    group_size = num_maps // layer.groups
    first = number // (tracer.shapes(node.name)[1][0] // layer.groups) * group_size
    return list(range(first, first + group_size)), module.weight.detach()[number].double().numpy(), bias


def _conv(tracer: Tracer, node: Node, before: Numbers, position: Position) -> dict[str, Any]:
    maps, weights, bias = filter_of(tracer, node, position[0])
    rows, columns = _window(node.layer, before.shape, position)
    patch, inside = _patch(before, maps, rows, columns)
    products = patch * weights
    count = products.size
    formula = f"a = Σ w·x over {len(maps)}·{len(rows)}·{len(columns)} = {count:,} products"
    return {
        "rows": rows, "columns": columns, "maps": tuple(maps), "patch": patch, "weights": weights,
        "products": products, "inside": inside, "bias": bias, "computed": float(products.sum()) + (bias or 0.0),
        "formula": formula + (" + b" if bias is not None else ""),
    }  # fmt: skip


def _pool(tracer: Tracer, node: Node, before: Numbers, position: Position) -> dict[str, Any]:
    layer: Any = node.layer
    rows, columns = _window(layer, before.shape, position)
    patch, inside = _patch(before, [position[0]], rows, columns)
    parts: dict[str, Any] = {
        "rows": rows, "columns": columns, "maps": (position[0],), "patch": patch, "inside": inside,
    }  # fmt: skip
    seen = patch[0][inside]
    if layer.word == "maxpool":
        masked = np.where(inside, patch[0], -np.inf)
        winner = np.unravel_index(int(masked.argmax()), masked.shape)
        parts |= {
            "winner": (int(winner[0]), int(winner[1])),
            "formula": "a = the largest number in the window",
        }
        return {**parts, "computed": float(seen.max())}
    if layer.word == "avgpool":
        count = _averaged(layer, before.shape, rows, columns) if layer.count_padding else seen.size
        return {**parts, "formula": f"a = Σ x / {count}", "computed": float(seen.sum() / count)}
    if layer.word == "lppool":
        largest = float(np.abs(seen).max()) or 1.0
        norm = largest * float(((np.abs(seen) / largest) ** layer.p).sum()) ** (1 / layer.p)
        return {**parts, "formula": f"a = (Σ |x|^{layer.p:g})^(1/{layer.p:g})", "computed": norm}
    module: Any = tracer.submodule(node.name)
    coefficient, bias = (float(part.detach()[position[0]]) for part in (module.weight, module.bias))
    formula = f"a = {coefficient:.6g} · Σ x + b"
    return {**parts, "bias": bias, "formula": formula, "computed": coefficient * float(seen.sum()) + bias}


def _averaged(layer: Pool, shape: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...]) -> int:
    """How many numbers a mean divides by where padding counts: those past the padding still do not."""
    left, right, top, bottom = layer.padded_sides(shape)
    num_rows = sum(1 for r in rows if -top <= r < shape[1] + bottom)
    return num_rows * sum(1 for c in columns if -left <= c < shape[2] + right)


def _whole_pool(node: Node, passage: Passage, position: Position) -> dict[str, Any]:
    """A pool whose window follows from the sizes: the whole map, or a part of it."""
    layer: Any = node.layer
    _, high, wide = passage.before.shape
    if layer.word == "globalpool":
        rows, columns = tuple(range(high)), tuple(range(wide))
    else:
        rows, columns = (
            tuple(range(i * size // parts, -((-(i + 1) * size) // parts)))
            for i, size, parts in zip(position[1:], (high, wide), both(layer.size), strict=True)
        )
    patch, inside = _patch(passage.before, [position[0]], rows, columns)
    parts = {"rows": rows, "columns": columns, "maps": (position[0],), "patch": patch, "inside": inside}
    if getattr(layer, "kind", "avg") == "max":
        winner = np.unravel_index(int(patch[0].argmax()), patch[0].shape)
        return {
            **parts, "winner": (int(winner[0]), int(winner[1])), "formula": "a = the largest number of the map",
            "computed": float(patch.max()),
        }  # fmt: skip
    return {**parts, "formula": f"a = Σ x / {patch.size}", "computed": float(patch.mean())}


def _dense(tracer: Tracer, node: Node, before: Numbers, position: Position) -> dict[str, Any]:
    module: Any = tracer.submodule(node.name)
    weights = module.weight.detach()[position[0]].double().numpy()
    bias = None if module.bias is None else float(module.bias.detach()[position[0]])
    inputs = before.astype(np.float64)
    contributions = weights * inputs
    return {
        "inputs": inputs, "contributions": contributions, "bias": bias,
        "computed": float(contributions.sum()) + (bias or 0.0), "places": stretched_maps(tracer, node),
        "formula": f"a = Σ w·x over {inputs.size:,} products" + (" + b" if bias is not None else ""),
    }  # fmt: skip


def stretched_maps(tracer: Tracer, node: Node) -> tuple[int, ...] | None:
    """The shape (C, H, W) of the maps that a flatten right before a layer stretches, past dropout; else None."""
    before = tracer.before(node.name)
    while before is not None and before.layer.word in ("dropout", "identity"):
        before = tracer.before(before.name)
    if before is None or before.layer.word != "flatten":
        return None
    shape = tracer.shapes(before.name)[0]
    return shape if len(shape) == 3 else None


def _passed(node: Node, passage: Passage, position: Position) -> dict[str, Any]:
    """Any other layer: the number at the same place before it, where there is one, and the number after."""
    after = float(passage.after[position])
    if passage.before.shape == passage.after.shape:
        return {"formula": f"{node.layer.word} of {float(passage.before[position]):.6g}", "computed": after}
    if node.layer.word == "flatten" and passage.before.ndim == 3:
        place = np.unravel_index(position[0], passage.before.shape)
        words = f"map {place[0]}, row {place[1]}, column {place[2]}"
        return {"formula": f"the number at {words}", "computed": float(passage.before[place])}
    shapes = f"{written_shape(passage.before.shape)} → {written_shape(passage.after.shape)}"
    return {"formula": f"{node.layer.word}, {shapes},", "computed": after}


# z = f(a) -------------------------------------------------------------------------------------------

FUNCTIONS = ("batchnorm", "relu", "relu6", "gelu", "tanh", "sigmoid", "identity", "dropout")
"""Words that work number by number in evaluation, so that they can be followed."""


def _followers(tracer: Tracer, node: Node) -> Iterator[Node]:
    for follower in tracer.after(node.name):
        if follower.layer.word not in FUNCTIONS:
            return
        yield follower


def followers(tracer: Tracer, name: str) -> list[Node]:
    """The layers right after a layer that work number by number, up to the first that does not."""
    return list(_followers(tracer, tracer.node(name)))


def _steps(
    tracer: Tracer, nodes: list[Node], passages: dict[str, Passage], position: Position
) -> Iterator[Step]:
    for node in nodes:
        passage = passages[node.name]
        formula = function_text(tracer, node, position[0], float(passage.before[position]))
        yield Step(node.name, formula, float(passage.after[position]))


def function_text(tracer: Tracer, node: Node, number: int, value: float) -> str:
    """f with the number put in, such as max(0, −0.31)."""
    layer: Any = node.layer
    a = f"{value:.6g}".replace("-", "−")
    if layer.word == "batchnorm":
        scale, shift = normalisation(tracer, node, number)
        # γ·(a − mean)/√(variance + eps) + β, gathered
        return f"{scale:.6g}·{a} {'−' if shift < 0 else '+'} {abs(shift):.6g}".replace("-", "−")
    texts = {
        "relu": f"max(0, {a})", "relu6": f"min(6, max(0, {a}))", "sigmoid": f"1/(1 + e^−({a}))", "identity": a,
        "gelu": f"{a}·Φ({a})",
        "dropout": f"{a}, dropout does nothing outside training",
    }  # fmt: skip
    if layer.word == "tanh":
        amplitude = "" if layer.amplitude == 1 else f"{layer.amplitude:g}·"
        return f"{amplitude}tanh({'' if layer.slope == 1 else f'{layer.slope:.4g}·'}{a})"
    return texts[layer.word]


def normalisation(tracer: Tracer, node: Node, number: int) -> tuple[float, float]:
    """Evaluation's batch normalisation of one map as scale·a + shift."""
    module: Any = tracer.submodule(node.name)
    with torch.no_grad():
        scale = float(module.weight[number].double()) / math.sqrt(
            float(module.running_var[number]) + module.eps
        )
        return scale, float(module.bias[number].double()) - scale * float(module.running_mean[number])
