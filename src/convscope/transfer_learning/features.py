"""Features of pictures, computed once: each picture's are kept under the digest of its pixels.

    <user cache>/features/<backbone, size, scaling>/<part>.safetensors

A part holds the features of a few dozen pictures and is written as soon as it is full. So an interrupted pass goes on
where it stopped, added pictures cost only themselves, and any change to backbone or preparation starts a store of its
own. A damaged part is removed and its features are made again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from convscope.data.array_types import Bytes
from convscope.engine.plan import Plan
from convscope.engine.scoring import images_at_once, score, scoring_form
from convscope.errors import ModelFileError
from convscope.model_file import canonical_json, read_container, write_container

if TYPE_CHECKING:
    from torch import nn

    from convscope.data.preprocessing import Preprocessing

KIND, FORMAT_VERSION = "convscope features", 2
PART = 64
"""Pictures in a part: what an interruption can cost."""
Moved = Callable[[int, int, float], None]
"""Told how many pictures are done, of how many, and the seconds so far."""


def cache_folder() -> Path:
    """Where features are kept."""
    import platformdirs

    return platformdirs.user_cache_path("convscope", appauthor=False) / "features"


@dataclass
class Store:
    """The kept features of one backbone with one preparation.

    Args:
        folder: where the parts lie; made when the first is written.
    """

    folder: Path
    _known: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, backbone: str, preprocessing: Preprocessing, under: Path | None = None) -> Store:
        """The store of a backbone, by its digest, with one preparation."""
        identity = canonical_json(
            {"backbone": backbone, "preprocessing": preprocessing.to_json(), "format": FORMAT_VERSION}
        )
        return cls((under or cache_folder()) / hashlib.sha256(identity.encode()).hexdigest()[:24])

    def read(self) -> None:
        """Take in every part that is there."""
        for path in sorted(self.folder.glob("*.safetensors")) if self.folder.is_dir() else ():
            self._known.update(_part(path))

    def add(self, digests: Sequence[bytes], features: Tensor) -> None:
        """Keep features (n, D) of pictures with these digests, on disk too."""
        self._known.update(zip(digests, features, strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:24]
        keys = torch.from_numpy(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32).copy())
        tensors = {"digests": keys, "features": features}
        write_container(self.folder / f"{name}.safetensors", KIND, FORMAT_VERSION, {}, tensors)

    def get(self, digest: bytes) -> Tensor | None:
        """The features (D,) of a picture, or None."""
        return self._known.get(digest)


def _part(path: Path) -> dict[bytes, Tensor]:
    """The features in one part by digest; a damaged part is removed and holds nothing."""
    import safetensors
    import safetensors.torch

    try:
        read_container(path, KIND, FORMAT_VERSION)
        tensors = safetensors.torch.load_file(path)
        digests = [row.tobytes() for row in tensors["digests"].numpy()]
        return dict(zip(digests, tensors["features"], strict=True))
    except (ModelFileError, safetensors.SafetensorError, OSError, KeyError, ValueError):
        path.unlink(missing_ok=True)
        return {}


@dataclass(frozen=True, eq=False)
class Features:
    """Features (N, D), float32; how many were kept from before; the seconds it took."""

    values: Tensor
    from_cache: int
    seconds: float


def features_of(
    images: Bytes,
    made: Callable[[], nn.Module],
    preprocessing: Preprocessing,
    plan: Plan,
    store: Store,
    moved: Moved = lambda done, total, seconds: None,
) -> Features:
    """The features of uint8 images (N, C, H, W), from the store where it has them, else computed and kept.

    `made` makes the network that computes them; it is called where some are missing.

    Raises:
        KeyboardInterrupt: the caller's; every part that was finished is kept.
    """
    began_at = time.perf_counter()
    digests = [hashlib.sha256(image.data).digest() for image in map(np.ascontiguousarray, images)]
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    missing = [place for digest, place in first.items() if store.get(digest) is None]
    missing.sort()
    if missing:
        module = made()
        at_once = replace(plan, evaluation_batch=images_at_once(module, plan))
        with scoring_form(module, plan) as form:
            for done, part in _parts(missing):
                values = score(form, np.ascontiguousarray(images[part]), preprocessing, at_once)  # (n, D)
                store.add([digests[place] for place in part], values)
                moved(done, len(missing), time.perf_counter() - began_at)
    values = torch.stack([_present(store, digest) for digest in digests])
    return Features(values, len(images) - len(missing), time.perf_counter() - began_at)


def _present(store: Store, digest: bytes) -> Tensor:
    found = store.get(digest)
    assert found is not None, "every missing picture was computed"
    return found


def _parts(places: list[int]) -> Iterator[tuple[int, list[int]]]:
    """The places a part at a time, with how many are done after it."""
    for start in range(0, len(places), PART):
        part = places[start : start + PART]
        yield start + len(part), part
