"""Any torch module, layer by layer: what was called in one forward, on the meta device where the module lets it.

Counted are multiply-adds of nn.Conv1d to 3d, nn.ConvTranspose1d to 3d and nn.Linear, of one picture; groups, strides
and dilation as they are. What torch's own flop counter finds beside them (matrix products, attention, functional
convolutions) stands in `macs_elsewhere`. Modules and parameters that are used twice count their parameters once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from convscope.errors import ShapeError
from convscope.inference import shortened
from convscope.inspection.table import aligned, exact, in_bytes, percent, rounded
from convscope.layers._base import Shape, written_shape

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True)
class Call:
    """One module called once: what it made, and what that cost; a later call of the same module has no parameters."""

    name: str
    kind: str
    text: str
    output_shape: Shape
    parameters: int
    macs: int
    flops: int
    activation_bytes: int


@dataclass(frozen=True)
class ModuleInspection:
    """A torch module and what one forward of it called, in order. Receptive fields need a graph and are not given."""

    kind: str
    input_shape: Shape
    output_shape: Shape
    parameters: int  # all of the module, each once, trainable or not
    parameters_frozen: int
    macs: int
    macs_elsewhere: int
    calls: tuple[Call, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `inspect --json`; what a module cannot say is None."""
        return {
            "net": None,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "parameters_training_only": None,
            "parameters_frozen": self.parameters_frozen,
            "macs": self.macs,
            "macs_elsewhere": self.macs_elsewhere,
            "flops": sum(call.flops for call in self.calls),
            "activation_bytes": sum(call.activation_bytes for call in self.calls),
            "layers": [
                {
                    **asdict(call),
                    "output_shape": list(call.output_shape),
                    "receptive_field": None,
                    "jump": None,
                }
                for call in self.calls
            ],
        }

    def render(self, width: int = 100) -> str:
        """The table as plain text."""
        headings = ["layer", "what", "output", "parameters", "share", "MACs", "FLOPs", "memory"]
        rows = [headings, *(self._cells(call, width) for call in self.calls)]
        elsewhere = self.parameters - sum(call.parameters for call in self.calls)
        said = [
            f"{self.kind}: input {written_shape(self.input_shape)} → {written_shape(self.output_shape)}",
            "",
            *aligned(rows, left=2),
            "",
            f"{self.parameters:,} parameters, {self.macs:,} MACs a picture "
            "(multiply-adds of convolution and linear modules).",
        ]
        if elsewhere:
            said.append(f"{elsewhere:,} of the parameters are in modules that this forward did not call.")
        if self.macs_elsewhere:
            said.append(
                f"{self.macs_elsewhere:,} MACs more outside them: matrix products, attention, functions."
            )
        return "\n".join(said)

    def _cells(self, call: Call, width: int) -> list[str]:
        return [
            call.name,
            shortened(call.text, max(width - 76, 16)),
            written_shape(call.output_shape),
            exact(call.parameters),
            percent(call.parameters, self.parameters),
            exact(call.macs),
            rounded(call.flops),
            in_bytes(call.activation_bytes),
        ]

    def __str__(self) -> str:
        return self.render()


