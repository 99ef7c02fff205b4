"""Every file of bad_inputs: read to the right pixels, or skipped for the right reason; training goes on."""

from __future__ import annotations

import hashlib
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.data import Preprocessing, check_data, load_data, read_image
from convscope.data.class_folders import list_folder
from convscope.data.pictures import header, refusing_bombs
from convscope.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))
from independent import bmp_rgb, png_rgb

Array = np.ndarray[Any, Any]


def as_read(path: Path) -> Array:
    """(H, W, 3), at the picture's own size."""
    with refusing_bombs():
        width, height = header(path).size
    return read_image(path, Preprocessing((height, width), 3)).transpose(1, 2, 0).astype(float)


def torchvision_rgb(path: Path) -> Array:
    """Another decoder's picture, (H, W, 3); of an animation the first."""
    from torchvision import io

    mode = io.ImageReadMode.RGB
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own worries about its future
        pixels = io.decode_image(str(path), mode=mode, apply_exif_orientation=True)
    return (pixels[0] if pixels.ndim == 4 else pixels).permute(1, 2, 0).numpy().astype(float)


def plain_of(path: Path) -> Array:
    """The one photo that many of the files are made of."""
    return torchvision_rgb(path.parent / "UPPERCASE.JPG")


def beside(name: str) -> Callable[[Path], Array]:
    """Another file that was made from the same picture."""
    return lambda path: torchvision_rgb(path.parent / name)


# The picture that must come out, from a decoder that is not Pillow, and how far the mean may be from it (of 255).
READ: dict[str, tuple[Callable[[Path], Array], float]] = {
    ".hidden.jpg": (plain_of, 0.5),
    "UPPERCASE.JPG": (plain_of, 0.5),
    "all_black.png": (png_rgb, 0.0),
    "all_white.jpg": (torchvision_rgb, 0.5),
    "animated.gif": (torchvision_rgb, 0.0),
    "animated.webp": (beside("animated.gif"), 6.0),  # lossy against 256 colours
    "animated_apng.png": (png_rgb, 0.0),
    "bilevel.png": (png_rgb, 0.0),
    "exif_garbage.jpg": (plain_of, 3.0),
    "exif_orientation_3.jpg": (plain_of, 3.0),  # compressed again
    "exif_orientation_6.jpg": (plain_of, 3.0),
    "gray_alpha.png": (png_rgb, 0.6),
    "grayscale.jpg": (torchvision_rgb, 0.5),
    "grayscale.png": (png_rgb, 0.0),
    "jpeg_named_png.png": (plain_of, 0.5),
    "jpeg_trailing_garbage.jpg": (plain_of, 0.5),
    "name with spaces and ünïcode.jpg": (plain_of, 0.5),
    "no_extension": (plain_of, 0.5),
    "one_by_one.jpg": (torchvision_rgb, 1.0),
    "one_pixel_high.png": (png_rgb, 0.0),
    "photo.avif": (beside("progressive.jpg"), 4.0),
    "photo.bmp": (bmp_rgb, 0.0),
    "photo.webp": (torchvision_rgb, 1.0),
    "png_named_jpg.jpg": (png_rgb, 0.0),
    "progressive.jpg": (torchvision_rgb, 0.5),
    "rgb16.png": (png_rgb, 1.0),  # Pillow keeps the upper 8 of 16 bits instead of rounding
    "rgba.png": (png_rgb, 0.6),
}
SKIPPED = {
    "Thumbs.db": "not a picture in a format that is read here",
    "README.md": "not a picture in a format that is read here: text",
    "bad_crc.png": "damaged: its data cannot be decoded",
    "bomb_144Mpx_1bit.png": "larger than 89,478,485 pixels (12,000×12,000)",
    "header_only.jpg": "damaged: it begins like a JPEG, but nothing more can be read",
    "random_bytes.jpg": "not a picture in a format that is read here",
    "text_renamed.jpg": "not a picture in a format that is read here: text",
    "truncated.png": "damaged: the file ends before the picture does",
    "truncated_half.jpg": "damaged: the file ends before the picture does",
    "zero_bytes.jpg": "the file is empty",
    "zero_bytes.png": "the file is empty",
}
SALVAGED = {"truncated.png": 40, "truncated_half.jpg": 100}
"""Damaged files of which at least so many rows can still be read."""


def test_the_tables_name_every_file(bad_inputs: Path) -> None:
    assert {path.name for path in bad_inputs.iterdir()} == READ.keys() | SKIPPED.keys()


