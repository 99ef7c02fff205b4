"""Starting from published weights: `weights="imagenet"` in place of a recipe's initialisation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from convscope.data import datasets
from convscope.data.image_data import ImageData
from convscope.errors import RunError, did_you_mean
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
    if kind != IMAGENET:
        raise RunError(f"weights {kind!r}", IMAGENET, did_you_mean(kind, [IMAGENET]))
    if net_label not in weights.names():
        raise RunError(
            f"weights {kind} for the net {net_label!r}, which has none",
            f"a net of {', '.join(weights.names())}",
            did_you_mean(net_label, weights.names()) or "Try --net resnet18",
        )
    weights.model_path(net_label, offline=offline, say=say)


def photo_size(data: object, size_px: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
    """The size to load pictures at: 224 px, as the weights were made for, where a folder leaves it open."""
    is_folder = isinstance(data, str | os.PathLike) and data not in {row["name"] for row in datasets()}
    return PHOTO_PX if is_folder and size_px is None else size_px


def scaled(data: ImageData, net_label: str) -> ImageData:
    """The data with the mean and deviation the weights were trained with."""
    own = data.preprocessing
    published = weights.preprocessing(net_label, own.channels, own.size_px)
    return replace(data, preprocessing=replace(own, mean=published.mean, std=published.std))


def pour(network: Network, net_label: str, *, offline: bool, say: Say) -> None:
    """Copy the weights into the network, and say what was adapted."""
    for note in weights.pour_into(network, net_label, offline=offline, say=say):
        say(note)
    say(f"{net_label} starts from its published ImageNet weights.")