def inspect_module(module: nn.Module, input_shape: Shape) -> ModuleInspection:
    """Look at any torch module by one forward of one picture (1, *input_shape), in evaluation mode, without gradients.

    The forward runs on the meta device, without arithmetic; where the module does not go there, with zeros where its
    weights are. The module is left as it was.

    Raises ShapeError when the module refuses the input.
    """
    recorder = _Recorder(module)
    try:
        output, total_flops = _forward(module, input_shape, recorder, meta=True)
    except Exception:
        recorder = _Recorder(module)
        output, total_flops = _real_forward(module, input_shape, recorder)
    calls = tuple(recorder.calls)
    macs = sum(call.macs for call in calls)
    parameters = list(module.parameters())
    return ModuleInspection(
        kind=type(module).__name__,
        input_shape=input_shape,
        output_shape=_shape(output),
        parameters=sum(p.numel() for p in parameters),
        parameters_frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        macs=macs,
        macs_elsewhere=max(total_flops // 2 - macs, 0),
        calls=calls,
    )


def _real_forward(module: nn.Module, input_shape: Shape, recorder: _Recorder) -> tuple[Any, int]:
    try:
        return _forward(module, input_shape, recorder, meta=False)
    except Exception as error:
        raise ShapeError(
            f"{type(module).__name__} refuses a picture of {written_shape(input_shape)}: {shortened(str(error), 300)}",
            "the shape of one picture, without the batch",
            "For example inspect(module, (3, 224, 224))",
        ) from error


def _forward(module: nn.Module, input_shape: Shape, recorder: _Recorder, meta: bool) -> tuple[Any, int]:
    """What one forward returns, and the FLOPs torch counts in it, two a multiply-add."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    first = next((t for t in tensors.values() if t.is_floating_point()), torch.empty(0))
    counter = FlopCounterMode(display=False)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluation(module))
        stack.enter_context(recorder)
        stack.enter_context(counter)
        if meta:
            images = torch.zeros(1, *input_shape, dtype=first.dtype, device="meta")
            elsewhere = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
            output = functional_call(module, elsewhere, (images,))
        else:
            output = module(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    return output, counter.get_total_flops()


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each submodule in the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class _Recorder:
    """Notes each call of a module that has no modules inside, or parameters of its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.calls: list[Call] = []
        self._counted: set[int] = set()
        # By identity before the forward: on the meta device the tensors are others, the modules the same.
        self._own = {
            id(part): [(id(p), p.numel()) for p in part.parameters(recurse=False)]
            for part in module.modules()
        }
        self._names = {id(part): name or type(part).__name__ for name, part in module.named_modules()}

    def __enter__(self) -> _Recorder:
        self._hooks = ExitStack()
        for part in self.module.modules():
            if not list(part.children()) or self._own[id(part)]:
                self._hooks.callback(part.register_forward_hook(self._note).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _note(self, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        shape = _shape(output)
        macs, biases = _macs(part, inputs, output), 0
        if macs and getattr(part, "bias", None) is not None:
            biases = math.prod(shape)
        self.calls.append(
            Call(
                name=self._names[id(part)],
                kind=type(part).__name__,
                text=_text(part),
                output_shape=shape,
                parameters=self._new_parameters(part),
                macs=macs,
                flops=2 * macs + biases,
                activation_bytes=math.prod(shape) * _item_bytes(output),
            )
        )

    def _new_parameters(self, part: nn.Module) -> int:
        """Those of this module that no call before has counted."""
        new = [(key, count) for key, count in self._own[id(part)] if key not in self._counted]
        self._counted.update(key for key, _ in new)
        return sum(count for _, count in new)


def _macs(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    """Multiply-adds of one call, for the whole batch of one."""
    if isinstance(part, Convolution):
        return int(output.numel()) * part.in_channels // part.groups * math.prod(part.kernel_size)
    if isinstance(part, Transposed):
        return int(inputs[0].numel()) * part.out_channels // part.groups * math.prod(part.kernel_size)
    if isinstance(part, nn.Linear):
        return int(output.numel()) * part.in_features
    return 0


def _text(part: nn.Module) -> str:
    return f"{type(part).__name__}({part.extra_repr()})" if not list(part.children()) else type(part).__name__


def _first_tensor(output: Any) -> Tensor | None:
    """The first tensor of whatever a module returned."""
    if isinstance(output, Tensor):
        return output
    items = (
        output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    )
    return next((found for item in items if (found := _first_tensor(item)) is not None), None)


def _shape(output: Any) -> Shape:
    """The shape of the first tensor, without the batch."""
    tensor = _first_tensor(output)
    return tuple(tensor.shape[1:]) if tensor is not None else ()


def _item_bytes(output: Any) -> int:
    tensor = _first_tensor(output)
    return tensor.element_size() if tensor is not None else 0
