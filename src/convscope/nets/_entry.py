"""What the zoo knows of one network beside its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from convscope.net import Net

if TYPE_CHECKING:
    from convscope.nets.facts import Facts


@dataclass(frozen=True)
class Entry:
    """One network: its description, the input (C, H, W) and classes it was published for, and where it comes from.

    Args:
        name: what the user types.
        family: the file it stands in.
        make: makes the description, when it is first asked for.
        input_shape: (C, H, W) it was published for; it takes others too.
        classes: as many as it was published for.
        year: of the paper, or None.
        description: one line.
        torchvision: the builder in torchvision.models whose weights it can take, or None.
        package: the Python package that brings its weights, or None.
    """

    name: str
    family: str
    make: Callable[[], Net]
    input_shape: tuple[int, int, int]
    classes: int
    year: int | None
    description: str
    torchvision: str | None = None
    package: str | None = None

    @cached_property
    def net(self) -> Net:
        """The description; `classes` is not bound yet."""
        return self.make()

    @property
    def facts(self) -> Facts:
        """Published errors and accuracies, each with what the number is and where it stands."""
        from convscope.nets.facts import of

        return of(self.name)

    @cached_property
    def smallest_px(self) -> int | None:
        """The side in pixels of the smallest square picture it takes, in training and in evaluation."""
        return self.net.smallest_input(self.input_shape[0], self.classes)