@pytest.mark.parametrize("name", READ)
def test_read_right(bad_inputs: Path, name: str) -> None:
    expected, tolerance = READ[name]
    found, wanted = as_read(bad_inputs / name), expected(bad_inputs / name)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() <= tolerance
    if tolerance <= 1.0:
        assert np.abs(found - wanted).max() <= max(1.0, 12 * tolerance)


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_for_the_right_reason(bad_inputs: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_image(bad_inputs / name, Preprocessing((32, 32), 3))
    assert caught.value.received == f"cannot read {bad_inputs / name}: {SKIPPED[name]}"


@pytest.mark.parametrize("name", SALVAGED)
def test_salvage_reads_what_is_left(bad_inputs: Path, name: str) -> None:
    with refusing_bombs():
        width, height = header(bad_inputs / name).size
    found = read_image(bad_inputs / name, Preprocessing((height, width), 3), salvage=True).astype(float)
    whole = "png_named_jpg.jpg" if name.endswith("png") else "UPPERCASE.JPG"
    wanted = as_read(bad_inputs / whole).transpose(2, 0, 1)
    rows = SALVAGED[name]
    assert np.abs(found[:, :rows] - wanted[:, :rows]).mean() < 3
    assert not found[:, -8:].any()  # what is lost stays blank


@pytest.mark.parametrize("name", sorted(SKIPPED.keys() - SALVAGED.keys()))
def test_salvage_invents_nothing(bad_inputs: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_image(bad_inputs / name, Preprocessing((32, 32), 3), salvage=True)


def test_which_are_listed_and_which_are_ignored(bad_inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(bad_inputs, tmp_path / "odd")
    shutil.copytree(bad_inputs, tmp_path / "other")
    listed = {path.name for path in list_folder(tmp_path).splits["train"]["odd"]}
    assert {path.name for path in bad_inputs.iterdir()} - listed == {".hidden.jpg", "Thumbs.db", "README.md"}


UNLISTED = {".hidden.jpg", "Thumbs.db", "README.md"}
SEVERAL = {"animated.gif", "animated.webp", "animated_apng.png"}


@pytest.fixture(scope="module")
def odd_and_good(bad_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders: all of the files, and those that can be read."""
    photos = tmp_path_factory.mktemp("odd") / "photos"
    shutil.copytree(bad_inputs, photos / "odd")
    shutil.copytree(bad_inputs, photos / "good", ignore=shutil.ignore_patterns(*SKIPPED))
    return photos


def as_folder(photos: Path, tmp_path: Path) -> Path:
    return photos


def as_zip(photos: Path, tmp_path: Path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "x"), "zip", photos.parent, photos.name))


def as_tar(photos: Path, tmp_path: Path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "x"), "xztar", photos.parent, photos.name))


def as_table(photos: Path, tmp_path: Path) -> Path:
    """A table cannot leave files out as a folder does: what is hidden there is not named here."""
    listed = [path for path in sorted(photos.rglob("*")) if path.is_file() and path.name not in UNLISTED]
    rows = [f'"{path.relative_to(photos).as_posix()}",{path.parent.name}' for path in listed]
    shutil.copytree(photos, tmp_path / "x")
    (tmp_path / "x" / "labels.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return tmp_path / "x" / "labels.csv"


def as_parquet(photos: Path, tmp_path: Path) -> Path:
    arrow, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    listed = [path for path in sorted(photos.rglob("*")) if path.is_file() and path.name not in UNLISTED]
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in listed]
    pq.write_table(
        arrow.table({"image": images, "label": [path.parent.name for path in listed]}), tmp_path / "x.parquet"
    )
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("place", [as_folder, as_zip, as_tar, as_table, as_parquet])
def test_every_kind_of_place_gives_the_same_pictures_and_reasons(
    odd_and_good: Path, tmp_path: Path, place: Callable[[Path, Path], Path]
) -> None:
    where = place(odd_and_good, tmp_path)
    before = _fingerprint(where.parent)
    data = load_data(where, size_px=32)
    expected = sorted(SKIPPED.items() - {(name, SKIPPED[name]) for name in UNLISTED & SKIPPED.keys()})
    if place is as_parquet:
        assert sorted(skip.reason for skip in data.skipped) == sorted(reason for _, reason in expected)
    else:
        assert [(Path(skip.path).name, skip.reason) for skip in data.skipped] == expected
    reference = load_data(odd_and_good, size_px=32)
    assert sorted(map(bytes, data.train.images)) == sorted(map(bytes, reference.train.images))
    assert (
        "6 files are animations or have several pages; the first of several pictures is used: "
        in data.notes[-1]
    )
    report = check_data(where, size_px=32)
    assert report.read == len(data.train)
    assert sorted(skip.reason for skip in report.skipped) == sorted(reason for _, reason in expected)
    assert len(report.several) == 2 * len(SEVERAL)
    assert _fingerprint(where.parent) == before


def test_training_on_all_of_them_finishes(
    odd_and_good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from convscope.cli.status import run

    before = _fingerprint(odd_and_good)
    out = tmp_path / "run"
    line = ["train", str(odd_and_good), "--net", "flatten, dense(classes)", "--steps", "2", "--size", "32"]
    assert run([*line, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "Skipped 9 of 61 pictures (14.8%) that cannot be read: odd/bad_crc.png: damaged" in said
    assert "6 files are animations or have several pages; the first of several pictures is used" in said
    assert f"The 9 picture files that were skipped, with the reason: {out / 'skipped.tsv'}." in said
    listed = dict(line.split("\t") for line in (out / "skipped.tsv").read_text("utf-8").splitlines())
    assert listed == {f"odd/{name}": SKIPPED[name] for name in SKIPPED.keys() - UNLISTED}
    assert _fingerprint(odd_and_good) == before
    assert run([*line, "--out", str(tmp_path / "salvaged"), "--salvage", "--json"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert len((tmp_path / "salvaged" / "skipped.tsv").read_text("utf-8").splitlines()) == 7
    assert run([*line, "--out", str(tmp_path / "no"), "--most-unreadable", "0.1"]) == 2
    assert "9 of 61 pictures" in (said := capsys.readouterr().err)
    assert (
        "Expected 90.0% readable. Mend or remove the files that are named, or raise --most-unreadable."
        in said
    )
    assert not (tmp_path / "no").exists()
    assert _fingerprint(odd_and_good) == before


def _fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
