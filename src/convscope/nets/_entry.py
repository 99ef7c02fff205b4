"""What the zoo knows of one network beside its layers."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.net import Net


@dataclass(frozen=True)
class Entry:
    """One network: its description, the input (C, H, W) and classes it was published for, and where it comes from."""

    name: str
    family: str
    net: Net
    input_shape: tuple[int, int, int]
    classes: int
    year: int | None
    description: str
