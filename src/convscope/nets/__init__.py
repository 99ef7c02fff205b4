"""The networks that come with the package: one family a file, each network an `Entry` with what a table says of it.

A family file ends in `ENTRIES`; adding a network is adding an entry. Names with numbers in them, such as mlp-3x256,
are made by their family's `from_name`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from convscope.errors import NetTextError, did_you_mean
from convscope.net import Net
from convscope.nets import (
    alexnet,
    chapter,
    cifar_resnet,
    efficientnet,
    googlenet,
    lecture,
    lenet,
    linear,
    mlp,
    resnet,
    speed,
    vgg,
    zfnet,
)
from convscope.nets._entry import Entry

FAMILIES = (
    lecture,
    linear,
    mlp,
    chapter,
    lenet,
    alexnet,
    zfnet,
    vgg,
    googlenet,
    resnet,
    cifar_resnet,
    efficientnet,
    speed,
)
NET_FILE_MAX_BYTES = 1_000_000

__all__ = ["Entry", "get", "names", "resolve"]


@cache
def _entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in (entry for family in FAMILIES for entry in family.ENTRIES):
        if entry.name in found:
            raise AssertionError(f"two networks are named {entry.name}")
        found[entry.name] = entry
    return found


def names() -> list[str]:
    """Every network's name, family by family."""
    return list(_entries())


def get(name: str) -> Entry:
    """The network of this name. Raises NetTextError with a suggestion and the list when there is none.

    >>> get("lecture").net.infer((1, 28, 28)).parameters
    1199882
    """
    entry = _entries().get(name) or mlp.from_name(name)
    if entry is None:
        raise NetTextError(
            f"unknown net {name[:80]!r}",
            "a name that convscope nets lists, a .net file, or layers such as 'flatten, dense(classes)'",
            did_you_mean(name, names()),
        )
    return entry


def resolve(source: str | Path | Net) -> tuple[str, Net]:
    """A label and the net that a name, a `.net` file, a text or a Net stands for. Raises NetTextError."""
    if isinstance(source, Net):
        return "custom", source
    if not isinstance(source, str | Path):
        raise NetTextError(
            f"a net of type {type(source).__name__}", "a name, a .net file, text or a Net", "Try 'lecture'"
        )
    if isinstance(source, Path) or source.endswith(".net"):
        return Path(source).stem, Net.parse(_file_text(Path(source)))
    if any(mark in source for mark in "(,\n"):
        return "custom", Net.parse(source)
    return source, get(source).net


def _file_text(path: Path) -> str:
    try:
        if path.stat().st_size > NET_FILE_MAX_BYTES:
            raise NetTextError(
                f"{path} holds {path.stat().st_size:,} bytes", f"at most {NET_FILE_MAX_BYTES:,}"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise NetTextError(
            f"the net file {path} cannot be read: {reason}", "a text file with a net in it"
        ) from None
