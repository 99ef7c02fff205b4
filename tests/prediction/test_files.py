"""Which files a list of paths means."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from convscope.prediction import picture_files


def made(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_recursively_and_sorted(tmp_path: Path) -> None:
    made(tmp_path, "b.png", "a/2.jpg", "a/10.jpg", "c.JPEG", "a/deep/x.webp")
    found = [path.relative_to(tmp_path).as_posix() for path in picture_files([tmp_path])]
    assert found == ["a/10.jpg", "a/2.jpg", "a/deep/x.webp", "b.png", "c.JPEG"]


def test_only_what_may_be_a_picture_counts_in_a_folder(tmp_path: Path) -> None:
    made(
        tmp_path, "README.md", "Thumbs.db", ".hidden.png", ".cache/x.png", "__MACOSX/._a.png", "scan", "a.png"
    )
    assert [path.name for path in picture_files([tmp_path])] == ["a.png", "scan"]


def test_a_file_that_is_named_always_counts(tmp_path: Path) -> None:
    made(tmp_path, "README.md", ".hidden.png")
    named = [tmp_path / "README.md", tmp_path / ".hidden.png", tmp_path / "missing.png"]
    assert list(picture_files(named)) == named


def test_the_order_of_the_arguments_is_kept(tmp_path: Path) -> None:
    made(tmp_path, "b/1.png", "a/1.png", "z.png")
    given = [tmp_path / "z.png", tmp_path / "b", tmp_path / "a"]
    assert [path.parent.name for path in picture_files(given)][1:] == ["b", "a"]


def test_a_folder_that_may_not_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert [path.name for path in picture_files([tmp_path])] == ["a.png", "closed"]


def test_archives_are_searched_like_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("b/2.png", "b/1.JPG", "a", "notes.txt", ".hidden.png", "__MACOSX/b/._1.png"):
            archive.writestr(name, b"x")
    found = [str(path) for path in picture_files([tmp_path / "x.zip"])]
    assert found == [f"{tmp_path}/x.zip/{name}" for name in ("a", "b/1.JPG", "b/2.png")]
    (tmp_path / "y.zip").write_bytes(b"PK")
    assert list(picture_files([tmp_path / "y.zip"])) == [
        tmp_path / "y.zip"
    ]  # whoever reads it says what it is
