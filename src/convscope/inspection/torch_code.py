"""`inspect --as torch`: a net as plain PyTorch source that defines `model`, without a line of Convscope in it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from textwrap import indent

from convscope.inference import Inference, Node
from convscope.inspection.folding import Run, runs
from convscope.layers._base import Shape, written_shape
from convscope.layers._composite import Composite
from convscope.net import DEFAULT_CLASSES, Net

PARTS = Path(__file__).with_name("torch_parts.py")


def torch_source(net: Net, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> str:
    """Python source that defines `model`, a torch module from images (N, C, H, W) to scores (N, K).

    It has the same parameters in the same order as `net.build(input_shape, classes)`, with torch's own initialisation;
    `weight_names` says which is which. A softmax at the very end is left out, as in training: `model` returns scores.
    Training-only outputs are in it, and pass their input on.

    Raises ShapeError where the shapes do not fit.
    """
    inference = net.infer(input_shape, classes)
    nodes, ending = _without_softmax(inference.nodes)
    body = _row(nodes, inference)
    source = f"model = {body}\n"
    parts = _needed_parts(source)
    return "\n\n".join([_head(inference, parts) + ending, *parts, source]).replace("\n\n\n\n", "\n\n\n")


def weight_names(net: Net, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> list[str]:
    """Our names of the weights and statistics, in the order of the printed model's `state_dict()`. Needs torch.

    So the weights of `network = net.build(…)` go over with

        ours = network.state_dict()
        model.load_state_dict({theirs: ours[name] for theirs, name in zip(model.state_dict(), names, strict=True)})
    """
    import torch

    with torch.device("meta"):
        return list(net.build(input_shape, classes).state_dict())


def _without_softmax(nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], str]:
    if nodes[-1].layer.word != "softmax":
        return nodes, ""
    return (
        nodes[:-1],
        "# model gives scores; their softmax are the probabilities (nn.CrossEntropyLoss wants scores).\n",
    )


def _head(inference: Inference, parts: list[str]) -> str:
    total = inference.parameters + inference.parameters_training_only
    training = inference.parameters_training_only
    side = f", {training:,} of them in outputs that only training uses" if training else ""
    lines = [
        f"# {written_shape(inference.input_shape)} → {written_shape(inference.output_shape)}: "
        f"{total:,} parameters{side}.",
        "# Images (N, C, H, W) come in. The comments are Convscope's names and the shapes that leave.",
    ]
    text = "\n".join(parts)
    imports = [
        "import torch" if re.search(r"\btorch\.", text) else "",
        "import torch.nn.functional as F" if "F." in text else "",
        "from torch import Tensor, nn" if "Tensor" in text else "from torch import nn",
    ]
    return "\n".join([*lines, *filter(None, imports)]) + "\n"


# Modules --------------------------------------------------------------------------------------------


def _row(nodes: tuple[Node, ...], inference: Inference) -> str:
    """nn.Sequential of the nodes, repeats written once."""
    lines = "".join(_run(run, inference) for run in runs(nodes, inference))
    return f"nn.Sequential(\n{indent(lines, '    ')})"


def _run(run: Run, inference: Inference) -> str:
    """The lines of one run; a repeated one as a starred list, a new module for each copy."""
    lines = "".join(_lines(node, inference) for node in run.unit)
    if run.copies == 1:
        return lines
    if len(run.nodes) < 4:  # two or three short lines read better than a loop
        return "".join(_lines(node, inference) for node in run.nodes)
    last = run.nodes[-1].name
    said = f"  # {run.copies} times, to {last}"
    if (
        len(run.unit) == 1
        and lines.count("\n") == 1
        and len(run.unit[0].layer.torch_code(_shape(run, inference))) == 1
    ):
        call, _, comment = lines.rstrip("\n").partition(",  #")
        return f"*({call} for _ in range({run.copies})),  #{comment}, {run.copies} times, to {last}\n"
    layers = indent(lines, "        ")
    return f"*(\n    layer\n    for _ in range({run.copies}){said}\n    for layer in (\n{layers}    )\n),\n"


def _shape(run: Run, inference: Inference) -> Shape:
    return inference.shapes[run.unit[0].name][0]


def _lines(node: Node, inference: Inference) -> str:
    """A node as one or more arguments of nn.Sequential, each with its comma; the name stands in a comment."""
    input_shape, output_shape = inference.shapes[node.name]
    said = f"  # {node.name}: {written_shape(output_shape)}"
    if not isinstance(node.layer, Composite):
        *before, last = node.layer.torch_code(input_shape)
        return "".join(f"{line},\n" for line in before) + f"{last},{said}\n"
    paths = tuple(_row(path, inference) if path else "nn.Identity()" for path in node.paths)
    text = node.layer.joined_torch_code(paths, input_shape, output_shape)
    first, _, rest = text.partition("\n")
    return f"{first}{said}\n{rest},\n" if rest else f"{first},{said}\n"


# Parts ----------------------------------------------------------------------------------------------


@cache
def _parts() -> dict[str, str]:
    """The source of each class in torch_parts.py, by name."""
    text = PARTS.read_text(encoding="utf-8")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return {node.name: ast.get_source_segment(text, node) or "" for node in classes}


def _needed_parts(source: str) -> list[str]:
    """The classes that stand in `source`, in the order of the file, each with a blank line behind it."""
    needed = [text for name, text in _parts().items() if re.search(rf"(?<![\w.]){name}\(", source)]
    return [_plainer(text) + "\n" for text in needed]


def _plainer(text: str) -> str:
    """A class without what only the type checker needs: names for types, names for what is returned at once."""
    text = text.replace("padding: Sides", "padding: tuple[int, int, int, int]")
    return re.sub(r"(\w+): Tensor = (.+)\n +return \1\b", r"return \2", text)
