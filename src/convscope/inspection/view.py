"""`inspect`, and what it returns: a network and everything that follows from it for one input shape."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from convscope import nets
from convscope.errors import ConvscopeError, ShapeError, did_you_mean
from convscope.inference import Inference, Step
from convscope.inspection.totals import costs, one_node_a_map, same_output, total
from convscope.layers._base import Shape
from convscope.net import DEFAULT_CLASSES, Net

if TYPE_CHECKING:
    from torch import nn

    from convscope.inspection.modules import ModuleInspection
    from convscope.inspection.why import Why
    from convscope.model_file import Model
    from convscope.training import Run


@overload
def inspect(
    what: str | Path | Net | Model | Run, input_shape: Shape | None = None, classes: int | None = None
) -> Inspection: ...
@overload
def inspect(what: nn.Module, input_shape: Shape | None = None) -> ModuleInspection: ...
def inspect(
    what: str | Path | Net | Model | Run | nn.Module,
    input_shape: Shape | None = None,
    classes: int | None = None,
) -> Inspection | ModuleInspection:
    """Look at a network, without torch where it is a description.

    Args:
        what: a name of the zoo, text, a `.net` file, a Net; a run or a model, or the path of one; any torch module.
        input_shape: (C, H, W); a name, a run and a model bring their own.
        classes: what the placeholder `classes` stands for; without it the published number, else 10.

    Raises NetTextError for an unknown name or unreadable text, ShapeError where the shapes do not fit.

    >>> inspect("lecture").inference.macs
    11992448
    """
    if _is_torch_module(what):
        return _of_module(what, input_shape)
    if isinstance(what, str | Path | Net):
        net, own_shape, own_classes = described(what)
    else:
        model = _model_of(cast("Model | Run", what))
        net, own_shape, own_classes = model.net, model.input_shape, len(model.class_names)
    shape = input_shape if input_shape is not None else own_shape
    if shape is None:
        raise ShapeError(
            "a net without an input shape", "the pictures' channels, rows and columns", "Add --input 1,28,28"
        )
    number = classes if classes is not None else own_classes
    number = DEFAULT_CLASSES if number is None else number
    return Inspection(net, net.infer(shape, number), number)


def described(what: str | Path | Net) -> tuple[Net, Shape | None, int | None]:
    """The net that a name, text, path or Net stands for, with the input and number of classes that come with it."""
    if isinstance(what, Net):
        return what, None, None
    text = str(what)
    if text not in nets.names() and _is_model(text):
        from convscope.model_file import read_card

        card: dict[str, Any] = read_card(text)
        return Net.parse(card["net"]["text"]), tuple(card["input_shape"]), len(card["class_names"])
    label, net = nets.resolve(what)
    if label != text:  # a text or a file, which say nothing about the pictures they are for
        return net, None, None
    entry = nets.get(label)
    return net, entry.input_shape, entry.classes


def _model_of(what: Model | Run) -> Model:
    from convscope.model_file import Model

    return what if isinstance(what, Model) else what.model()


def _is_model(text: str) -> bool:
    """Whether the text is the path of a model file or run folder; text of a network is too long or odd to be one."""
    try:
        path = Path(text)
        return path.suffix == ".safetensors" or path.is_dir()
    except (OSError, ValueError):
        return False


def _is_torch_module(what: object) -> bool:
    torch = sys.modules.get("torch")  # where nobody has imported torch, nothing is a module of it
    return torch is not None and isinstance(what, torch.nn.Module)


def _of_module(module: Any, input_shape: Shape | None) -> Inspection | ModuleInspection:
    from convscope.inspection.modules import inspect_module
    from convscope.reference import Network

    if isinstance(module, Network) and input_shape in (None, module.input_shape):
        return Inspection(module.net, module.net.infer(module.input_shape))
    if input_shape is None:
        raise ShapeError(
            f"a {type(module).__name__} without an input shape",
            "the shape of one picture",
            "For example inspect(module, (3, 224, 224))",
        )
    return inspect_module(module, tuple(input_shape))


@dataclass(frozen=True)
class Inspection:
    """A network and everything that follows from it for one input shape."""

    net: Net
    inference: Inference
    classes: int = DEFAULT_CLASSES  # what the placeholder stands for

    def to_json(self) -> dict[str, Any]:
        """The document `inspect --json` prints: shapes are lists (C, H, W) or (D,), and nothing is folded."""
        inference = self.inference
        whole = total(step for step in inference.steps if not step.training_only)
        return {
            "net": str(self.net),
            "input_shape": list(inference.input_shape),
            "output_shape": list(inference.output_shape),
            "parameters": inference.parameters,
            "parameters_training_only": inference.parameters_training_only,
            "macs": inference.macs,
            "flops": whole.flops,
            "nodes": whole.nodes,
            "activation_bytes": whole.activation_bytes,
            "connections": whole.connections,
            "depth": inference.depth,
            "layers": [self._step_json(step) for step in inference.steps],
        }

    def _step_json(self, step: Step) -> dict[str, Any]:
        inference, own = self.inference, costs(step)
        counted = not step.training_only
        return {
            "name": step.name,
            "kind": step.kind,
            "text": str(step.layer),
            "input_shape": list(step.input_shape),
            "output_shape": list(step.output_shape),
            "parameters": step.parameters,
            "parameters_share": _share(step.parameters, inference.parameters) if counted else None,
            "macs": step.macs,
            "macs_share": _share(step.macs, inference.macs) if counted else None,
            "flops": own.flops,
            "nodes": own.nodes,
            "activation_bytes": own.activation_bytes,
            "connections": own.connections,
            "receptive_field": step.receptive_field,
            "jump": step.jump,
            "training_only": step.training_only,
            "as_dense": _as_dense(step),
        }

    def render(
        self, width: int | None = None, *, all_layers: bool = False, against_dense: bool = False
    ) -> str:
        """The table as plain text, a line a layer, then the totals; see `convscope.inspection.table.render`."""
        from convscope.inspection import table

        return table.render(self.inference, width, all_layers, against_dense)

    def why(self, name: str) -> Why:
        """How the numbers of one layer come about. Raises ConvscopeError when there is no layer of this name."""
        from convscope.inspection.why import why

        return why(self, name)

    def code(self, library: str) -> str:
        """Source that defines `model`, in "torch" or "keras". Raises ConvscopeError where the library has no equal."""
        if library == "torch":
            from convscope.inspection.torch_code import torch_source as source
        elif library == "keras":
            from convscope.inspection.keras_code import keras_source as source
        else:
            raise ConvscopeError(
                f"--as {library[:80]}", "torch or keras", did_you_mean(library.lower(), ("torch", "keras"))
            )
        return source(self.net, self.inference.input_shape, self.classes)

    def svg(self, title: str | None = None) -> str:
        """The network as a drawing, the text of an SVG file."""
        from convscope.inspection.diagram import draw

        return draw(self.net, self.inference.input_shape, self.classes, title=title)

    def __str__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        from convscope.inspection.html import page

        return page(self)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _as_dense(step: Step) -> dict[str, dict[str, int]] | None:
    """What fully connected layers in a convolution's place would have; None for anything else."""
    if step.kind != "conv":
        return None
    return {"one_node_a_map": asdict(one_node_a_map(step)), "same_output": asdict(same_output(step))}
