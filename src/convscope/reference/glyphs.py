"""Fixed codes of ±1 for the `rbf` output: ten digits drawn 7 wide and 12 high, or codes from a fixed hash."""

from __future__ import annotations

import hashlib

WIDTH, HEIGHT = 7, 12

# Drawn for this project; a code needs only to be distinct and easy to recognise by eye.
_DIGITS = (
    "....... .#####. ##...## ##...## ##...## ##...## ##...## ##...## ##...## ##...## .#####. .......",
    "....... ...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .#####. .......",
    "....... .#####. ##...## .....## .....## ....##. ...##.. ..##... .##.... ##..... ####### .......",
    "....... .#####. ##...## .....## .....## ..####. .....## .....## .....## ##...## .#####. .......",
    "....... ....##. ...###. ..####. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##. .......",
    "....... ####### ##..... ##..... ##..... ######. .....## .....## .....## ##...## .#####. .......",
    "....... ..####. .##.... ##..... ##..... ######. ##...## ##...## ##...## ##...## .#####. .......",
    "....... ####### .....## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... ..##... .......",
    "....... .#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## .#####. .......",
    "....... .#####. ##...## ##...## ##...## ##...## .###### .....## .....## ....##. .####.. .......",
)


def class_codes(inputs: int, number_of_classes: int) -> list[list[int]]:
    """One distinct code of ±1 a class, (classes, inputs): digits where they fit, else bits of a hash."""
    if inputs == WIDTH * HEIGHT and number_of_classes <= len(_DIGITS):
        return [_drawn(digit) for digit in _DIGITS[:number_of_classes]]
    codes: list[list[int]] = []
    attempt = 0
    while len(codes) < number_of_classes:
        code = _hashed(inputs, attempt)
        attempt += 1
        if code not in codes:
            codes.append(code)
    return codes


def _drawn(digit: str) -> list[int]:
    return [1 if pixel == "#" else -1 for row in digit.split() for pixel in row[:WIDTH]]


def _hashed(inputs: int, attempt: int) -> list[int]:
    stream = hashlib.shake_256(f"convscope rbf code {attempt}".encode()).digest((inputs + 7) // 8)
    return [1 if stream[i // 8] >> (i % 8) & 1 else -1 for i in range(inputs)]


def class_drawings(inputs: int, number_of_classes: int) -> list[str]:
    """The same codes as text, # for +1 and . for −1."""
    codes = class_codes(inputs, number_of_classes)
    return ["".join("#" if bit > 0 else "." for bit in code) for code in codes]
