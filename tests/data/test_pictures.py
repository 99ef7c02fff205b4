"""read_image: good and broken files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data import Preprocessing, read_image
from convscope.errors import DataError

FULL = Preprocessing((256, 341), 3)
SMALL = Preprocessing((32, 32), 3)

READABLE = [
    "UPPERCASE.JPG",
    "all_black.png",
    "all_white.jpg",
    "animated.gif",
    "animated.webp",
    "animated_apng.png",
    "bilevel.png",
    "exif_garbage.jpg",
    "gray_alpha.png",
    "grayscale.jpg",
    "grayscale.png",
    "jpeg_named_png.png",
    "jpeg_trailing_garbage.jpg",
    "no_extension",
    "one_by_one.jpg",
    "one_pixel_high.png",
    "photo.bmp",
    "photo.webp",
    "png_named_jpg.jpg",
    "progressive.jpg",
    "rgb16.png",
    "rgba.png",
]

REASONS = {
    "zero_bytes.jpg": "the file is empty",
    "zero_bytes.png": "the file is empty",
    "header_only.jpg": "damaged: it begins like a JPEG",
    "random_bytes.jpg": "not a picture",
    "text_renamed.jpg": "not a picture",
    "Thumbs.db": "not a picture",
    "truncated.png": "damaged",
    "truncated_half.jpg": "damaged: the file ends before the picture does",
    "bad_crc.png": "damaged",
    "bomb_144Mpx_1bit.png": "larger than 89,478,485 pixels",
    "missing.jpg": "the file does not exist",
    ".": "it is a folder",
}


@pytest.mark.parametrize("name", READABLE)
def test_unusual_pictures_are_read(bad_inputs: Path, name: str) -> None:
    assert read_image(bad_inputs / name, SMALL).shape == (3, 32, 32)
    assert read_image(str(bad_inputs / name), Preprocessing((32, 32), 1)).shape == (1, 32, 32)


@pytest.mark.parametrize("name", REASONS)
def test_broken_pictures_get_their_reason(bad_inputs: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_image(bad_inputs / name, SMALL)
    assert f"cannot read {bad_inputs / name}: {REASONS[name]}" in str(caught.value)


def test_a_bomb_takes_no_memory(bad_inputs: Path) -> None:
    tracemalloc.start()
    with pytest.raises(DataError):
        read_image(bad_inputs / "bomb_144Mpx_1bit.png", SMALL)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["exif_orientation_3.jpg", "exif_orientation_6.jpg"])
def test_orientation_is_undone(bad_inputs: Path, name: str) -> None:
    upright = read_image(bad_inputs / "UPPERCASE.JPG", FULL).astype(int)
    turned = read_image(bad_inputs / name, FULL).astype(int)
    assert np.abs(upright - turned).mean() < 3  # they were compressed again
    assert np.abs(upright - turned[:, ::-1, ::-1]).mean() > 10


def test_large_jpegs_decoded_small_look_the_same(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024)
    waves = 127 + 60 * np.sin(ramp / 9)[:, None] + 60 * np.cos(ramp / 5)[None]
    Image.fromarray(waves.astype(np.uint8)).convert("RGB").save(tmp_path / "large.jpg", quality=95)
    small = read_image(tmp_path / "large.jpg", SMALL).astype(int)
    with Image.open(tmp_path / "large.jpg") as picture:
        assert np.abs(small - SMALL.pixels(picture)).max() <= 3


def test_programs_in_pictures_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(DataError, match="not a picture"):
        read_image(tmp_path / "drawing.jpg", SMALL)
