"""The weights files that torchvision publishes: where they are, how they are checked, what their classes are.

Nothing is copied here that torchvision knows itself: address, class names and crop come from its own metadata. The
name of a file ends in the first eight digits of its SHA-256.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.data.data_set import Download
from convscope.data.preprocessing import Preprocessing
from convscope.errors import DataError

VERSION = "IMAGENET1K_V1"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZED_PX, CROP_PX = 256, 224
Say = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """One weights file.

    Attributes:
        builder: torchvision's name of the network.
        mirror: the address without the file name.
        download: the file's name and the start of its SHA-256.
        class_names: in label order.
    """

    builder: str
    mirror: str
    download: Download
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, builder: str) -> Published:
        """What torchvision says of the weights of one of its builders."""
        from torchvision.models import get_model_weights

        weights: Any = get_model_weights(builder)[VERSION]
        mirror, _, name = weights.url.rpartition("/")
        match = re.fullmatch(r".+-([0-9a-f]{8,64})\.pth", name)
        if match is None:
            raise AssertionError(f"{name} names no digest")
        download = Download(name, 0, f"sha256:{match[1]}")
        return cls(builder, f"{mirror}/", download, tuple(weights.meta["categories"]))


def preprocessing(
    builder: str, channels: int = 3, size_px: tuple[int, int] = (CROP_PX, CROP_PX)
) -> Preprocessing:
    """How torchvision prepares a picture for these weights: short side 256, centre 224, then mean and deviation.

    The centre is cut out and resized in one step. GoogLeNet's weights come from elsewhere and want mean and deviation
    0.5. One channel gets the means over the three.
    """
    mean, std = ((0.5,) * 3, (0.5,) * 3) if builder == "googlenet" else (MEAN, STD)
    return Preprocessing(
        size_px,
        channels,
        fit="crop",
        crop_share=CROP_PX / RESIZED_PX,
        mean=_for_channels(mean, channels),
        std=_for_channels(std, channels),
    )


def _for_channels(three: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (round(sum(three) / 3, 6),)
    return tuple(three[channel % 3] for channel in range(channels))


def file_of(published: Published, *, offline: bool, say: Say) -> Path:
    """The weights file, checked against its pinned digest: at hand, or downloaded into our cache.

    Raises:
        DataError: it is not at hand and cannot be fetched, or is damaged.
    """
    from convscope.data import held
    from convscope.data.download import download_files

    name, digest = published.download.name, published.download.hexdigest
    for folder in folders():
        if (folder / name).is_file():
            _require(folder / name, digest, held.file_digest(folder / name, "sha256"))
            return folder / name
    if offline:
        raise DataError(
            f"the weights file {name} is not at hand, and --offline fetches nothing",
            f"it in one of {', '.join(map(str, folders()))}",
            f"Leave --offline out, or put {published.mirror}{name} there",
        )
    download_files(name, (published.mirror,), (published.download,), cache(), say)
    return cache() / name


def _require(path: Path, digest: str, received: str) -> None:
    if not received.startswith(digest):
        raise DataError(
            f"{path} is damaged, or not the file of that name: its SHA-256 is {received}",
            f"one that starts with {digest}",
            "Move it away and run again to get a fresh one",
        )


def cache() -> Path:
    """Where downloads and their safetensors copies go."""
    import platformdirs

    return platformdirs.user_cache_path("convscope", appauthor=False) / "weights"


def folders() -> list[Path]:
    """Where a weights file may lie: the data folder's weights/, our cache, torch's own cache."""
    from convscope.data.held import data_root

    root = data_root(None)
    torch_home = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch")
    return [*([root / "weights"] if root else []), cache(), torch_home / "hub" / "checkpoints"]
