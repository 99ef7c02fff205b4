"""Published ImageNet weights for our networks, under our names, with their classes.

    from convscope.nets import weights
    model = weights.load("resnet18")                 a Model: predicts ImageNet's 1000 classes
    notes = weights.pour_into(network, "resnet18")   into a network of your own classes and channels

Torchvision's files are downloaded once; efficientnet-lite0's comes with a Python package, an extra of ours. A file is
checked against its pinned digest, read with torch's weights-only reader, and kept in the cache as a model file of
ours; after that nothing is unpickled any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import ModelFileError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.data.preprocessing import Preprocessing
    from convscope.model_file import Model
    from convscope.nets._entry import Entry
    from convscope.reference import Network

__all__ = [
    "IMAGENET_CLASSES",
    "is_at_hand",
    "load",
    "model_path",
    "names",
    "pour_into",
    "preprocessing",
    "read",
    "torchvision_names",
]

IMAGENET_CLASSES = 1000
INPUT_SHAPE = (3, 224, 224)
_SUFFIX = ".safetensors"


def _silent(line: str) -> None:
    """For callers who want no progress."""


def names() -> list[str]:
    """The networks that published weights exist for.

    >>> names()[:2]
    ['alexnet', 'vgg11']
    """
    from convscope import nets

    return [name for name in nets.names() if nets.get(name).torchvision or nets.get(name).package]


def load(
    name: str,
    *,
    classes: int | None = None,
    channels: int | None = None,
    file: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    say: Callable[[str], None] = _silent,
) -> Model:
    """A network with its published weights, in evaluation mode, on the CPU.

    Args:
        name: one of `names()`.
        classes: another number than ImageNet's 1000; the last layer then starts anew, with torch's initialisation.
        channels: another number than 3; the first filters are summed or repeated.
        file: take this file: the published one, or safetensors under its publisher's names.
        data_dir: a folder with `weights/` to look into first; else the variable CONVSCOPE_DATA.
        offline: fetch nothing.
        say: receives what was adapted, and lines about the download.

    Raises:
        ModelFileError: no such weights, or the file is of another network.
        DataError: the file is not at hand and cannot be fetched, or is damaged.
        MissingExtraError: it comes with a package that is not installed.
    """
    from convscope.model_file import Model, load_model

    entry = _entry(name)
    whole = (
        load_model(model_path(name, data_dir=data_dir, offline=offline, say=say))
        if file is None
        else _converted(entry, Path(file))
    )
    if classes in (None, IMAGENET_CLASSES) and channels in (None, 3):
        return whole
    number, shape = classes or IMAGENET_CLASSES, (channels or 3, *INPUT_SHAPE[1:])
    module = entry.net.build(shape, number)
    notes = _poured(whole.module.state_dict(), module)
    for note in notes:
        say(note)
    class_names = whole.class_names if classes is None else tuple(f"class {k}" for k in range(number))
    prepared = preprocessing(name, shape[0])
    return Model(
        entry.net.bind(number), module.eval(), shape, class_names, prepared, {**whole.card, "adapted": notes}
    )


def pour_into(
    network: Network, name: str, *, offline: bool = False, say: Callable[[str], None] = _silent
) -> list[str]:
    """Copy the published weights of `name` into a network built from it, of any size, classes and channels.

    Returns:
        Sentences about what was adapted.
    """
    return _poured(load(name, offline=offline, say=say).module.state_dict(), network)


def _poured(weights: dict[str, Tensor], network: Network) -> list[str]:
    from convscope.nets.weights.tensors import pour

    return pour(weights, network)


def preprocessing(name: str, channels: int = 3, size_px: tuple[int, int] = (224, 224)) -> Preprocessing:
    """How pictures must be prepared for the weights of this name."""
    from convscope.nets.weights import published

    return published.preprocessing(_builder(_entry(name)), channels, size_px)


def model_path(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    say: Callable[[str], None] = _silent,
) -> Path:
    """The published network as a model file of ours in the cache, made there the first time."""
    from convscope.model_file import save_model
    from convscope.nets.weights.published import Published, cache, file_of

    entry = _entry(name)
    path = cache() / f"{name}{_SUFFIX}"
    if path.is_file():
        return path
    file = file_of(Published.of(_builder(entry)), data_dir=data_dir, offline=offline, say=say)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(_converted(entry, file), path)
    if file.parent == path.parent:
        file.unlink()  # the copy says the same, and needs no unpickling
    return path


def is_at_hand(name: str, data_dir: str | os.PathLike[str] | None = None) -> bool:
    """Whether the weights of this name need no download; a look at files' names, which reading them checks."""
    from convscope.nets.weights.published import Published, cache, places

    if (cache() / f"{name}{_SUFFIX}").is_file():
        return True
    published = Published.of(_builder(_entry(name)))
    return any((folder / published.download.name).is_file() for folder in places(published, data_dir))


