"""Files with bytes changed, cut and repeated at random: read or refused in words, never anything else."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data import Preprocessing, load_data, read_image
from convscope.errors import ConvscopeError

FILES = 60
LIES = (
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    bytes(4),
    b"\0\1\0\0",
    b"..",
    b'",',
    b"\n\n",
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few changes, more often near the beginning and the end, where headers and lists are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        places = (
            range(len(changed)),
            range(min(300, len(changed))),
            range(max(0, len(changed) - 700), len(changed)),
        )
        at = chance.choice(chance.choice(places))
        kind = chance.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at : at + chance.choice((1, 8, 64, 10**6))]
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 32))
        elif kind == 3:
            lie = chance.choice(LIES)
            changed[at : at + len(lie)] = lie
        else:
            other = chance.randrange(len(changed))
            changed[at:at] = changed[other : other + chance.randrange(1, 200)]
    return bytes(changed)


def picture(kind: str, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "AVIF", "JPEG2000", "ICO"])
def test_pictures(tmp_path: Path, kind: str) -> None:
    chance, content = random.Random(kind), picture(kind)
    for number in range(FILES):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(mutated(content, chance))
        for salvage in (False, True):
            try:
                pixels = read_image(path, Preprocessing((8, 8), 3), salvage=salvage)
            except ConvscopeError as error:
                assert str(path) in error.received
            else:
                assert (pixels.shape, pixels.dtype) == ((3, 8, 8), np.uint8)


def as_zip(pictures: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
    return stream.getvalue()


def as_tar(pictures: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in pictures.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def as_npz(pictures: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, images=np.zeros((4, 5, 5), np.uint8), labels=np.array(list("abab")))
    return stream.getvalue()


def as_csv(pictures: dict[str, bytes]) -> bytes:
    return "\n".join(["path,label", *(f"{name},{name[0]}" for name in pictures)]).encode()


@pytest.mark.parametrize(
    ("name", "make"), [("x.zip", as_zip), ("x.tar", as_tar), ("x.npz", as_npz), ("x.csv", as_csv)]
)
def test_places(tmp_path: Path, name: str, make: Callable[[dict[str, bytes]], bytes]) -> None:
    pictures = {f"{label}/{k}.png": picture("PNG", k) for label in "ab" for k in range(2)}
    for key, content in pictures.items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(content)
    chance, content = random.Random(name), make(pictures)
    for _ in range(FILES):
        (tmp_path / name).write_bytes(mutated(content, chance))
        try:
            data = load_data(tmp_path / name, most_unreadable=1.0)
        except ConvscopeError as error:
            assert error.received
        else:
            assert len(data.class_names) > 1
