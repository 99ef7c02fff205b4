"""The C that stretches pictures gives Pillow's pixels, always; and nothing depends on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope.data import Preprocessing, load_data, picture_kernels, stretching
from convscope.data.picture_kernels import PictureKernels
from convscope.data.stretching import Stretcher, Stretching

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is here")


@pytest.fixture(scope="module")
def stretcher() -> Stretcher:
    picture_kernels.load.cache_clear()
    return Stretcher(built())


def built() -> PictureKernels:
    kernels = PictureKernels()
    kernels.wait()
    return kernels


def noise(height: int, width: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


sides = st.integers(1, 400)


@needs_compiler
@settings(deadline=None, max_examples=50)
@given(sides, sides, sides, sides)
def test_every_size_gives_pillows_pixels(
    stretcher: Stretcher, height: int, width: int, to_height: int, to_width: int
) -> None:
    plain = Preprocessing((to_height, to_width), 3)
    swift = Stretching.of(plain, stretcher)
    for seed in range(4):  # the first two are Pillow's own, then it has been learned
        picture = noise(height, width, seed)
        np.testing.assert_array_equal(swift.pixels(picture), plain.pixels(picture))


@needs_compiler
def test_the_usual_sizes_are_stretched_by_the_c(
    stretcher: Stretcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ((256, 256), (341, 256), (256, 341), (640, 480)):
        for seed in range(2):
            stretcher(noise(*size, seed), 224, 224)
        expected = Preprocessing((224, 224), 3).pixels(noise(*size, 9))
        with monkeypatch.context() as patch:
            patch.setattr(stretching, "_by_pillow", lambda *_: pytest.fail("Pillow was asked"))
            np.testing.assert_array_equal(stretcher(noise(*size, 9), 224, 224), expected)


@needs_compiler
def test_a_picture_that_cannot_tell_the_orders_apart_is_left_to_the_next(stretcher: Stretcher) -> None:
    blank = Image.new("RGB", (123, 77), (10, 20, 30))
    for _ in range(3):
        assert (stretcher(blank, 50, 60)[0] == 10).all()
    assert stretcher._orders[(123, 77, 50, 60)] == "unknown"


@needs_compiler
def test_c_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Stretcher(built())
    monkeypatch.setattr(stretching, "_stretched", lambda *_: np.zeros((3, 20, 20), dtype=np.uint8))
    expected = Preprocessing((20, 20), 3).pixels(noise(30, 30, 0))
    for _ in range(4):
        np.testing.assert_array_equal(made(noise(30, 30, 0), 20, 20), expected)
    assert made._orders[(30, 30, 20, 20)] == "pillow"


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((20, 20), 1),
        Preprocessing((20, 20), 3, fit="crop"),
        Preprocessing((20, 20), 3, fit="pad"),
        Preprocessing((20, 20), 3, resampling="bicubic"),
        Preprocessing((20, 20), 3, antialias=False),
    ],
)
def test_other_preprocessing_stays_what_it_is(stretcher: Stretcher, preprocessing: Preprocessing) -> None:
    for seed in range(4):
        swift = Stretching.of(preprocessing, stretcher)
        np.testing.assert_array_equal(
            swift.pixels(noise(40, 33, seed)), preprocessing.pixels(noise(40, 33, seed))
        )


def test_without_a_compiler_pillow_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.compiling.shutil.which", lambda name: None)
    picture_kernels.load.cache_clear()
    kernels = built()
    picture_kernels.load.cache_clear()
    assert kernels.library is None
    made = Stretcher(kernels)
    expected = Preprocessing((20, 20), 3).pixels(noise(30, 30, 0))
    np.testing.assert_array_equal(made(noise(30, 30, 0), 20, 20), expected)


def test_a_large_folder_has_the_pixels_of_single_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convscope.data import read_image

    monkeypatch.setattr("convscope.data.pixels.MANY", 1)
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(50 + number // 6, 60, number).save(path)
    data = load_data(tmp_path / "photos", size_px=32)
    paths = sorted((tmp_path / "photos").glob("*/*.png"))
    for image, path in zip(data.train.images, paths, strict=True):
        np.testing.assert_array_equal(image, read_image(path, data.preprocessing))
