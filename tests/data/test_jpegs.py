"""JPEGs from the other decoder have Pillow's pixels, and whatever is not usual goes Pillow's way."""

from __future__ import annotations

import functools
import io
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope.data import Preprocessing, jpegs, load_data, pictures, read_image
from convscope.data.array_types import Bytes
from convscope.data.files import Copy
from convscope.data.jpegs import COMPARED, Frame, JpegDecoder


@pytest.fixture(autouse=True)
def fresh() -> None:
    jpegs.library.cache_clear()


def jpeg(seed: int, *, mode: str = "RGB", size: tuple[int, int] = (61, 45), **options: object) -> bytes:
    soft = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def copy(folder: Path, content: bytes) -> Copy:
    path = folder / "picture.jpg"
    path.write_bytes(content)
    return Copy.of(path)


def by_both(decoder: JpegDecoder, content: bytes) -> tuple[Bytes | None, Bytes]:
    with Image.open(io.BytesIO(content)) as picture:
        pixels = decoder(picture, content)
    with Image.open(io.BytesIO(content)) as picture:
        return pixels, np.asarray(picture)


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:2:0", "quality": 30},
        {"quality": 100, "optimize": True},
        {"restart_marker_blocks": 2},
        {"keep_rgb": True},
        {"exif": turned(1)},
        {"size": (1, 1)},
        {"size": (17, 200)},
    ],
    ids=" ".join,
)
def test_usual_jpegs_have_pillows_pixels(options: dict[str, object]) -> None:
    decoder = JpegDecoder()
    for seed in range(COMPARED + 2):  # the last two are not compared any more
        pixels, expected = by_both(decoder, jpeg(seed, **options))
        assert pixels is not None
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "options",
    [{"mode": "L"}, {"mode": "CMYK"}, {"progressive": True}, {"exif": turned(6)}, {"exif": turned(2)}],
    ids=" ".join,
)
def test_what_is_not_usual_is_left_to_pillow(options: dict[str, object]) -> None:
    decoder = JpegDecoder()
    assert by_both(decoder, jpeg(0))[0] is not None
    assert by_both(decoder, jpeg(0, **options))[0] is None


def test_a_jpeg_that_comes_at_reduced_size_is_left_to_pillow(tmp_path: Path) -> None:
    content = jpeg(0, size=(400, 400))
    decoder, file, wanted = JpegDecoder(), copy(tmp_path, content), Preprocessing((50, 50), 3)
    for _ in range(COMPARED + 1):
        np.testing.assert_array_equal(
            pictures.decode(file, wanted, jpegs=decoder), pictures.decode(file, wanted)
        )
    assert decoder._equal == {}


@pytest.mark.parametrize("kept", [0.6, 0.8, 0.99])
def test_a_damaged_file_has_pillows_reason(tmp_path: Path, kept: float) -> None:
    whole, decoder = jpeg(0, size=(200, 200)), JpegDecoder()
    for _ in range(COMPARED):
        by_both(decoder, whole)
    file = copy(tmp_path, whole[: int(kept * len(whole))])
    said = []
    for one in (None, decoder):
        with pytest.raises(OSError, match="truncated") as caught:
            pictures.decode(file, Preprocessing((120, 120), 3), jpegs=one)
        said.append(pictures.reason(caught.value, file))
    assert said == ["damaged: the file ends before the picture does"] * 2
    pixels = [
        pictures.decode(file, Preprocessing((120, 120), 3), jpegs=one, salvage=True)
        for one in (None, decoder)
    ]
    np.testing.assert_array_equal(*pixels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2", "quality": 100, "optimize": True},
        {"restart_marker_blocks": 2},
        {"comment": b"hello"},
        {"size": (1, 1)},
        {"size": (300, 17)},
    ],
    ids=" ".join,
)
def test_a_plain_jpeg_is_never_opened_by_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    decoder, wanted = JpegDecoder(), Preprocessing((40, 40), 3)
    for seed in range(COMPARED):
        pictures.decode(copy(tmp_path, jpeg(seed, **options)), wanted, jpegs=decoder)
    file = copy(tmp_path, jpeg(9, **options))
    expected = outcome(file, wanted, None)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_identified", lambda *_: pytest.fail("Pillow was asked"))
        assert outcome(file, wanted, decoder) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "L"},
        {"mode": "CMYK"},
        {"progressive": True},
        {"exif": turned(1)},
        {"icc_profile": b"profile" * 9},
        {"keep_rgb": True},
        {"qtables": [[300] * 64, [9] * 64], "quality": -1},
    ],
    ids=" ".join,
)
def test_a_jpeg_that_is_not_plain_is_opened_by_pillow(options: dict[str, object]) -> None:
    assert Frame.of(jpeg(0)) == Frame(61, 45, ((2, 2), (1, 1), (1, 1)))
    assert Frame.of(jpeg(0, **options)) is None


