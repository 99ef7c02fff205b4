"""Augmentation: training images moved, mirrored, turned, recoloured, partly covered and mixed, a batch at once.

What happens to an image is a pure function of the seed, the epoch and the turn's number (see `turns`): the same after a
resume, in batches of any size, and on one process or many. It works on the uint8 pixels, on the device, before they are
scaled:

    one sampling of places (flip, crop, zoom, rotate, TrivialAugment) → light (colour, TrivialAugment)
    → covered (cutout, erase) → mixed with a partner (`mixing`)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from convscope.training.chance import Chance
from convscope.training.colouring import coloured
from convscope.training.settings import (
    AT_LEAST_ZERO,
    UP_TO_ONE,
    Problem,
    Setting,
    number,
    one_of,
    refuse,
    whole,
)
from convscope.training.trivial import Trivial
from convscope.training.warping import Warp, mirrored_inside, taken, warped, zoomed

if TYPE_CHECKING:
    from convscope.data.preprocessing import Preprocessing

UP_TO_HALF_A_TURN = (lambda value: 0 <= value <= 180, "a number from 0 to 180")
SOME_AREA = (lambda value: 0.01 <= value <= 1, "a number from 0.01 to 1")
FLIPS = ("random", "alternating")
MOST_PX = 8192
ERASED = (0.02, 1 / 3)
"""The share of the image that is erased, least and most."""
STRETCH = math.log(4 / 3)
"""How far, as a logarithm, a zoomed part's shape may be from the image's; an erased box's twice as far from square."""


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
        rotate_deg: turned by up to so many degrees, either way.
        area: a part of at least this share of the image's area, and of a shape up to 4/3 wider or higher than it,
            brought to the full size; 1 keeps the whole.
        colour: brightness, contrast and saturation, each by a factor of up to this much more or less than 1.
        erase: the probability that a box of 2 % to a third of the image gets the mean colour.
        trivial: one more change, of 14, of any strength; see `trivial`.
        mixup: α of the shares by which two images are blended, Beta(α, α); 0 blends none.
        cutmix: likewise, of the area that is pasted over; with both, half of the images one way, half the other.

    Source of "alternating": K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024; of the square:
    DeVries & Taylor 2017; of the erased box: Zhong et al. 2017.

    >>> Augmentation(flip="alternating", crop_px=2).to_json()
    {'kind': 'standard', 'flip': 'alternating', 'crop_px': 2, 'cutout_px': 0}
    """

    flip: str | None = None
    crop_px: int = 0
    cutout_px: int = 0
    rotate_deg: float = 0.0
    area: float = 1.0
    colour: float = 0.0
    erase: float = 0.0
    trivial: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    kind: ClassVar[str] = "standard"
    added: ClassVar[tuple[str, ...]] = (
        "rotate_deg",
        "area",
        "colour",
        "erase",
        "trivial",
        "mixup",
        "cutmix",
    )

    def problems(self) -> list[Problem]:
        found = one_of("flip", self.flip, FLIPS) if self.flip is not None else []
        found += whole("crop_px", self.crop_px, least=0, most=MOST_PX)
        found += whole("cutout_px", self.cutout_px, least=0, most=MOST_PX)
        found += number("rotate_deg", self.rotate_deg, UP_TO_HALF_A_TURN)
        found += number("area", self.area, SOME_AREA)
        found += number("colour", self.colour, UP_TO_ONE) + number("erase", self.erase, UP_TO_ONE)
        found += number("mixup", self.mixup, AT_LEAST_ZERO) + number("cutmix", self.cutmix, AT_LEAST_ZERO)
        trivial: object = self.trivial
        if not isinstance(trivial, bool):
            found.append(Problem(f"trivial {trivial!r}", "true or false"))
        return found

    @property
    def is_sampled(self) -> bool:
        """Whether the pixels of every image come from between pixels."""
        return self.rotate_deg > 0 or self.area < 1

    @property
    def is_mixed(self) -> bool:
        """Whether images and labels are mixed."""
        return self.mixup > 0 or self.cutmix > 0

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

    def __call__(self, images: Tensor, epoch: int, number: Tensor) -> Tensor:
        """The images of a batch as `epoch` (counted from 0) sees them.

        Args:
            images: uint8 (B, C, H, W), on any device.
            epoch: counted from 0.
            number: (B,), int64, each turn's number: that of its image in the training split (see `turns`).

        Returns:
            uint8 (B, C, H, W) on the same device.
        """
        setting = self.setting
        if setting is None:
            return images
        chance = Chance(self.seed, epoch, number, images.device)
        trivial = Trivial.drawn(chance) if setting.trivial else None
        images = self._moved(images, chance, trivial)
        if setting.colour:
            images = self._coloured(images, chance, setting.colour)
        if trivial:
            images = trivial.on_pixels(images)
        if setting.cutout_px:
            images = self._covered(images, chance, setting.cutout_px)
        return self._erased(images, chance, setting.erase) if setting.erase else images

    # ---- places -----------------------------------------------------------------------------------------------------

    def _moved(self, images: Tensor, chance: Chance, trivial: Trivial | None) -> Tensor:
        """Copied where each pixel of the result is one of the image; elsewhere sampled, which is ten times as slow."""
        assert self.setting is not None
        if self.setting.is_sampled:
            return warped(images, self._warp(images, chance, trivial))
        copied = images
        if self.setting.flip or self.setting.crop_px:
            copied = taken(images, *self._sources(images, chance))
        if trivial is None:
            return copied
        which = torch.nonzero(trivial.is_moved)[:, 0]
        sampled = warped(images[which], self._warp(images, chance, trivial)[which])
        return copied.index_copy(0, which, sampled)

    def _sources(self, images: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Which row (B, H) and which column (B, W) of its image each row and column of the result is."""
        height, width = images.shape[2:]
        moves = self._moves(chance)  # (B, 2), rows and columns
        rows = torch.arange(height, device=images.device) + moves[:, :1]
        columns = mirrored_inside(torch.arange(width, device=images.device) + moves[:, 1:], width)
        flipped = self._flipped(chance)[:, None]  # (B, 1)
        return mirrored_inside(rows, height), torch.where(flipped, width - 1 - columns, columns)

    def _warp(self, images: Tensor, chance: Chance, trivial: Trivial | None) -> Warp:
        """All of flip, crop, rotation, zoom and TrivialAugment as one warp."""
        assert self.setting is not None
        height, width = images.shape[2:]
        moves = self._moves(chance).float()
        warp = Warp.of(moves[:, 0], y0=moves[:, 0], x0=moves[:, 1])
        if self.setting.area < 1:
            area = 1 - chance.share("area")[:, 0] * (1 - self.setting.area)
            stretch = torch.exp(chance.around(STRETCH, "area shape")[:, 0])
            warp = zoomed(area, stretch, chance.share("area place"), height, width) @ warp
        if self.setting.rotate_deg:
            warp = Warp.turned(chance.around(math.radians(self.setting.rotate_deg), "rotate")[:, 0]) @ warp
        if trivial:
            warp = trivial.warp(height, width) @ warp
        mirror = 1 - 2 * self._flipped(chance).float()
        return Warp.of(mirror, xx=mirror) @ warp

    def _moves(self, chance: Chance) -> Tensor:
        """By how many whole pixels each image is moved, rows and columns, (B, 2), int64."""
        assert self.setting is not None
        return chance.below(2 * self.setting.crop_px + 1, "crop") - self.setting.crop_px

    def _flipped(self, chance: Chance) -> Tensor:
        """Which images are mirrored, (B,), bool."""
        assert self.setting is not None
        if self.setting.flip is None:
            return torch.zeros(len(chance.number), dtype=torch.bool, device=chance.device)
        if self.setting.flip == "random":
            return chance.below(2, "flip")[:, 0] == 1
        return replace(chance, epoch=0).below(2, "flip")[:, 0] != chance.epoch % 2

    # ---- pixels -----------------------------------------------------------------------------------------------------

    def _coloured(self, images: Tensor, chance: Chance, most: float) -> Tensor:
        bright, contrast, saturation = (1 + chance.around(most, "colour", 3)).unbind(1)
        return coloured(images, bright, contrast, saturation)

    def _covered(self, images: Tensor, chance: Chance, side: int) -> Tensor:
        """A square of each image in the mean colour."""
        height, width = images.shape[2:]
        top = chance.below(height - side + 1, "cutout")[:, :1]  # (B, 1)
        left = chance.below(width - side + 1, "cutout")[:, 1:]
        sides = torch.full_like(top, side)
        return self._boxed(images, top, left, sides, sides)

    def _erased(self, images: Tensor, chance: Chance, probability: float) -> Tensor:
        """A box of some images in the mean colour."""
        height, width = images.shape[2:]
        drawn = chance.share("erase", 5)  # whether, how large, what shape, and where
        least, most = ERASED
        area = (least + drawn[:, 1:2] * (most - least)) * height * width
        shape = torch.exp((2 * drawn[:, 2:3] - 1) * 2 * STRETCH)
        high = torch.sqrt(area / shape).round().long().clamp(1, height)
        wide = torch.sqrt(area * shape).round().long().clamp(1, width)
        high = torch.where(drawn[:, :1] < probability, high, 0)
        top = (drawn[:, 3:4] * (height - high + 1)).long()
        left = (drawn[:, 4:] * (width - wide + 1)).long()
        return self._boxed(images, top, left, high, wide)

    def _boxed(self, images: Tensor, top: Tensor, left: Tensor, high: Tensor, wide: Tensor) -> Tensor:
        """A box of each image in the mean colour; its place and sides are (B, 1)."""
        rows = torch.arange(images.shape[2], device=images.device) - top  # (B, H), counted from the box's top
        columns = torch.arange(images.shape[3], device=images.device) - left
        in_rows, in_columns = (rows >= 0) & (rows < high), (columns >= 0) & (columns < wide)
        inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]  # (B, 1, H, W)
        colour = torch.tensor(self.mean_colour, dtype=torch.uint8, device=images.device)
        return torch.where(inside, colour[:, None, None], images)
