"""What transfer learning tells its listeners beside training's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convscope.training.events import Event


@dataclass(frozen=True)
class Progress(Event):
    """Something that moves on: `done` of `total`, in words for people."""

    text: str
    done: int
    total: int
    kind: ClassVar[str] = "progress"


@dataclass(frozen=True)
class FeaturesMade(Event):
    """The features of all images are there; `from_cache` of them were kept from before."""

    images: int
    from_cache: int
    features: int
    features_s: float
    kind: ClassVar[str] = "features_made"
    in_history: ClassVar[bool] = True


@dataclass(frozen=True)
class HeadFitted(Event):
    """The head is fitted. What was not measured is None; accuracies in [0, 1].

    `cross_validated_accuracy` is that of heads that had not seen the image, over the training images.
    """

    penalty: float
    features: str
    cross_validated_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    head_s: float
    kind: ClassVar[str] = "head_fitted"
    in_history: ClassVar[bool] = True
