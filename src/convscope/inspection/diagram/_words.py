"""What stands on a drawn layer: its kind's colour, its few words, and the sentence that pointing at it shows."""

from __future__ import annotations

from typing import Any

from convscope.inference import Inference, Node
from convscope.layers._base import Layer, Shape, both, written_shape

COLOURS = {
    "input": "#d9dde2",
    "convolution": "#f5b774",
    "pooling": "#9ccb86",
    "dense": "#8ab6e0",
    "normalisation": "#d5c3e8",
    "activation": "#fbe38e",
    "dropout": "#e3e3e3",
    "other": "#cfd8dc",
}
KINDS = {
    "conv": "convolution", "dense": "dense", "rbf": "dense", "batchnorm": "normalisation", "lrn": "normalisation",
    "relu": "activation", "relu6": "activation", "gelu": "activation", "tanh": "activation", "sigmoid": "activation",
    "softmax": "activation", "dropout": "dropout", "maxpool": "pooling", "avgpool": "pooling", "lppool": "pooling",
    "subsample": "pooling", "globalpool": "pooling", "adaptiveavgpool": "pooling",
}  # fmt: skip


def kind_of(node: Node) -> str:
    """Which colour of the key a layer has."""
    return KINDS.get(node.layer.word, "other")


def colour_of(node: Node) -> str:
    """A layer's colour."""
    return COLOURS[kind_of(node)]


def maps_label(shape: Shape) -> str:
    """A shape as diagrams have it: 64@24×24, or 128 for a vector.

    >>> maps_label((64, 24, 24))
    '64@24×24'
    """
    return f"{shape[0]}@{shape[1]}×{shape[2]}" if len(shape) == 3 else f"{shape[0]}"


def title_of(node: Node, inference: Inference, count: int = 1) -> str:
    """The sentence that pointing at a layer shows."""
    before, after = inference.shapes[node.name]
    text = " ".join(str(node.layer).split())
    text = text if len(text) <= 120 else text[:119] + "…"
    times = f", and {count - 1} more like it" if count > 1 else ""
    return f"{node.name}{times}: {text}, {written_shape(before)} → {written_shape(after)}"


def main_lines(layer: Layer, output_shape: Shape) -> list[str]:
    """A making layer in one to three short lines: what it is, its window, how much comes out."""
    word: Any = layer
    if layer.word == "conv":
        return [
            f"conv {_side(word.kernel)}{_step(word.stride)}",
            f"{output_shape[0]} maps",
            *_conv_notes(word),
        ]
    if layer.word in ("dense", "rbf"):
        return [layer.word, f"{output_shape[0]}"]
    if layer.word in _POOLS:
        return [_POOLS[layer.word], f"{_side(word.window)}{_step(word.stride)}"]
    if layer.word == "globalpool":
        return ["global", "max pool" if word.kind == "max" else "avg pool"]
    if layer.word == "adaptiveavgpool":
        return ["avg pool", f"to {_side(word.size)}"]
    return [layer.word]


_POOLS = {"maxpool": "max pool", "avgpool": "avg pool", "lppool": "Lp pool", "subsample": "subsample"}


def extra_line(layer: Layer) -> str:
    """A shape-keeping layer in a word or two."""
    word: Any = layer
    names = {"batchnorm": "batch norm", "lrn": "resp. norm"}
    if layer.word == "dropout":
        return f"dropout {word.rate:g}"
    if layer.word == "tanh" and (word.amplitude, word.slope) != (1.0, 1.0):
        return "scaled tanh"
    return names.get(layer.word, layer.word)


def _conv_notes(word: Any) -> list[str]:
    notes = [f"{word.groups} groups"] if word.groups > 1 else []
    notes += ["partial table"] if word.table is not None else []
    return notes + ([f"dilation {_side(word.dilation)}"] if both(word.dilation) != (1, 1) else [])


def _side(value: int | tuple[int, int]) -> str:
    return "×".join(map(str, both(value)))


def _step(value: int | tuple[int, int]) -> str:
    steps = both(value)
    return "" if steps == (1, 1) else f" /{steps[0]}" if steps[0] == steps[1] else f" /{steps[0]},{steps[1]}"
