"""lecture shift: the three networks, moved pictures, exact maps, sentences that follow the numbers, and its folder."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.cli.status import run
from convscope.data import ImageData, from_arrays
from convscope.errors import DataError, RunError
from convscope.lecture import ShiftStudy, shift
from convscope.lecture.shift_pictures import cut_off, moved, moves
from convscope.lecture.shift_plot import plot
from convscope.lecture.shift_study import Contender, MapsRow, NetShifts, ShiftRow
from convscope.lecture.shift_text import render, sentences, telling_px
from convscope.lecture.shifts import contenders
from convscope.net import Net

SIDE = 12


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.engine.plan.available_cores", lambda: 1)


def spots() -> ImageData:
    """Four bright pixels somewhere in the middle of a dark picture, left or right half bright."""
    random = np.random.default_rng(0)
    images = np.zeros((90, 1, SIDE, SIDE), dtype=np.uint8)
    labels = np.arange(90) % 2
    images[:, :, 4:8, 4:8] = random.integers(40, 90, (90, 1, 4, 4))
    images[labels == 0, :, 4:8, 4:6] = 250
    images[labels == 1, :, 4:8, 6:8] = 250
    return from_arrays(
        images[:60], labels[:60], test=(images[60:], labels[60:]), class_names=("left", "right"), name="spots"
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShiftStudy, list[str]]:
    """One small measurement, and the sentences said on the way."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.engine.plan.available_cores", lambda: 1)
        study = shift(
            spots(),
            steps=3,
            seeds=(0, 1),
            most_px=3,
            out=tmp_path_factory.mktemp("shift") / "s",
            listeners=[lambda event: said.append(getattr(event, "text", ""))],
        )
    return study, [words for words in said if words]


def test_the_dense_net_has_the_nearest_number_of_parameters() -> None:
    dense, lecture, globalmax = contenders((1, 28, 28), 10)
    assert (dense.name, dense.parameters, lecture.parameters) == ("mlp-2x767", 1_198_831, 1_199_882)
    for width in (766, 768):
        other = Net.parse(str(dense.net).replace("767", str(width))).infer((1, 28, 28)).parameters
        assert abs(other - lecture.parameters) > abs(dense.parameters - lecture.parameters)
    assert 'globalpool("max")' in str(globalmax.net)
    assert globalmax.parameters == 320 + 18_496 + (64 + 1) * 128 + 1_290


@pytest.mark.parametrize(
    ("by", "corner"), [((1, 0), (2, 1)), ((-1, 0), (0, 1)), ((0, 1), (1, 2)), ((0, -1), (1, 0))]
)
def test_moved(by: tuple[int, int], corner: tuple[int, int]) -> None:
    images = np.zeros((1, 1, 3, 3), dtype=np.uint8)
    images[0, 0, 1, 1] = 7
    result = moved(images, *by)
    assert result[0, 0][corner] == 7
    assert result.sum() == 7
    assert np.array_equal(moved(images, 0, 0), images)
    assert moved(images, *(2 * step for step in by)).sum() == 0


def test_moves_are_four_and_staying_is_one() -> None:
    assert moves(0) == {"": (0, 0)}
    assert sorted(moves(2).values()) == [(-2, 0), (0, -2), (0, 2), (2, 0)]


def test_cut_off() -> None:
    images = np.zeros((2, 1, 5, 5), dtype=np.uint8)
    images[0, 0, 2, 2] = images[1, 0, 0, 2] = 1  # in the middle; at the upper edge
    assert cut_off(images, 3) == (
        0,
        1 / 8,
        1 / 8,
        7 / 8,
    )  # up cuts one of two; by three pixels only the upper one, moved down, is whole


