"""What was published about the networks: errors and accuracies, each with what the number is and where it stands.

The numbers are in `ilsvrc.json`, a data file: `chart` for the lecture's plot "network size and error rate in ILSVRC",
`nets` for the networks of the zoo, `sources` for what both cite. All numbers are fractions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("ilsvrc.json")


@dataclass(frozen=True)
class Published:
    """One number in [0, 1], what it was measured on and how, and the source in full."""

    value: float
    what: str
    source: str


@dataclass(frozen=True)
class Facts:
    """What is published of one network; None where nothing is.

    Attributes:
        top5_single, top5_ensemble: the paper's best top-5 error on ImageNet with one net and with several.
        torchvision_top1, torchvision_top5: accuracy of torchvision's published weights.
        package_top1: accuracy of the weights that a package brings.
        own_data, own_data_error: the data set other than ImageNet that the paper judges it on, and the error there.
    """

    top5_single: Published | None = None
    top5_ensemble: Published | None = None
    torchvision_top1: Published | None = None
    torchvision_top5: Published | None = None
    package_top1: Published | None = None
    own_data: str | None = None
    own_data_error: Published | None = None


@cache
def document() -> dict[str, Any]:
    """The data file as it stands."""
    parsed: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return parsed


def of(name: str) -> Facts:
    """What is published of the network of this name.

    >>> of("alexnet_2012").top5_ensemble.value
    0.16422
    """
    row = document()["nets"].get(name, {})
    return Facts(
        top5_single=_published(row.get("single"), "value"),
        top5_ensemble=_published(row.get("ensemble"), "value"),
        torchvision_top1=_published(row.get("torchvision"), "top1"),
        torchvision_top5=_published(row.get("torchvision"), "top5"),
        package_top1=_published(row.get("package"), "top1"),
        own_data=row.get("own_data", {}).get("data"),
        own_data_error=_published(row.get("own_data"), "value"),
    )


def _published(entry: dict[str, Any] | None, key: str) -> Published | None:
    if entry is None:
        return None
    return Published(entry[key], entry["is"], document()["sources"][entry["source"]])
