"""Augmentation: training images moved, mirrored and partly covered, all images of a batch at once, on the device.

What happens to an image is a pure function of the seed, the epoch and the image's number in the training split: the
same after a resume, in batches of any size, and on one process or many. It works on the uint8 pixels, before they are
scaled; what mixes two images, and so their labels, belongs behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from convscope.engine.random import Draw
from convscope.training.settings import Problem, Setting, one_of, refuse, whole

if TYPE_CHECKING:
    from convscope.data.preprocessing import Preprocessing

FLIPS = ("random", "alternating")
MOST_PX = 8192


@dataclass(frozen=True)
class Augmentation(Setting):
    """What happens to a training image, in this order; the defaults do nothing.

    Attributes:
        flip: left and right swapped. "random": with probability one half, each time anew. "alternating": so in the
            first epoch, and from then on mirrored every other epoch, so that no image is seen the same way round in two
            epochs running. None: never.
        crop_px: moved by up to so many pixels, rows and columns each by a whole number drawn evenly; what comes in from
            outside is the image mirrored at its border.
        cutout_px: the side of a square, anywhere within the image, that gets the mean colour that the preprocessing
            takes off; black where it takes none off.

    Source of "alternating": K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024; of the square:
    DeVries & Taylor 2017.

    >>> Augmentation(flip="alternating", crop_px=2).to_json()
    {'kind': 'standard', 'flip': 'alternating', 'crop_px': 2, 'cutout_px': 0}
    """

    flip: str | None = None
    crop_px: int = 0
    cutout_px: int = 0
    kind: ClassVar[str] = "standard"

    def problems(self) -> list[Problem]:
        flip = one_of("flip", self.flip, FLIPS) if self.flip is not None else []
        moved = whole("crop_px", self.crop_px, least=0, most=MOST_PX)
        return flip + moved + whole("cutout_px", self.cutout_px, least=0, most=MOST_PX)

    def require_fits(self, input_shape: tuple[int, int, int]) -> None:
        """Refuse images (C, H, W) that are too small for it.

        Raises:
            RecipeError: a border cannot be mirrored so far, or the square is larger than the image.
        """
        side = min(input_shape[1:])
        size = f"images of {input_shape[1]}×{input_shape[2]} px"
        found = []
        if self.crop_px >= side:
            found.append(Problem(f"crop_px {self.crop_px} with {size}", f"at most {side - 1}"))
        if self.cutout_px > side:
            found.append(Problem(f"cutout_px {self.cutout_px} with {size}", f"at most {side}"))
        refuse(found)


class Augmenter:
    """An augmentation at work in one run; without one it hands the images on.

    >>> images = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4)
    >>> mirror = Augmenter(Augmentation(flip="alternating"), seed=0)
    >>> [mirror(images, epoch, torch.tensor([7])).flatten().tolist() for epoch in (0, 1, 2)]
    [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    """

    def __init__(
        self, setting: Augmentation | None, seed: int, preprocessing: Preprocessing | None = None
    ) -> None:
        self.setting, self.seed = setting, seed
        mean = preprocessing.mean if preprocessing else (0.0,)
        self.mean_colour = [round(min(max(255 * part, 0), 255)) for part in mean]

    def __call__(self, images: Tensor, epoch: int, index: Tensor) -> Tensor:
        """The images of a batch as `epoch` (counted from 0) sees them.

        Args:
            images: uint8 (B, C, H, W), on any device.
            epoch: counted from 0.
            index: (B,), int64, each image's number in the training split.

        Returns:
            uint8 (B, C, H, W) on the same device.
        """
        if self.setting is None:
            return images
        if self.setting.flip or self.setting.crop_px:
            images = _taken(images, *self._sources(images, epoch, index))
        return self._covered(images, epoch, index) if self.setting.cutout_px else images

    def _sources(self, images: Tensor, epoch: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which row (B, H) and which column (B, W) of its image each row and column of the result is."""
        assert self.setting is not None
        height, width, most = *images.shape[2:], self.setting.crop_px
        moves = self._below(2 * most + 1, "crop", epoch, index, images) - most  # (B, 2), rows and columns
        rows = torch.arange(height, device=images.device) + moves[:, :1]
        columns = _mirrored_inside(torch.arange(width, device=images.device) + moves[:, 1:], width)
        flipped = self._flipped(epoch, index, images)[:, None]  # (B, 1)
        return _mirrored_inside(rows, height), torch.where(flipped, width - 1 - columns, columns)

    def _flipped(self, epoch: int, index: Tensor, images: Tensor) -> Tensor:
        """Which images are mirrored, (B,), bool."""
        assert self.setting is not None
        if self.setting.flip is None:
            return index.new_zeros(len(index), dtype=torch.bool, device=images.device)
        if self.setting.flip == "random":
            return self._below(2, "flip", epoch, index, images)[:, 0] == 1
        return self._below(2, "flip", 0, index, images)[:, 0] != epoch % 2

    def _covered(self, images: Tensor, epoch: int, index: Tensor) -> Tensor:
        """A square of each image in the mean colour."""
        assert self.setting is not None
        side, (height, width) = self.setting.cutout_px, images.shape[2:]
        top = self._below(height - side + 1, "cutout", epoch, index, images)[:, :1]  # (B, 1)
        left = self._below(width - side + 1, "cutout", epoch, index, images)[:, 1:]
        rows = torch.arange(height, device=images.device) - top  # (B, H), counted from the square's top
        columns = torch.arange(width, device=images.device) - left
        in_rows, in_columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
        inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]  # (B, 1, H, W)
        colour = torch.tensor(self.mean_colour, dtype=torch.uint8, device=images.device)
        return torch.where(inside, colour[:, None, None], images)

    def _below(self, limit: int, what: str, epoch: int, index: Tensor, images: Tensor) -> Tensor:
        """Two whole numbers for each image, even over 0 … limit − 1, (B, 2), int64."""
        bits = Draw(self.seed, epoch, index).bits(f"augmentation: {what}", 2, images.device)
        return (bits.long() & 0x7FFFFFFF) % limit


def _mirrored_inside(place: Tensor, size: int) -> Tensor:
    """Places outside 0 … size − 1 mirrored at the border, which stands once."""
    place = place.abs()
    return torch.where(place < size, place, 2 * (size - 1) - place)


def _taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """image[:, rows[b]][:, :, columns[b]] for each image b: whole rows first, which is copying of memory."""
    count, maps, height, width = images.shape
    plane = torch.arange(count * maps, device=images.device).view(count, maps, 1) * height
    lines = images.reshape(-1, width).index_select(0, (plane + rows[:, None]).view(-1))
    return lines.view(images.shape).gather(3, columns[:, None, None].expand(images.shape))
