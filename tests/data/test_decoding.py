"""Many pictures decoded alike have the pixels, the headers and the reasons of single ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data import Preprocessing, decoding, pictures
from convscope.data.array_types import Bytes
from convscope.data.decoding import Decoder
from convscope.data.files import Copy
from convscope.data.picture_kernels import PictureKernels
from convscope.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Eight JPEGs of one size, a PNG, half a JPEG, and text that is called a picture."""
    random = np.random.default_rng(0)
    made = []
    for number in range(8):
        made.append(tmp_path / f"{number}.jpg")
        Image.fromarray(random.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(made[-1])
    Image.fromarray(random.integers(0, 256, (50, 60), dtype=np.uint8)).save(tmp_path / "gray.png")
    (tmp_path / "half.jpg").write_bytes(made[0].read_bytes()[:1500])
    (tmp_path / "text.jpg").write_text("no picture")
    return [*made, *(tmp_path / name for name in ("gray.png", "half.jpg", "text.jpg"))]


def outcome(decode: Callable[[Path], Bytes], file: Path) -> object:
    try:
        return decode(file).tolist()
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        return pictures.reason(error, file)


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("with_kernels", [False, True])
def test_pixels_and_reasons_are_those_of_single_pictures(
    files: list[Path], salvage: bool, with_kernels: bool
) -> None:
    preprocessing = Preprocessing((32, 40), 3)
    kernels = PictureKernels() if with_kernels else None
    if kernels:
        kernels.wait()
    decode = Decoder(preprocessing, salvage=salvage, kernels=kernels)
    with pictures.refusing_bombs():
        for file in files:
            expected = outcome(lambda path: pictures.decode(path, preprocessing, salvage=salvage), file)
            assert outcome(decode, file) == expected


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="a named pipe, no file"):
        Decoder(Preprocessing((8, 8), 3))(tmp_path / "pipe.jpg")


def test_large_files_are_not_copied(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "COPIED_BYTES", 1000)
    monkeypatch.setattr(Copy, "of", lambda *_: pytest.fail("copied"))
    preprocessing, headers = Preprocessing((32, 40), 3), list[pictures.Header]()
    pixels = Decoder(preprocessing)(files[0], headers.append)
    np.testing.assert_array_equal(pixels, pictures.decode(files[0], preprocessing))
    assert headers == [pictures.header(files[0])]
