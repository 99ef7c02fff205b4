"""Decoders of our own, straight from the formats' specifications, to hold against what Pillow gives."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def png_rgb(path: Path) -> Array:
    """A PNG file without interlacing as (H, W, 3) in [0, 255], on white. Source: PNG 1.2."""
    samples, depth, colour = _png_samples(path.read_bytes())
    values = samples * (255.0 / (2**depth - 1))
    alpha = values[..., -1:] / 255 if colour in (4, 6) else np.ones_like(values[..., :1])
    shades = values[..., :-1] if colour in (4, 6) else values
    return np.broadcast_to(shades * alpha + 255 * (1 - alpha), (*values.shape[:2], 3))


def _png_samples(content: bytes) -> tuple[Array, int, int]:
    position, packed = 8, b""
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kind, body = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
        if kind == b"IDAT":
            packed += body
        position += 12 + length
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row_bytes, step = -(-width * channels * depth // 8), max(1, channels * depth // 8)
    rows = _unfiltered(zlib.decompress(packed), height, row_bytes, step)
    if depth == 1:
        samples = np.unpackbits(rows, axis=1)[:, : width * channels]
    else:
        samples = rows.view(">u2") if depth == 16 else rows
    return samples.reshape(height, width, channels).astype(float), depth, colour


def _unfiltered(content: bytes, height: int, row_bytes: int, step: int) -> Array:
    rows = np.zeros((height + 1, row_bytes + step), dtype=int)  # a row and a pixel of zeros before the first
    raw = np.frombuffer(content, np.uint8).reshape(height, row_bytes + 1)
    for y in range(height):
        for x in range(row_bytes):
            left, up, corner = rows[y + 1, x], rows[y, x + step], rows[y, x]
            guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[raw[y, 0]]
            rows[y + 1, x + step] = (int(raw[y, x + 1]) + guess) % 256
    return np.ascontiguousarray(rows[1:, step:].astype(np.uint8))


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def bmp_rgb(path: Path) -> Array:
    """A BMP file of 24 bits without packing, (H, W, 3)."""
    content = path.read_bytes()
    (start,), (width, height) = struct.unpack("<I", content[10:14]), struct.unpack("<ii", content[18:26])
    assert struct.unpack("<HI", content[28:34]) == (24, 0)
    row_bytes = (3 * width + 3) // 4 * 4
    rows = np.frombuffer(content, np.uint8, row_bytes * height, start).reshape(height, row_bytes)
    return rows[::-1, : 3 * width].reshape(height, width, 3)[..., ::-1].astype(float)
