"""Pictures for the page: what a network will see, every way to fit the odd ones, and small copies."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import numpy as np
from PIL import Image, ImageOps

from convscope.data.array_types import Bytes
from convscope.data.colours import in_mode
from convscope.data.preprocessing import Fit, Preprocessing

if TYPE_CHECKING:
    from convscope.data.checking.report import DataReport

MOST_TILES = 240
MOST_TILES_A_CLASS = 10
TILE_PX = 96
SEEN_PX = 128


def seen_by_class(report: DataReport) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """For each class, some pictures spread over it: position and data URL of what a network will see."""
    positions = defaultdict(list)
    for position in np.flatnonzero(report.glances["is_read"]).tolist():
        positions[report.source.items[position].class_name].append(position)
    names = [name for name in report.source.class_names if positions[name]]
    each = max(1, min(MOST_TILES_A_CLASS, MOST_TILES // max(1, len(names))))
    for name in names[:MOST_TILES]:
        chosen = [positions[name][k * len(positions[name]) // each] for k in range(each)]
        tiles = [(k, seen(report, k, report.preprocessing)) for k in dict.fromkeys(chosen)]
        yield name, [(k, url) for k, url in tiles if url]


def every_fit(report: DataReport, position: int) -> Iterator[tuple[str, str]]:
    """A picture as it is, and by each choice of `fit`: name and data URL."""
    yield "as it is", small_copy(report, position)
    for fit in get_args(Fit):
        yield fit, seen(report, position, dataclasses.replace(report.preprocessing, fit=fit))


def seen(report: DataReport, position: int, preprocessing: Preprocessing) -> str:
    """Exactly the pixels that a network gets, enlarged by whole numbers, as a data URL; empty if unreadable."""
    try:
        pixels = report.pixels(position, preprocessing)
    except Exception:  # the file has changed since it was looked at
        return ""
    picture = _as_picture(pixels)
    times = max(1, SEEN_PX // max(picture.size))
    return _url(picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST))


def small_copy(report: DataReport, position: int) -> str:
    """The whole picture, upright, at most 96 pixels wide or high, as a data URL; empty if unreadable."""
    try:
        with report.source.opened(position, longer_px=TILE_PX, salvage=report.is_salvaged) as (_, picture):
            return _url(ImageOps.contain(in_mode(picture, "RGB"), (TILE_PX, TILE_PX)), "JPEG")
    except Exception:  # the file has changed since it was looked at
        return ""


def _as_picture(pixels: Bytes) -> Image.Image:
    """(C, H, W) as a picture."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())


def _url(picture: Image.Image, file_format: str = "PNG") -> str:
    stream = io.BytesIO()
    picture.save(stream, file_format)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
