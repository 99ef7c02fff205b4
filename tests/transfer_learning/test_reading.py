"""Damaged pictures in a transfer: the skip list, and `--salvage`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from convscope.evaluation import evaluate

from .conftest import Transfer, gratings


def test_a_skip_list_and_salvage(run_transfer: Transfer, photos: Path, tmp_path: Path) -> None:
    half = photos / "kind0" / "0.png"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (photos / "kind1" / "empty.png").touch()
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in photos.rglob("*.png"):
            packed.write(path, path.relative_to(photos))
    plain = run_transfer(data=archive, out=tmp_path / "plain")
    salvaged = run_transfer(data=archive, out=tmp_path / "salvaged", salvage=True)
    assert (plain.folder / "skipped.tsv").read_text() == (
        "kind0/0.png\tdamaged: the file ends before the picture does\nkind1/empty.png\tthe file is empty\n"
    )
    assert (salvaged.folder / "skipped.tsv").read_text() == "kind1/empty.png\tthe file is empty\n"
    data = [json.loads((run.folder / "config.json").read_text())["data"] for run in (plain, salvaged)]
    assert (data[0].get("salvage"), data[1]["salvage"]) == (None, True)
    assert data[0]["digest"] != data[1]["digest"]
    for run in (plain, salvaged):
        assert evaluate(run.folder).accuracy == run.result["validation_accuracy"]


def test_arrays_from_a_file_are_brought_to_the_backbones_size(run_transfer: Transfer, tmp_path: Path) -> None:
    images, labels = gratings(36, 3, seed=21, side=24)
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    run = run_transfer(data=tmp_path / "few.npz")
    assert run.model().input_shape == (3, 32, 32)
    assert any("they are enlarged" in note for note in run.messages)
    assert evaluate(run.folder).accuracy == run.result["validation_accuracy"]
