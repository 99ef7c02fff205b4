"""Kinds of pictures that people have and decoders stumble over, each held against numbers worked out here."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.data import Preprocessing, read_image
from convscope.data.pictures import header, refusing_bombs
from convscope.errors import DataError

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH = 24, 36
RAMP = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1).round().astype(np.uint8)  # (24, 36, 3)


def read(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), channels: int = 3) -> Array:
    """(H, W, C)."""
    return read_image(path, Preprocessing(size, channels)).transpose(1, 2, 0).astype(float)


def grays(values: Array) -> Array:
    return np.repeat(values[..., None], 3, axis=-1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_every_orientation_is_made_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](COLOURS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    assert np.abs(read(path) - COLOURS).max() <= 4
    with refusing_bombs():
        assert header(path).size == (WIDTH, HEIGHT)


def test_inks_become_light(tmp_path: Path) -> None:
    inks = np.concatenate([COLOURS, np.full((HEIGHT, WIDTH, 1), 40, np.uint8)], axis=-1)
    for name in ("inks.jpg", "inks.tif"):  # Adobe's JPEG stores them inverted, TIFF does not
        picture = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())
        picture.save(tmp_path / name, **({"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}))
        expected = (255 - COLOURS.astype(float)) * (255 - 40) / 255
        assert np.abs(read(tmp_path / name) - expected).max() <= 8, name


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = (RAMP * 257).round().astype(np.uint16)
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        assert np.abs(read(tmp_path / name) - grays(RAMP)).max() <= 0.51, name
    Image.fromarray(deep // 100).save(tmp_path / "dark.pgm")
    assert read(tmp_path / "dark.pgm").max() <= 3  # dark stays dark


def test_white_may_be_zero(tmp_path: Path) -> None:
    deep = (RAMP * 257).round().astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "negative.tif", tiffinfo={262: 0})
    assert np.abs(read(tmp_path / "negative.tif") - (255 - grays(RAMP))).max() <= 0.51


def test_floats(tmp_path: Path) -> None:
    Image.fromarray((RAMP / 255).astype(np.float32)).save(tmp_path / "float.tif")
    assert np.abs(read(tmp_path / "float.tif") - grays(RAMP)).max() <= 0.51
    broken = RAMP.astype(np.float32)
    broken[0, 0] = np.nan
    Image.fromarray(broken).save(tmp_path / "nan.tif")
    with pytest.raises(DataError, match="NaN or infinite"):
        read(tmp_path / "nan.tif")


def test_one_bit_and_palettes(tmp_path: Path) -> None:
    bits = RAMP > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert (read(tmp_path / "bits.png") == grays(bits * 255)).all()
    indexed = Image.frombytes("P", (WIDTH, HEIGHT), bits.astype(np.uint8).tobytes())
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    for name in ("palette.png", "palette.gif"):
        indexed.save(tmp_path / name, transparency=1)
        expected = np.where(bits[..., None], 255, [10, 20, 30])  # transparent is white
        assert (read(tmp_path / name) == expected).all(), name


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    alpha = RAMP.round().astype(np.uint8)
    Image.fromarray(np.concatenate([COLOURS, alpha[..., None]], axis=-1)).save(tmp_path / "soft.png")
    share = alpha[..., None] / 255
    assert np.abs(read(tmp_path / "soft.png") - (COLOURS * share + 255 * (1 - share))).max() <= 1
    clear = np.full((HEIGHT, WIDTH), 9 * 257, np.uint16)
    Image.fromarray(clear).save(tmp_path / "clear.png", transparency=9 * 257)
    assert (read(tmp_path / "clear.png") == 255).all()


def test_lab_colours(tmp_path: Path) -> None:
    lab = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lab[..., 0] = 255  # L* = 100, a* = b* = 0: white
    Image.frombytes("LAB", (WIDTH, HEIGHT), lab.tobytes()).save(tmp_path / "lab.tif")
    assert np.abs(read(tmp_path / "lab.tif") - 255).max() <= 2


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif", ".avif"])
def test_of_several_pictures_the_first_counts(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGB", (WIDTH, HEIGHT), (value, 0, 0)) for value in (250, 120, 10)]
    path = tmp_path / f"several{suffix}"
    try:
        pages[0].save(path, save_all=True, append_images=pages[1:])
    except (KeyError, ValueError):
        pytest.skip(f"this Pillow cannot write {suffix}")
    assert np.abs(read(path) - [250, 0, 0]).max() <= 6
    with refusing_bombs():
        assert header(path).has_more
        pages[0].save(path)
        assert not header(path).has_more


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    for suffix, real in ((".jpg", "BMP"), (".png", "TIFF"), (".gif", "WEBP"), (".bmp", "PNG"), ("", "GIF")):
        path = tmp_path / f"misnamed{suffix}"
        Image.new("RGB", (8, 8), (7, 7, 7)).save(path, real)
        assert np.abs(read(path, (8, 8)) - 7).max() <= 2, (suffix, real)


# ---- files that are no pictures, or would be dangerous --------------------------------------------------------------


def why(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    return caught.value.received.removeprefix(f"cannot read {path}: ")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket.jpg")
        os.close(folder)
    assert why(tmp_path / "pipe.jpg") == "a named pipe, no file"
    assert why(tmp_path / "folder.jpg") == "it is a folder"
    assert why(tmp_path / "zero.jpg") == "a device, no file"
    assert why(tmp_path / "socket.jpg") == "a socket, no file"
    assert why(tmp_path / "gone.jpg") == "the file does not exist"
    assert why(tmp_path / "circle.jpg").startswith("the system cannot read it (Too many levels")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><title>404</title></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture (iPhone)"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\0\1" + bytes(30), "a Photoshop document"),
        (b"\0\0\0\x18ftypmp42" + bytes(20), "a film"),
        (b"PK\x03\x04" + bytes(30), "a ZIP archive"),
    ],
)
def test_what_it_is_instead_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    assert reason in why(tmp_path / "photo.jpg")


def chunk(kind: bytes, body: bytes) -> bytes:
    import zlib

    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png(width: int, height: int, *more: bytes) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    return head + b"".join(more) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "JPEG", progressive=True)
    return stream.getvalue()


def lying_jpeg(width: int, height: int) -> bytes:
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc2") + 5
    content[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A directory of (tag, kind, count, value) and nothing else."""
    rows = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + n.to_bytes(4, "little")
        + v.to_bytes(4, "little")
        for tag, kind, n, v in entries
    )
    return b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little") + rows + bytes(4)


def webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes(4) + size
    return b"RIFF" + len(body).to_bytes(4, "little") + body


TOO_MANY_TAGS = [(40_000 + k, 1, 60_000, 8) for k in range(1000)]
DANGEROUS = {
    "bomb.png": (png(30_000, 30_000, chunk(b"IDAT", b"")), "larger than 89,478,485 pixels (30,000×30,000)"),
    "lie.png": (png(9_000, 9_000, chunk(b"IDAT", b"x")), "promises 9,000×9,000 pixels, more than its"),
    "texts.png": (png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 10_001), "would exhaust memory"),
    "bomb.jpg": (lying_jpeg(65_000, 65_000), "larger than 89,478,485 pixels"),
    "lie.jpg": (lying_jpeg(9_000, 9_000), "promises 9,000×9,000 pixels"),
    "scans.jpg": (jpeg() + b"\xff\xda" * 200, "more than 100 scans"),
    "bomb.gif": (b"GIF89a" + (65_535).to_bytes(2, "little") * 2 + bytes(3), "larger than 89,478,485"),
    "comment.gif": (b"GIF89a\1\0\1\0\0\0\0!\xfe" + (b"\xff" + b"a" * 255) * 5000 + b"\0;", "exhaust time"),
    "bomb.webp": (webp(16_384, 16_384), "larger than 89,478,485 pixels (16,384×16,384)"),
    "bomb.tif": (tiff((256, 4, 1, 50_000), (257, 4, 1, 50_000)), "larger than 89,478,485"),
    "tile.tif": (tiff((256, 4, 1, 8), (257, 4, 1, 8), (322, 4, 1, 60_000), (323, 4, 1, 60_000)), "larger than"),
    "lie.tif": (tiff((256, 4, 1, 9_000), (257, 4, 1, 9_000), (259, 3, 1, 1)), "promises 9,000×9,000"),
    "tags.tif": (tiff(*TOO_MANY_TAGS) + bytes(60_000), "a directory of entries that would exhaust memory"),
    "lie.bmp": (
        b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
        + (9_000).to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24),
        "promises 9,000×9,000",
    ),
    "lie.ppm": (b"P6 9000 9000 255\n", "promises 9,000×9,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", DANGEROUS)
def test_dangerous_files_are_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    content, reason = DANGEROUS[name]
    (tmp_path / name).write_bytes(content)
    before = _peak_kb()
    assert reason in why(tmp_path / name)
    assert _peak_kb() - before < 30_000


def _peak_kb() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.webp").open("wb") as stream:
        stream.write(b"RIFF\xff\xff\xff\x7fWEBP")
        stream.truncate(600 * 2**20)  # a hole: no disk is taken
    assert why(tmp_path / "huge.webp") == "a file of 600 MiB, more than 512 MiB"


def test_an_exif_block_full_of_nonsense_does_not_hide_the_orientation(tmp_path: Path) -> None:
    rows = (
        (0x0112).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little") + b"\3\0\0\0"
    )
    nonsense = b"\xde\xad\xff\xff" + b"\xff" * 8
    exif = b"Exif\0\0II*\0" + (8).to_bytes(4, "little") + (900).to_bytes(2, "little") + nonsense + rows
    Image.fromarray(COLOURS).save(tmp_path / "broken.jpg", exif=exif, quality=100, subsampling=0)
    assert np.abs(read(tmp_path / "broken.jpg") - COLOURS[::-1, ::-1]).max() <= 4


def test_cut_anywhere_it_is_read_or_refused_and_salvage_reads_no_less(tmp_path: Path) -> None:
    whole = {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(COLOURS).save(stream, kind)
        whole[kind] = stream.getvalue()
    for kind, content in whole.items():
        for cut in range(0, len(content), max(1, len(content) // 40)):
            path = tmp_path / f"{kind}{cut}.jpg"
            path.write_bytes(content[:cut])
            outcomes = [_is_read(path, salvage) for salvage in (False, True)]
            assert outcomes != [True, False], (kind, cut)


def _is_read(path: Path, salvage: bool) -> bool:
    try:
        read_image(path, Preprocessing((HEIGHT, WIDTH), 3), salvage=salvage)
    except DataError as error:
        assert str(path) in error.received
        return False
    return True
