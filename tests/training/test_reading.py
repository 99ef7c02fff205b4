"""How damaged pictures are read belongs to a run: `--salvage`, the share that may be unreadable, the skip list."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.errors import DataError, RunError
from convscope.evaluation import evaluate
from convscope.training import Run, train

from .conftest import Stopper

NET = "maxpool(4), flatten, dense(classes)"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of noise; of one picture the lower half is missing, another is empty."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(8):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.png", compress_level=0)
    half = tmp_path / "photos" / "a" / "3.png"
    half.write_bytes(half.read_bytes()[:1800])
    (tmp_path / "photos" / "b" / "empty.jpg").touch()
    return tmp_path / "photos"


def trained(photos: Path, out: Path, **given: Any) -> Run:
    return train(photos, NET, batch_size=4, epochs=2, size_px=32, out=out, **given)


def config(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "config.json").read_text())["data"])


def test_salvage_is_another_run_and_evaluate_follows(photos: Path, tmp_path: Path) -> None:
    plain = trained(photos, tmp_path / "plain")
    salvaged = trained(photos, tmp_path / "salvaged", salvage=True)
    assert (config(plain.folder).get("salvage"), config(salvaged.folder)["salvage"]) == (None, True)
    assert config(plain.folder)["digest"] != config(salvaged.folder)["digest"]
    assert (plain.folder / "skipped.tsv").read_text() == (
        "a/3.png\tdamaged: the file ends before the picture does\nb/empty.jpg\tthe file is empty\n"
    )
    assert (salvaged.folder / "skipped.tsv").read_text() == "b/empty.jpg\tthe file is empty\n"
    for run in (plain, salvaged):
        for data in (None, photos):  # the held-out pictures are found again, with the same reading
            report = evaluate(run.folder, data)
            assert (report.split, report.accuracy) == ("validation", run.result["validation_accuracy"])


def test_a_resumed_run_must_agree(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trained(photos, out, salvage=True, most_unreadable=0.25, listeners=[Stopper(at=1)])
    with pytest.raises(RunError, match="most unreadable 0.5, and the run in .* with most unreadable 0.25"):
        train(out=out, resume=True, most_unreadable=0.5)
    assert train(out=out, resume=True, salvage=True).result["resumed_from_step"] is not None
    assert (out / "skipped.tsv").is_file()
    plain = tmp_path / "plain"
    trained(photos, plain)
    with pytest.raises(RunError, match="salvage True, and the run in .* was started with salvage False"):
        train(out=plain, resume=True, salvage=True)


def test_a_run_from_an_archive_finds_it_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in sorted(photos.rglob("*.*")):
            archive.write(path, path.relative_to(photos.parent))
    whole = trained(Path("photos.zip"), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(Path("photos.zip"), tmp_path / "halves", listeners=[Stopper(at=1)])
    monkeypatch.chdir("/")
    resumed = train(out=tmp_path / "halves", resume=True)
    assert resumed.result["resumed_from_step"] is not None
    assert (resumed.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert config(whole.folder)["source"] == str(tmp_path / "photos.zip")
    assert evaluate(whole.folder).accuracy == whole.result["validation_accuracy"]


def test_overwriting_takes_the_old_skip_list_away(photos: Path, tmp_path: Path) -> None:
    trained(photos, tmp_path / "run")
    for path in (photos / "a" / "3.png", photos / "b" / "empty.jpg"):
        path.unlink()
    trained(photos, tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "skipped.tsv").exists()


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(photos: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(DataError, match="unreadable pictures. Expected a number from 0 to 1"):
        trained(photos, tmp_path / "run", most_unreadable=share)
    assert not (tmp_path / "run").exists()