def test_measurement(measured: tuple[ShiftStudy, list[str]]) -> None:
    study, said = measured
    assert (study.data, study.images, study.steps, study.seeds) == ("spots", 30, 3, (0, 1))
    assert [len(each.by_seed) for each in study.nets] == [2, 2, 2]
    for each in study.nets:
        assert each.kept(0) == 1
        for rows in each.by_seed:
            assert [row.shift_px for row in rows] == [0, 1, 2, 3]
            assert set(rows[1].by_direction) == {"down", "up", "right", "left"}
            assert rows[1].accuracy == pytest.approx(np.mean(list(rows[1].by_direction.values())))
    assert study.cut == (0, 0, 0, 0)
    assert "All of it takes about" in said[0]
    assert sum(words.startswith("1 of 6: mlp-2x") for words in said) == 1
    assert len(said) == len(set(said))


def test_accuracy_at_rest_is_that_of_the_run(measured: tuple[ShiftStudy, list[str]]) -> None:
    study, _ = measured
    for each in study.nets:
        for seed, rows in zip(study.seeds, each.by_seed, strict=True):
            card = json.loads(
                (study.folder / f"{each.contender.name}-seed-{seed}" / "config.json").read_text()
            )
            assert card["seed"] == seed
            from convscope.model_file import load_model

            model = load_model(study.folder / f"{each.contender.name}-seed-{seed}")
            assert model.card["test_accuracy"] == rows[0].accuracy


def test_maps_move_exactly_and_pooled_ones_by_even_pixels_only(
    measured: tuple[ShiftStudy, list[str]],
) -> None:
    study, _ = measured
    assert [row.convolutions for row in study.maps] == [0, 0, 0]
    assert [row.maxima for row in study.maps] == [0, 0, 0]
    odd, even = [study.maps[0], study.maps[2]], study.maps[1]
    assert even.pooled == 0
    assert all(row.pooled > 0 for row in odd)


def test_documents(measured: tuple[ShiftStudy, list[str]]) -> None:
    study, _ = measured
    document = json.loads(json.dumps(study.to_json(), allow_nan=False))
    assert json.loads((study.folder / "shift.json").read_text(encoding="utf-8")) == document
    assert [row["shift_px"] for row in document["nets"][0]["shifts"]] == [0, 1, 2, 3]
    assert document["sentences"] == sentences(study)
    picture = ET.parse(study.folder / "shift.svg").getroot()
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"lecture", "lecture-globalmax", "shift in pixels", "accuracy"} <= set(words)
    marks = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(marks) == 12


def test_runs_are_used_again(measured: tuple[ShiftStudy, list[str]]) -> None:
    study, _ = measured
    models = {path: path.stat().st_mtime_ns for path in study.folder.rglob("model.safetensors")}
    with pytest.raises(RunError, match="holds an earlier measurement.*Add --resume"):
        shift(spots(), steps=3, seeds=(0,), most_px=2, out=study.folder)
    again = shift(spots(), steps=3, seeds=(0,), most_px=2, out=study.folder, resume=True)
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("model.safetensors")} == models
    assert again.nets[0].by_seed[0] == study.nets[0].by_seed[0][:3]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"most_px": 0}, "a shift of 0 pixels. Expected 1 to 11 for pictures of 12 pixels"),
        ({"most_px": 12}, "a shift of 12 pixels"),
        ({"seeds": (1, 1)}, "seeds 1, 1. Expected at least one, each once"),
        ({"seeds": ()}, "at least one"),
    ],
)
def test_refused(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        shift(spots(), out=tmp_path / "s", **how)
    assert not (tmp_path / "s").exists()


def test_data_without_a_test_split_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="spots has no test split"):
        shift(dataclasses.replace(spots(), test=None), out=tmp_path / "s")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds other things"):
        shift(spots(), out=tmp_path, overwrite=True)