def test_every_cut_of_a_header_is_pillows() -> None:
    content = jpeg(0, comment=b"hello")
    header_bytes = content.index(b"\xff\xda")
    assert all(Frame.of(content[:cut]) is None for cut in range(header_bytes + 4))
    assert Frame.of(content[: header_bytes + 4]) is not None


@pytest.mark.parametrize(
    ("marker", "part", "is_plain"),
    [
        (0xDB, b"\x01" + bytes([9] * 64), True),
        (0xDB, 2 * (b"\x01" + bytes([9] * 64)), True),
        (0xDB, b"", False),
        (0xDB, b"\x01" + bytes([9] * 60), False),
        (0xDB, b"\x11" + bytes([9] * 64), False),  # of 16 bits, and too short for it
        (0xFE, b"", True),
        (0xDD, b"\0\2", True),
        (0xDD, b"\0\2\0", False),
        (0xE1, b"http://ns.adobe.com/xap/1.0/", False),
        (0xE0, b"JFXX", False),
        (0xCC, b"\0\0", False),
        (0xD0, b"", False),
    ],
)
def test_only_the_parts_of_a_plain_jpeg_are_passed_over(marker: int, part: bytes, is_plain: bool) -> None:
    content = jpeg(0)
    at = content.index(b"\xff\xc0")
    head = bytes([0xFF, marker]) + (len(part) + 2).to_bytes(2, "big")
    assert (Frame.of(content[:at] + head + part + content[at:]) is not None) == is_plain
    assert Frame.of(content[:at] + 80 * b"\xff\xfe\x00\x02" + content[at:]) is None  # too many of them


def test_a_second_frame_is_pillows() -> None:
    content = jpeg(0)
    at = content.index(b"\xff\xc0")
    frame = content[at : at + 19]
    for first in (frame, frame[:4] + b"\x0c" + frame[5:]):  # the second: twelve bits
        assert Frame.of(content[:at] + first + content[at:]) is None


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 2**32), st.integers(0, 700), st.integers(0, 255), st.integers(0, 3))
def test_a_changed_jpeg_has_the_outcome_it_has_with_pillow(seed: int, at: int, byte: int, kind: int) -> None:
    """Bytes of the header changed, taken out or put in: the same pixels and header, or the same reason."""
    content = bytearray(jpeg(0, comment=b"hello"))
    place = slice(at, at + (kind < 2)) if kind < 3 else slice(at, at + 1 + seed % 9)
    content[place] = bytes([byte]) if kind != 1 else b""
    status = os.stat_result([stat.S_IFREG] + [0] * 5 + [len(content)] + [0] * 3)
    file, wanted = Copy("picture.jpg", ".jpg", status, bytes(content)), Preprocessing((40, 40), 3)
    assert outcome(file, wanted, warmed()) == outcome(file, wanted, None)


@functools.cache
def warmed() -> JpegDecoder:
    """A decoder to which the usual kind is known."""
    decoder = JpegDecoder()
    for seed in range(COMPARED):
        by_both(decoder, jpeg(seed))
    return decoder


def outcome(file: Copy, wanted: Preprocessing, decoder: JpegDecoder | None) -> tuple[object, ...]:
    """Header and pixels, or the reason why there are none."""
    headers: list[pictures.Header] = []
    try:
        with pictures.refusing_bombs():
            pixels = pictures.decode(file, wanted, notice=headers.append, jpegs=decoder)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        return headers[:1] and headers[0], pictures.reason(error, file)
    return headers[0], pixels.tobytes()


def test_a_decoder_that_differs_is_not_used() -> None:
    decoder, asked = JpegDecoder(), []

    def wrong(content: bytes) -> Bytes:
        asked.append(content)
        return np.zeros((45, 61, 3), dtype=np.uint8)

    decoder._decode = wrong
    for seed in range(3):
        assert by_both(decoder, jpeg(seed))[0] is None
    assert len(asked) == 1


def test_without_torch_or_its_library_pillow_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert jpegs.library() is not None
    with monkeypatch.context() as patch:
        patch.setattr("convscope.data.jpegs.importlib.util.find_spec", lambda name: None)
        jpegs.library.cache_clear()
        assert jpegs.library() is None
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        jpegs.library.cache_clear()
        assert jpegs.library() is None
        assert by_both(JpegDecoder(), jpeg(0))[0] is None
    broken = tmp_path / "image.so"
    broken.write_bytes(b"no library")
    assert jpegs._loaded(torch, broken) is None


def test_a_large_folder_of_jpegs_has_the_pixels_of_single_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.data.pixels.MANY", 1)
    kinds: list[dict[str, object]] = [
        {},
        {"mode": "L"},
        {"progressive": True},
        {"exif": turned(8)},
        {"mode": "CMYK"},
    ]
    for number in range(24):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, **kinds[number % 5] if number > 11 else {}))
    data = load_data(tmp_path / "photos", size_px=32)
    paths = sorted((tmp_path / "photos").glob("*/*.jpg"))
    for image, path in zip(data.train.images, paths, strict=True):
        np.testing.assert_array_equal(image, read_image(path, data.preprocessing))
