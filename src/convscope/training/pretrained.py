"""Starting from trained weights in place of a recipe's initialisation: published ones, or those of a model file.

weights="imagenet"            the published weights of the net that is named
weights="runs/a"              a model file or run folder of the same net
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from convscope.data import datasets
from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Preprocessing
from convscope.errors import RunError, did_you_mean
from convscope.model_file import FILE_NAME, load_model
from convscope.nets import weights
from convscope.reference import Network

IMAGENET = "imagenet"
PHOTO_PX = 224
Say = Callable[[str], None]


def prepare(kind: str, net_label: str, *, offline: bool, say: Say) -> None:
    """Have the weights at hand before anything else is done.

    Raises:
        RunError: there are no such weights, or none for this network.
        DataError: they are not at hand and cannot be fetched, or came damaged.
    """
    if _is_model(kind):
        return
    if kind != IMAGENET:
        fix = did_you_mean(kind, [IMAGENET])
        raise RunError(f"weights {kind!r}", f"{IMAGENET}, a model file or a run folder", fix)
    if net_label not in weights.names():
        raise RunError(
            f"weights {kind} for the net {net_label!r}, which has none",
            f"a net of {', '.join(weights.names())}",
            did_you_mean(net_label, weights.names()) or "Try --net resnet18",
        )
    weights.model_path(net_label, offline=offline, say=say)


def _is_model(kind: str) -> bool:
    return Path(kind).is_file() or (Path(kind) / FILE_NAME).is_file()


def photo_size(
    kind: str, data: object, size_px: int | tuple[int, int] | None
) -> int | tuple[int, int] | None:
    """The size to load pictures at: a model's own, else 224 px where a folder leaves it open."""
    if _is_model(kind):
        return size_px or load_model(kind).preprocessing.size_px
    is_folder = isinstance(data, str | os.PathLike) and data not in {row["name"] for row in datasets()}
    return PHOTO_PX if is_folder and size_px is None else size_px


def like(kind: str | None) -> Preprocessing | None:
    """How a model's own pictures are made; None for published weights, whose pictures may be made in any way."""
    return load_model(kind).preprocessing if kind and _is_model(kind) else None


def channels(kind: str | None) -> int | None:
    """The channels to bring pictures to: a model's own, where it has 1 or 3; None leaves them."""
    wanted = load_model(kind).preprocessing.channels if kind and _is_model(kind) else None
    return wanted if wanted in (1, 3) else None


def scaled(data: ImageData, kind: str, net_label: str) -> ImageData:
    """The data with the mean and deviation the weights were trained with."""
    own = data.preprocessing
    if _is_model(kind):
        trained = load_model(kind).preprocessing
        return replace(data, preprocessing=replace(own, mean=trained.mean, std=trained.std))
    published = weights.preprocessing(net_label, own.channels, own.size_px)
    return replace(data, preprocessing=replace(own, mean=published.mean, std=published.std))


def pour(network: Network, kind: str, net_label: str, *, offline: bool, say: Say) -> None:
    """Copy the weights into the network, and say what was adapted.

    Raises:
        RunError: the model is of another net.
    """
    if _is_model(kind):
        _copy(kind, network)
        return
    for note in weights.pour_into(network, net_label, offline=offline, say=say):
        say(note)
    say(f"{net_label} starts from its published ImageNet weights.")


def _copy(kind: str, network: Network) -> None:
    model = load_model(kind)
    if model.net != network.net:
        raise RunError(
            f"weights {kind}, whose net is not the one to be trained",
            f"a model of the net {str(network.net)[:200]}",
            "Leave --net and --weights out, or name a model of the same net",
        )
    network.load_state_dict(model.module.state_dict())
