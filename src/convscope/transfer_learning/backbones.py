"""Backbones: networks that were trained on much, whose last layer is taken off. The rest makes features of pictures.

    a model file or a run folder        your own
    efficientnet-lite0, resnet18 …      published ImageNet weights, `nets.weights.names()`
    timm/resnet50 …                     a network of timm, whose features alone can be used

A net ends in a dense layer that holds the classes, perhaps with a softmax behind it. What stands before that layer is
z = f(x), the features; logistic regression on z is what the lecture calls the first regime of transfer learning.

Features can be seen twice: beside those at the end, the mean of each map half way, where the picture is 1/16 of its
size. Early layers are more general than late ones, and textures and materials are told apart better there. In our
words that is `branches([globalpool], [what follows])`, so the result is a net like any other. Networks for small
pictures do not shrink them that far; there it is the last maps that are seen again, a part at a time, since where
something lies tells small pictures apart: `branches([adaptiveavgpool(4), flatten], [globalpool])`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Preprocessing
from convscope.errors import ModelFileError, did_you_mean
from convscope.inference import expand
from convscope.layers import adaptiveavgpool, aux, branches, classes, dense, flatten, globalpool, softmax
from convscope.model_file import Model, load_model
from convscope.net import Net
from convscope.nets import weights

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.reference import Network
    from convscope.transfer_learning.head import Head

PREFERRED = (
    "efficientnet-lite0",
    "resnet50",
    "resnet34",
    "resnet18",
    "googlenet_torchvision",
    "vgg16",
    "alexnet",
)
"""In this order, whichever is at hand is taken when none is named: features first for their accuracy per second."""
TWICE = "features"
"""The name of the branches in which features are seen twice."""
SHRUNK = 16
"""The middle is where the picture has become this many times smaller."""
PARTED = 4
"""How many parts a side of the last maps has where they are seen a part at a time."""
_USUAL_CHANNELS = (1, 3)

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trained network, seen as features and a head.

    Attributes:
        name: as the user typed it.
        label: short, for names of run folders.
        net: the whole net, its classes bound, less its training-only outputs.
        weights: its tensors by name, float32, on the CPU.
        preprocessing: how pictures are prepared for it.
        origin: one sentence, where it comes from.
    """

    name: str
    label: str
    net: Net
    weights: dict[str, Tensor]
    preprocessing: Preprocessing
    origin: str

    @classmethod
    def of(cls, model: Model, name: str, label: str, origin: str) -> Backbone:
        """A model as a backbone.

        Raises:
            ModelFileError: it does not end in a dense layer.
        """
        import torch

        net = without_training_only(model.net)
        head_place(net, name)
        with torch.device("meta"):
            known = net.build(model.input_shape).state_dict().keys()
        tensors = {key: tensor for key, tensor in model.module.state_dict().items() if key in known}
        return cls(name, label, net, tensors, model.preprocessing, origin)

    @cached_property
    def head_place(self) -> int:
        """Where among the layers the head stands."""
        return head_place(self.net, self.name)

    @cached_property
    def middle(self) -> int | None:
        """How many layers stand before the middle, or None where the maps do not shrink that far."""
        steps = self.net.infer(self.preprocessing.input_shape).shapes
        side = self.preprocessing.size_px[0]
        for place, node in enumerate(expand(self.net.layers[: self.head_place])):
            shape = steps[node.name][1]
            if len(shape) == 3 and shape[1] * SHRUNK <= side:
                return place + 1 if self._is_narrowing(place) else None
        return None

    def _is_narrowing(self, place: int) -> bool:
        """Whether features behind this layer can be taken off: what follows ends in a vector of its own."""
        return any(not isinstance(layer, flatten) for layer in self.net.layers[place + 1 : self.head_place])

    @cached_property
    def last_maps(self) -> int | None:
        """How many layers stand before the last maps are pooled; None where they are not, or the middle is seen."""
        layers = self.net.layers[: self.head_place]
        place = next((k for k, layer in enumerate(layers) if isinstance(layer, globalpool)), None)
        return place if self.middle is None else None

    def body(self, twice: bool) -> Net:
        """The net without its head and what stands behind it; with `twice`, what is seen beside its features first."""
        layers = self.net.layers[: self.head_place]
        if twice and self.middle is not None:
            return Net(*layers[: self.middle], branches([globalpool], layers[self.middle :], name=TWICE))
        if twice and self.last_maps is not None:
            beside = [adaptiveavgpool(PARTED), flatten]
            return Net(*layers[: self.last_maps], branches(beside, layers[self.last_maps :], name=TWICE))
        return Net(*layers)

    def seen(self, twice: bool) -> str:
        """What the features are of, in words."""
        if not twice:
            return "end"
        return "middle and end" if self.middle is not None else "parts and end"

    def with_classes(self, twice: bool) -> Net:
        """The body and a head as wide as the data have classes; that number is bound by the data."""
        head = self.net.layers[self.head_place]
        assert isinstance(head, dense)
        behind = self.net.layers[self.head_place + 1 :]
        return Net(*self.body(twice).layers, replace(head, units=classes, bias=True), *behind)

    @property
    def head_name(self) -> str:
        """The name of the head, in a module of any of its nets."""
        return expand(self.net.layers)[self.head_place].name

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the net: its text and every tensor."""
        digest = hashlib.sha256(str(self.net).encode())
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"|{name} {tuple(tensor.shape)}|".encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).data)
        return digest.hexdigest()

    def preprocessing_for(self, channels: int, size_px: tuple[int, int] | None = None) -> Preprocessing:
        """How pictures are prepared for it: its mean and deviation, stretched to its size or another."""
        own = self.preprocessing
        return Preprocessing(
            size_px or own.size_px,
            channels,
            mean=_for_channels(own.mean, channels),
            std=_for_channels(own.std, channels),
        )

    def features(self, input_shape: tuple[int, int, int], twice: bool) -> Network:
        """The body as a module in evaluation mode: images (N, C, H, W) → features (N, D).

        With `twice` the features of the middle come first. Other numbers of channels get the first filters summed or
        repeated.

        Raises:
            ShapeError: the body cannot take this shape.
            ModelFileError: its weights do not fit at this size.
        """
        module = self.body(twice).build(input_shape)
        pour(self.weights, module, self.name)
        return module.eval()

    def width(self, input_shape: tuple[int, int, int]) -> int:
        """How many features there are at the end."""
        return self.body(False).infer(input_shape).output_shape[0]

    def assembled(self, data: ImageData, head: Head, twice: bool, card: dict[str, Any]) -> Model:
        """Backbone and head as one model of ours, in evaluation mode on the CPU."""
        net = self.with_classes(twice).bind(len(data.class_names))
        module = net.build(data.input_shape)
        name = self.head_name
        tensors = {**self.weights, f"{name}.weight": head.weight, f"{name}.bias": head.bias}
        pour(tensors, module, self.name)
        return Model(net, module.eval(), data.input_shape, data.class_names, data.preprocessing, card)


def pour(tensors: dict[str, Tensor], module: Network, name: str) -> None:
    """Copy tensors into a module of the same layers, whose pictures may have other channels or another size.

    Raises:
        ModelFileError: a tensor has another shape there.
    """
    import torch

    from convscope.nets.weights.tensors import other_channels

    with torch.no_grad():
        for key, target in module.state_dict().items():
            source = tensors[key] if key in tensors else tensors[key.removeprefix(f"{TWICE}.")]
            is_filter = source.ndim == target.ndim == 4 and source.shape[2:] == target.shape[2:]
            if source.shape == target.shape:
                target.copy_(source)
            elif is_filter and target.shape[1] == module.input_shape[0]:
                target.copy_(other_channels(source, target.shape[1]))
            else:
                raise ModelFileError(
                    f"{name} has {key} of shape {tuple(source.shape)}, and images of {module.input_shape} need"
                    f" {tuple(target.shape)}",
                    "the size that it was trained for, since a dense layer stands behind its maps",
                    "Leave --size out",
                )


def without_training_only(net: Net) -> Net:
    """The net less its training-only outputs, which tell apart classes that are no longer asked for."""
    return Net(*(layer for layer in net.layers if not isinstance(layer, aux)))


def head_place(net: Net, name: str) -> int:
    """Where among the net's layers the head stands: the last one, or the one before a softmax.

    Raises:
        ModelFileError: that layer is not dense.

    >>> head_place(Net.parse("conv(4, 3), globalpool, dense(10), softmax"), "mine")
    2
    """
    places = [k for k, layer in enumerate(net.layers) if not isinstance(layer, softmax)]
    last = net.layers[places[-1]] if places else net.layers[-1]
    if not isinstance(last, dense) or len(net.layers) < 2:
        raise ModelFileError(
            f"{name} ends in {last.word}, so there is no telling its features from its head",
            "a net that ends in dense(classes), with layers before it",
            "Take another backbone, such as efficientnet-lite0",
        )
    return places[-1]


def find(
    where: str | os.PathLike[str] | Model | None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    say: Say = lambda line: None,
) -> Backbone:
    """The backbone that `where` means; None for the best one at hand.

    Raises:
        ModelFileError: there is none, or it is a file of another kind, or does not end in a dense layer.
        MissingExtraError: its weights come with a package that is not installed.
        DataError: its weights could not be fetched, or came damaged.
    """
    if isinstance(where, Model):
        return Backbone.of(where, "the model", "own", "a model from Python")
    if where is None:
        where = best_at_hand(data_dir)
        say(f"No backbone was named: {where} is taken, {_WHY}. Name another with --from.")
    name = os.fspath(where)
    if name.startswith("timm/"):
        from convscope.transfer_learning.timm_backbone import TimmBackbone

        timm = TimmBackbone.named(name, offline=offline)
        say(f"The backbone is {timm.origin}.")
        return timm
    if not Path(name).exists() and name in weights.names():
        model = weights.load(name, data_dir=data_dir, offline=offline, say=say)
        return Backbone.of(model, name, name, f"{name} with its published ImageNet weights")
    _require_known(name)
    model = load_model(name)
    return Backbone.of(
        model, name, Path(name).stem if Path(name).is_file() else Path(name).name, f"the model {name}"
    )


_WHY = "the best one at hand: trained on 1.3 million pictures of 1,000 kinds"


def best_at_hand(data_dir: str | os.PathLike[str] | None = None) -> str:
    """The first of `PREFERRED` whose weights are on this machine; else the first, and loading it says what to do."""
    return next((name for name in PREFERRED if weights.is_at_hand(name, data_dir)), PREFERRED[0])


def _require_known(name: str) -> None:
    if not Path(name).exists() and not {"/", "\\", "."} & set(name):
        raise ModelFileError(
            f"no backbone {name!r}",
            f"a model file, a run folder, or one of {', '.join(weights.names())}",
            did_you_mean(name, weights.names()) or "Try --from efficientnet-lite0",
        )


def channels_for(backbone: Backbone, data: ImageData) -> int | None:
    """The channels to bring the data to: the backbone's, where both have 1 or 3; else None for the data's own."""
    own, theirs = backbone.preprocessing.channels, data.preprocessing.channels
    return own if own in _USUAL_CHANNELS and theirs in _USUAL_CHANNELS else None


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number a channel: as they are, their mean for gray, else repeated."""
    if len(values) == channels:
        return tuple(values)
    if channels == 1:
        return (round(sum(values) / len(values), 6),)
    return tuple(values[channel % len(values)] for channel in range(channels))
