"""How pictures are read: what the user asks for, and what follows from the pictures where nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.data import pictures
from convscope.data.arrays import size_pair
from convscope.data.preprocessing import Fit, Preprocessing
from convscope.errors import DataError

PHOTO_SIZE_PX = 64
"""The side photos are brought to when nobody says; pictures of one size up to this keep it."""

MOST_UNREADABLE = 0.5
"""The share of picture files that cannot be read above which data are refused, where nobody says another."""


@dataclass(frozen=True)
class Reader:
    """How pictures are read.

    Args:
        size_px: side or (height, width); None keeps one common size up to 64, else takes 64.
        channels: 1 or 3; None takes 1 if every picture is gray.
        salvage: read what damaged files still hold, instead of skipping them.
        most_unreadable: a larger share of pictures that cannot be read is refused, in [0, 1].
        fit: "squash", "crop" or "pad"; None squashes.
        like: a model's, whose size, channels, fit and filter are taken where those above are None.

    Raises:
        DataError: `most_unreadable` is no such share.
    """

    size_px: int | tuple[int, int] | None = None
    channels: int | None = None
    salvage: bool = False
    most_unreadable: float = MOST_UNREADABLE
    fit: Fit | None = None
    like: Preprocessing | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.most_unreadable <= 1:
            raise DataError(
                f"a share of {self.most_unreadable} unreadable pictures", "a number from 0 to 1", "Try 0.5"
            )

    def preprocessing(self, headers: Sequence[pictures.Header]) -> Preprocessing:
        """Size, channels and fit from the user, else from a model, else size and channels from the pictures."""
        like, channels = self.like, self.channels
        if channels is None and like:
            channels = like.channels
        if channels not in (None, 1, 3):
            raise DataError(f"channels {channels}", "1 (gray) or 3 (RGB) for pictures")
        if channels is None:
            channels = 1 if all(header.is_gray for header in headers) else 3
        own = like.size_px if like else _common_size(headers)
        wanted = Preprocessing(own if self.size_px is None else size_pair(self.size_px), channels)
        return wanted.fitted(self.fit, like)


def _common_size(headers: Sequence[pictures.Header]) -> tuple[int, int]:
    sizes = {header.size for header in headers}
    width, height = next(iter(sizes))
    is_kept = len(sizes) == 1 and max(width, height) <= PHOTO_SIZE_PX
    return (height, width) if is_kept else (PHOTO_SIZE_PX, PHOTO_SIZE_PX)
