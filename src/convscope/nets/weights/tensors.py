"""Weights from torchvision's names to ours and back, and into networks with other classes or channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convscope.errors import ModelFileError
from convscope.nets.weights.tables import HEADS, table
from convscope.reference import Network

COUNTER = "num_batches_tracked"  # how many batches a norm has seen; older files have none
Tensors = Mapping[str, Tensor]


def renamed(theirs: Tensors, builder: str, wanted: Tensors, what: str) -> dict[str, Tensor]:
    """Tensors under torchvision's names as tensors under ours, none missing and none left over.

    Args:
        theirs: torchvision's state dict.
        builder: the name of torchvision's builder.
        wanted: our state dict, for its names and shapes.
        what: the file, for messages.

    Raises:
        ModelFileError: names the first tensor that disagrees, and both shapes.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        key = _their_key(name, table(builder))
        if key.endswith(COUNTER) and key not in theirs:
            found[name] = torch.zeros_like(tensor, device="cpu")
            continue
        _check(key, theirs, tensor, builder, what)
        found[name] = theirs[key]
    known = {_their_key(name, table(builder)) for name in wanted}
    for key in theirs:
        if key not in known:
            raise ModelFileError(
                f"{what} has the tensor {key!r} of shape {_shape(theirs[key])}",
                f"the tensors of {builder}, which has none of that name",
                "Take the file of the network you name",
            )
    return found


def _check(key: str, theirs: Tensors, wanted: Tensor, builder: str, what: str) -> None:
    if key in theirs and theirs[key].shape == wanted.shape:
        return
    if key in theirs:
        came = f"{what} has the tensor {key!r} of shape {_shape(theirs[key])}"
    else:
        first = next(((name, _shape(tensor)) for name, tensor in theirs.items()), None)
        came = f"{what} has no tensor {key!r}" + (
            f"; its first is {first[0]!r} of shape {first[1]}" if first else ""
        )
    raise ModelFileError(
        came,
        f"{key!r} of shape {_shape(wanted)}, as {builder} has it",
        "Take the file of the network you name",
    )


def torchvision_names(ours: Tensors, builder: str) -> dict[str, Tensor]:
    """Our state dict under torchvision's names: its model of that name loads it strictly."""
    names = table(builder)
    return {_their_key(name, names): tensor for name, tensor in ours.items()}


def _their_key(name: str, names: Mapping[str, str]) -> str:
    module, _, leaf = name.rpartition(".")
    return f"{names[module]}.{leaf}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"


@torch.no_grad()
def pour(weights: Tensors, network: Network) -> list[str]:
    """Copy published weights (3 channels, 1000 classes) into `network`, which may have other numbers of both.

    One channel gets the sum of the filters for red, green and blue, so that a gray picture gives what it gave as a
    coloured one; other counts repeat them, scaled to keep the sum. A layer that holds the classes stays as it is when
    their number differs.

    Returns:
        Sentences about what was adapted, for the user.
    """
    notes: list[str] = []
    for name, target in network.state_dict().items():
        source = weights[name]
        if source.shape == target.shape:
            target.copy_(source)
        elif name.rpartition(".")[0] in HEADS:
            notes.append(_head_note(name, target, source))
        else:
            target.copy_(other_channels(source, target.shape[1]))
            notes.append(_channels_note(name, target.shape[1]))
    return list(dict.fromkeys(note for note in notes if note))


def other_channels(filters: Tensor, channels: int) -> Tensor:
    """Filters (D', 3, F, F) for another number of channels, (D', channels, F, F).

    >>> other_channels(torch.ones(1, 3, 1, 1), 1).flatten().tolist()
    [3.0]
    >>> other_channels(torch.ones(1, 3, 1, 1), 6).flatten().tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    if channels == 1:
        return filters.sum(1, keepdim=True)
    repeated = filters[:, [channel % filters.shape[1] for channel in range(channels)]]
    return repeated * (filters.shape[1] / channels)


def _head_note(name: str, target: Tensor, source: Tensor) -> str:
    module = name.rpartition(".")[0]
    if target.shape[0] == source.shape[0] or not name.endswith("weight"):
        return ""
    return f"{module} starts anew: it has {target.shape[0]} classes and the published weights have {source.shape[0]}."


def _channels_note(name: str, channels: int) -> str:
    module = name.rpartition(".")[0]
    if channels == 1:
        return f"{module} sees one channel: its filters are the sums of those for red, green and blue."
    return f"{module} sees {channels} channels: the filters for red, green and blue are repeated, times 3/{channels}."