def test_resume_needs_a_folder_and_excludes_overwrite(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume without --out. Expected the folder"):
        shift(spots(), resume=True)
    with pytest.raises(RunError, match="both --resume and --overwrite"):
        shift(spots(), out=tmp_path, resume=True, overwrite=True)


# ---- sentences -----------------------------------------------------------------------------------------------------


def study_of(
    accuracies: dict[str, tuple[float, ...]], maps: tuple[MapsRow, ...] | None = None, kept: float = 0.9
) -> ShiftStudy:
    """A study with these accuracies by shift, on 10,000 images."""

    def shifts(name: str, by_px: tuple[float, ...]) -> NetShifts:
        rows = tuple(
            ShiftRow(0, px, value, kept if px else 1.0, {"up": value, "down": value})
            for px, value in enumerate(by_px)
        )
        return NetShifts(Contender(name, name, Net.parse("flatten, dense(10)"), 100), (rows,))

    length = len(next(iter(accuracies.values())))
    return ShiftStudy(
        "digits", "somewhere", 10_000, 800, (0,),
        tuple(shifts(name, by_px) for name, by_px in accuracies.items()),
        maps or tuple(MapsRow(px, 0, 0.5 * (px % 2), 0) for px in range(1, length)),
        (0.0, 0.01, 0.2)[:length], Path("s"),
    )  # fmt: skip


def test_sentences_follow_the_numbers() -> None:
    study = study_of({"mlp-2x9": (0.98, 0.7, 0.3), "lecture": (0.99, 0.9, 0.5), "max": (0.8, 0.79, 0.7)})
    assert telling_px(study) == 1
    falls, ranking, kept, maps = sentences(study)
    assert "Moved by 1 px, mlp-2x9 loses 28.0 points (0.980 → 0.700)" in falls
    assert "loses 19.0 points less than the dense one" in ranking
    assert "with a global maximum it loses 8.0 points less, but at rest it is worse by 19.0" in ranking
    assert "none of them is invariant" in kept
    assert "exactly (equivariance), after the 2×2 pool only for 2 px" in maps
    assert "does not change at all (invariance)" in maps


def test_the_opposite_numbers_give_the_opposite_sentences() -> None:
    rows = (MapsRow(1, 0.25, 0.5, 0.125),)
    study = study_of({"mlp-2x9": (0.9, 0.9), "lecture": (0.9, 0.8), "max": (0.9, 0.6)}, rows, kept=1)
    falls, ranking, kept, maps = sentences(study)
    assert "mlp-2x9 loses 0.0 points" in falls
    assert (
        "loses 10.0 points more than the dense one; with a global maximum it loses 20.0 points more."
        in ranking
    )
    assert "mlp-2x9, lecture and max are invariant there" in kept
    assert maps == (
        "The maps of the convolutions move with the picture up to 0.25, after the pool they do not; "
        "the maximum of each map changes by up to 0.12."
    )


def test_chance_is_called_chance() -> None:
    study = study_of({"mlp-2x9": (0.98, 0.9), "lecture": (0.98, 0.901), "max": (0.981, 0.9)})
    assert sentences(study)[1] == (
        "Within the error of sampling the lecture's network and the dense one lose the same; "
        "a global maximum changes nothing about it."
    )
    assert (
        "gains" in sentences(study_of({"mlp-2x9": (0.5, 0.6), "lecture": (0.9, 0.8), "max": (0.9, 0.8)}))[0]
    )


def test_text_and_plot_of_any_study() -> None:
    study = study_of({"mlp-2x9": (0.98, 0.7, 0.3), "lecture": (0.99, 0.9, 0.5), "max": (0.8, 0.79, 0.7)})
    assert "    2 px     0.200    0.3000    0.5000    0.7000" in render(study)
    assert ET.fromstring(plot(study)).tag.endswith("svg")


@pytest.mark.slow
def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    assert (
        run(["lecture", "shift", "mnist-10k", "--steps", "2", "--pixels", "1", "--out", str(out), "--quiet"])
        == 0
    )
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "mlp-2x767" in captured.out
    assert f"The plot: {out / 'shift.svg'}" in captured.out
    document = json.loads((out / "shift.json").read_text(encoding="utf-8"))
    assert [net["parameters"] for net in document["nets"]] == [1_198_831, 1_199_882, 28_426]
    assert document["maps"][0]["convolutions"] == 0


def test_command_line_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lecture", "shift", "mnist-10k", "--seed", "1", "--seeds", "2"]) == 2
    assert "both --seed and --seeds" in capsys.readouterr().err
    assert run(["lecture", "shift", "mnist-10k", "--pixels", "28"]) == 2
    assert "1 to 27 for pictures of 28 pixels" in capsys.readouterr().err
