"""What `config.json` holds: all that is needed to make the same run again, and to tell it from another."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope import __version__
from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.engine.plan import Plan
from convscope.errors import RunError
from convscope.model_file import canonical_json
from convscope.net import Net
from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION
from convscope.training.recipe import Recipe

FORMAT_VERSION = 1


@dataclass(frozen=True)
class DataSource:
    """Where the data came from and what they were.

    `source` is what `load_data` takes, or None for data handed over from Python, which cannot be found again.
    """

    name: str
    source: str | None
    digest: str
    classes: int
    size_px: tuple[int, int] | None = None
    data_dir: str | None = None
    salvage: bool = False
    most_unreadable: float = MOST_UNREADABLE
    fit: Fit | None = None

    def on_card(self) -> dict[str, Any]:
        """What a model's card says of its data."""
        salvaged = {"salvage": True} if self.salvage else {}
        return {"name": self.name, "digest": self.digest, **salvaged}

    def to_json(self) -> dict[str, Any]:
        size = list(self.size_px) if self.size_px else None
        younger = {  # than the first files, which do not have them
            "salvage": (self.salvage, False),
            "most_unreadable": (self.most_unreadable, MOST_UNREADABLE),
            "fit": (self.fit, None),
        }
        return {
            "name": self.name,
            "source": self.source,
            "digest": self.digest,
            "classes": self.classes,
            "size_px": size,
            "data_dir": self.data_dir,
            **{name: value for name, (value, default) in younger.items() if value != default},
        }


@dataclass(frozen=True)
class Configuration:
    """One run, repeatable: data, network, recipe, seed, machine plan and versions; `weights` names published weights
    that it starts from, if any."""

    data: DataSource
    net: Net
    net_label: str
    recipe: Recipe
    seed: int
    plan: Plan
    versions: dict[str, str]
    weights: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of `config.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "data": self.data.to_json(),
            "net": {"label": self.net_label, "text": str(self.net), "format_version": NET_FORMAT_VERSION},
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "plan": self.plan.to_json(),
            "versions": self.versions,
            **({"weights": self.weights} if self.weights else {}),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any], where: Path) -> Configuration:
        """What `to_json` wrote.

        Raises:
            RunError: it is from a newer Convscope, or damaged.
        """
        version = document.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise RunError(
                f"{where} has format version {version}",
                f"at most {FORMAT_VERSION}",
                "Update with: pip install --upgrade convscope",
            )
        try:
            return cls._read(document)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            why = "; ".join(line.strip() for line in str(error).splitlines()).replace(":; ", ": ")
            raise RunError(
                f"{where} cannot be used: {why}",
                "the file that convscope train wrote",
                "Start again with --overwrite or another --out",
            ) from error

    @classmethod
    def _read(cls, document: dict[str, Any]) -> Configuration:
        data = dict(document["data"])
        size = data.pop("size_px")
        return cls(
            data=DataSource(**data, size_px=(size[0], size[1]) if size else None),
            net=Net.parse(document["net"]["text"]),
            net_label=str(document["net"]["label"]),
            recipe=Recipe.from_json(document["recipe"]),
            seed=int(document["seed"]),
            plan=Plan.from_json(document["plan"]),
            versions=dict(document["versions"]),
            weights=document.get("weights"),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the whole configuration; a checkpoint names the one it belongs to."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()


def versions() -> dict[str, str]:
    """The versions that the bits of a result depend on."""
    return {
        "convscope": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