def _converted(entry: Entry, file: Path) -> Model:
    """The published network from a file under its publisher's names."""
    from convscope.model_file import Model
    from convscope.nets.weights.published import Published

    published = Published.of(_builder(entry))
    module = entry.net.build(INPUT_SHAPE, IMAGENET_CLASSES)
    module.load_state_dict(read(file, entry.name))
    card = {"weights": {"source": published.source, "data": "ImageNet-1k", "by": published.by}}
    net = entry.net.bind(IMAGENET_CLASSES)
    return Model(net, module.eval(), INPUT_SHAPE, published.class_names, preprocessing(entry.name), card)


def read(file: str | os.PathLike[str], name: str) -> dict[str, Tensor]:
    """The tensors of a weights file under our names: the published file, or safetensors under its publisher's names.

    Raises:
        ModelFileError: it cannot be read, is not the published file, or is of another network.
    """
    import torch

    from convscope.nets.weights.tensors import renamed

    entry, path = _entry(name), Path(file)
    with torch.device("meta"):
        wanted = entry.net.build(INPUT_SHAPE, IMAGENET_CLASSES).state_dict()
    theirs = _tensors(path, _builder(entry))
    return renamed(theirs, _builder(entry), wanted, str(path))


def _tensors(path: Path, builder: str) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch

    if path.suffix != _SUFFIX:
        return _unpickled(path, builder)
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}", "a safetensors file") from error


def _unpickled(path: Path, builder: str) -> dict[str, Tensor]:
    """Only a file with a published digest is ever unpickled, and only by torch's weights-only reader."""
    import torch

    from convscope.data.held import file_digest
    from convscope.nets.weights.published import Published

    published = Published.of(builder)
    try:
        digest = file_digest(path, "sha256")
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}", "a weights file") from error
    if not digest.startswith(published.download.hexdigest):
        raise ModelFileError(
            f"{path} is not {published.by}'s {published.download.name}: its SHA-256 is {digest}",
            f"one that starts with {published.download.hexdigest}; no other pickle is opened, since it can run code",
            "Take the published file, or save the state dict as safetensors",
        )
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def torchvision_names(model: Model | Network, name: str) -> dict[str, Any]:
    """The state dict under torchvision's names, which torchvision's model of that name loads strictly."""
    from convscope.nets.weights.tensors import torchvision_names as renamed_back
    from convscope.reference import Network

    module = model if isinstance(model, Network) else model.module
    return dict(renamed_back(module.state_dict(), _builder(_entry(name))))


def _entry(name: str) -> Entry:
    from convscope import nets

    if name not in names():
        raise ModelFileError(
            f"no published weights for {name!r}", f"one of {', '.join(names())}", did_you_mean(name, names())
        )
    return nets.get(name)


def _builder(entry: Entry) -> str:
    """What the publisher calls the network."""
    return entry.torchvision or entry.name
