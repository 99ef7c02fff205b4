"""Folders of class folders: structure, pictures that cannot be read, and what is made of them."""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data import load_data
from convscope.errors import DataError


def draw(path: Path, size: tuple[int, int] = (20, 10), mode: str = "RGB", value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value, 0, 0)
    Image.new(mode, size, colour).save(path)


def draw_all(root: Path, *names: str, **options: object) -> Path:
    for name in names:
        draw(root / name, **options)  # type: ignore[arg-type]
    return root


def test_class_folders_are_one_training_split(tmp_path: Path) -> None:
    data = load_data(draw_all(tmp_path / "pets", "dog/1.png", "cat/1.png", "cat/deep/2.JPG", size=(100, 80)))
    assert data.name == "pets"
    assert data.class_names == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert data.input_shape == (3, 64, 64)
    assert data.validation is data.test is None
    assert data.preprocessing.fit == "squash"
    assert "3 pictures in 2 classes" in data.origin


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_splits_are_matched_by_name(tmp_path: Path, validation: str) -> None:
    draw_all(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png", "test/b/2.png")
    draw_all(tmp_path, f"{validation}/c/1.png", "extra/x/1.png")
    data = load_data(tmp_path)
    assert data.class_names == ("a", "b", "c")
    assert data.validation is not None
    assert data.test is not None
    assert data.validation.labels.tolist() == [2]
    assert data.test.labels.tolist() == [1, 2]
    assert "Not used beside train: extra." in data.notes


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = load_data(draw_all(tmp_path, "train/1.png", "car/1.png", "test/1.png"))
    assert data.class_names == ("car", "test", "train")


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    draw_all(tmp_path, f"train/{composed}/1.png", "train/tea/1.png", f"val/{decomposed}/1.png")
    assert load_data(tmp_path).class_names == (composed, "tea")


def test_small_gray_pictures_of_one_size_keep_it(tmp_path: Path) -> None:
    data = load_data(draw_all(tmp_path, "0/1.png", "1/1.png", size=(28, 20), mode="L", value=7))
    assert data.input_shape == (1, 20, 28)
    assert (data.train.images == 7).all()
    assert load_data(tmp_path, size_px=(8, 9), channels=3).input_shape == (3, 8, 9)
    draw(tmp_path / "1/2.png", size=(28, 21))
    assert load_data(tmp_path).input_shape == (3, 64, 64)


def test_what_computers_leave_is_ignored(tmp_path: Path) -> None:
    draw_all(tmp_path, "a/1.png", "b/1.png", ".ipynb_checkpoints/1.png", "__MACOSX/a/1.png", "a/._1.png")
    for name in ("a/Thumbs.db", "a/.DS_Store", "b/notes.txt", "readme.md"):
        (tmp_path / name).write_text("x")
    data = load_data(tmp_path)
    assert (data.class_names, len(data.train), data.notes) == (("a", "b"), 2, ())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no class folder with pictures. Expected one folder a class"),
        (["1.png"], "Sort the pictures into one folder a class"),
        (["a/1.png"], "has only one class folder, 'a'. Expected at least two"),
        (["a/1.png", "b/"], "/b is empty. Expected pictures in it"),
        (["a/", "b/"], "has no class folder with pictures"),
        (["train/a/1.png"], "/train has only one class folder"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "class 'c' is in test of"),
        (["train/a/1.png", "train/b/1.png", "val/c/1.png"], "Add train/c, or remove it from validation"),
        (["test/a/1.png", "val/a/1.png"], "has test, val but no train"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "has val and valid"),
        (["train-images-idx3-ubyte.gz"], "try the name mnist and --data-dir"),
    ],
)
def test_wrong_structures_get_one_clear_message(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        elif name.endswith(".gz"):
            (tmp_path / name).touch()
        else:
            draw(tmp_path / name)
    with pytest.raises(DataError) as caught:
        load_data(tmp_path)
    assert message in str(caught.value)


def test_a_class_with_only_unreadable_pictures_is_refused(tmp_path: Path) -> None:
    draw_all(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    (tmp_path / "b/1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no picture of class 'b' in .* can be read"):
        load_data(tmp_path)


def test_too_many_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    draw_all(tmp_path, "a/1.png", "b/1.png")
    for number in range(3):
        (tmp_path / f"a/{number}.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"3 of 5 pictures in .* cannot be read: a/0.jpg: not a picture"):
        load_data(tmp_path)


def test_bad_inputs_are_skipped_with_their_reasons(bad_inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(bad_inputs, tmp_path / "a")
    draw_all(tmp_path, "b/1.png")
    before = fingerprint(tmp_path)
    data = load_data(tmp_path, size_px=32)
    assert data.notes[0].startswith(
        "Skipped 9 of 36 pictures (25.0%) that cannot be read: a/bad_crc.png: damaged"
    )
    assert len(data.train) == 27
    assert fingerprint(tmp_path) == before


def fingerprint(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
        for path in files
    }


def test_real_photos(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = real_data / "photos" / "trashnet"
    if not folder.is_dir():
        pytest.skip("CONVSCOPE_DATA has no photos/trashnet")
    lines: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = load_data(folder, progress=lines.append)
    assert data.class_names == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    assert data.validation is not None
    assert np.bincount(data.train.labels).tolist() == [100] * 6
    assert np.bincount(data.validation.labels).tolist() == [37] * 6
    assert lines[0] == f"Reading 822 pictures from {folder} at 64×64 pixels."
    assert load_data(folder).digest == data.digest
