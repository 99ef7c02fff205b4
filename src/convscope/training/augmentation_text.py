"""Augmentation in words: what `--augment` takes, and how a run says what it does.

    none · light · photos                                 ready ones
    flip, crop=0.1, zoom=0.5, rotate=15, colour=0.3, cutout=0.25, erase=0.25, trivial, mixup=0.2, cutmix
                                                          any of these with commas between; a number after = is optional
    photos, mixup                                         a ready one and more

Lengths are shares of the image's shorter side, so that the same words fit every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from convscope.errors import did_you_mean
from convscope.training.augmentation import Augmentation
from convscope.training.settings import Problem, refuse

MOST_LETTERS = 500


@dataclass(frozen=True)
class _Word:
    """One thing that can happen: its number where none is given, least and most, and the settings it makes.

    `settings` gets the number and the image's shorter side in pixels.
    """

    usual: float
    least: float
    most: float
    settings: Callable[[float, int], dict[str, Any]]


WORDS = {
    "flip": _Word(1, 1, 1, lambda _, side: {"flip": "random"}),
    "crop": _Word(0.1, 0, 0.5, lambda share, side: {"crop_px": round(share * side)}),
    "zoom": _Word(0.5, 0.01, 1, lambda area, side: {"area": area}),
    "rotate": _Word(15, 0, 180, lambda degrees, side: {"rotate_deg": degrees}),
    "colour": _Word(0.3, 0, 1, lambda share, side: {"colour": share}),
    "cutout": _Word(0.25, 0, 1, lambda share, side: {"cutout_px": round(share * side)}),
    "erase": _Word(0.25, 0, 1, lambda share, side: {"erase": share}),
    "trivial": _Word(1, 1, 1, lambda _, side: {"trivial": True}),
    "mixup": _Word(0.2, 0, 100, lambda alpha, side: {"mixup": alpha}),
    "cutmix": _Word(1, 0, 100, lambda alpha, side: {"cutmix": alpha}),
}
READY = {
    "none": "",
    "light": "crop=0.06",
    "photos": "flip, crop",
}
EXPECTED = (
    f"{', '.join(READY)}, or some of {', '.join(WORDS)} with commas between, each with =NUMBER where wanted"
)


def augmentation_of(text: str, input_shape: tuple[int, int, int]) -> Augmentation | None:
    """The augmentation that these words mean for images (C, H, W); None for none.

    Raises:
        RecipeError: an unknown word, a number that is not possible, or something twice.

    >>> augmentation_of("flip, rotate=20", (3, 64, 64)).to_json()
    {'kind': 'standard', 'flip': 'random', 'crop_px': 0, 'cutout_px': 0, 'rotate_deg': 20.0}
    >>> augmentation_of("none", (3, 64, 64)) is None
    True
    """
    side = min(input_shape[1:])
    settings: dict[str, Any] = {}
    for word, value in _words(text):
        settings |= WORDS[word].settings(value, side)
    found = replace(Augmentation(), **settings)
    return None if found == Augmentation() else found


def require_words(text: str) -> None:
    """Refuse what `augmentation_of` would.

    Raises:
        RecipeError: likewise.
    """
    _words(text)


def described(augmentation: Augmentation | None) -> str:
    """What happens to the images, in a few words; empty where nothing does.

    >>> described(Augmentation(flip="random", area=0.5, mixup=0.2))
    'mirrored, zoomed to 50 % of the area or more, mixed (MixUp 0.2)'
    """
    if augmentation is None:
        return ""
    each = augmentation
    parts = {
        "mirrored": each.flip == "random",
        "mirrored every other epoch": each.flip == "alternating",
        f"moved by up to {each.crop_px} px": each.crop_px,
        f"zoomed to {100 * each.area:.0f} % of the area or more": each.area < 1,
        f"turned by up to {each.rotate_deg:g}°": each.rotate_deg,
        f"light changed by up to {100 * each.colour:.0f} %": each.colour,
        "one TrivialAugment change each": each.trivial,
        f"a square of {each.cutout_px} px covered": each.cutout_px,
        f"a box erased in {100 * each.erase:.0f} %": each.erase,
        f"mixed (MixUp {each.mixup:g})": each.mixup,
        f"mixed (CutMix {each.cutmix:g})": each.cutmix,
    }
    return ", ".join(words for words, happens in parts.items() if happens)


def _words(text: str) -> list[tuple[str, float]]:
    """Words and numbers, ready ones written out. Later ones stand for earlier ones of the same name."""
    if len(text) > MOST_LETTERS:
        refuse([Problem(f"augment text of {len(text):,} letters", f"at most {MOST_LETTERS}")])
    parts = [part.strip() for part in text.split(",")]
    found: list[tuple[str, float]] = []
    problems: list[Problem] = []
    for part in parts:
        word, is_given, number = (piece.strip() for piece in part.partition("="))
        if word in READY and not is_given:
            found += _words(READY[word]) if READY[word] else []
        elif word not in WORDS:
            fix = did_you_mean(word, [*READY, *WORDS])
            problems.append(Problem(f"augment {part!r}", EXPECTED, fix))
        else:
            value = _number(number) if is_given else WORDS[word].usual
            problems += _range_problems(word, number, value)
            found.append((word, value))
    names = [part.partition("=")[0].strip() for part in parts]
    if "none" in names and len(names) > 1:
        problems.append(Problem(f"augment {text!r}", "none alone, or other words without it"))
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(f"augment {text!r} with {name!r} twice", "each word once"))
    refuse(problems)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _range_problems(word: str, text: str, value: float) -> list[Problem]:
    limits = WORDS[word]
    if limits.least <= value <= limits.most:
        return []
    if limits.least == limits.most:
        return [Problem(f"augment {word}={text}", f"{word} without a number")]
    return [
        Problem(
            f"augment {word}={text}",
            f"a number from {limits.least:g} to {limits.most:g}",
            f"Try {word}={limits.usual:g}",
        )
    ]
