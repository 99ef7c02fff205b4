"""Where a run may be written, and what is refused with nothing touched."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from convscope.data import ImageData, from_arrays
from convscope.errors import NetTextError, RecipeError, RunError, ShapeError
from convscope.training import Recipe, train
from convscope.training.folder import next_free, read_history


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_an_existing_run_is_not_written_over(run_train: Any) -> None:
    run = run_train(steps=3)
    before = contents(run.folder)
    with pytest.raises(
        RunError, match=r"holds another run.*--resume to go on with it, --overwrite to replace it"
    ):
        run_train(steps=3)
    assert contents(run.folder) == before
    assert run_train(steps=4, overwrite=True).result["steps"] == 4


def test_overwriting_leaves_other_files_and_waits_until_all_is_checked(run_train: Any) -> None:
    run = run_train(steps=3)
    (run.folder / "notes.txt").write_text("mine")
    before = contents(run.folder)
    with pytest.raises(RecipeError):
        run_train(overwrite=True, batch_size=1000)
    assert contents(run.folder) == before
    run_train(overwrite=True, steps=2)
    assert (run.folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_foreign_folder_is_refused(run_train: Any, tmp_path: Path, how: dict[str, bool]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"kind": "something else"}')
    with pytest.raises(RunError, match=r"is not a run of Convscope.*nothing there was touched"):
        run_train(**how)
    assert contents(folder) == {"config.json": b'{"kind": "something else"}'}


def test_a_file_is_no_folder(run_train: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match=r"is a file. Expected a folder for the run"):
        run_train()


def test_an_empty_folder_is_fine_and_has_no_run(run_train: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="holds no run to resume"):
        run_train(resume=True)
    assert run_train(steps=1).result["steps"] == 1


def test_resuming_nothing_suggests_a_run(run_train: Any, tmp_path: Path) -> None:
    run_train(steps=1, out=tmp_path / "mine-1")
    with pytest.raises(RunError, match=r"there is no run .*mine1.*Did you mean .*mine-1"):
        run_train(resume=True, out=tmp_path / "mine1")
    with pytest.raises(RunError, match="--resume without --out"):
        train(resume=True)
    with pytest.raises(RunError, match="both --resume and --overwrite"):
        run_train(resume=True, overwrite=True)


def test_what_cannot_be_trained_leaves_no_folder(run_train: Any, data: ImageData, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"batch_size": 64},
            RecipeError,
            r"batch size 64. Expected at most the 63 images of the training split",
        ),
        (
            {"net": "flatten, dense(10)"},
            ShapeError,
            r"ends in 10 scores, and stripes has 3 classes.*dense\(classes\)",
        ),
        ({"net": "conv(3, 3)"}, ShapeError, "ends in maps"),
        ({"net": "lectur"}, NetTextError, "Did you mean 'lecture'"),
        ({"recipe": "fst"}, RecipeError, "Did you mean 'fast'"),
        ({"rate": 0.0}, RecipeError, "rate 0.0"),
        ({"rate": float("nan")}, RecipeError, "rate nan"),
        ({"epochs": 0}, RecipeError, "epochs 0"),
        ({"steps": -1}, RecipeError, "steps -1"),
        ({"seed": -1}, RecipeError, "seed -1"),
        ({"seed": "x"}, RecipeError, "seed 'x'"),
        ({"device": "gpu"}, RunError, "device 'gpu'"),
    ]
    for given, error, text in wrong:
        with pytest.raises(error, match=text):
            run_train(**given)
        assert not (tmp_path / "run").exists()


def test_a_ready_recipe_adapts_its_batch_to_few_images(data: ImageData, tmp_path: Path, stopper: Any) -> None:
    listener = stopper()
    train(data, "linear", "lecture", epochs=1, out=tmp_path / "run", listeners=[listener])
    assert listener.of("started")[0].batch_size == 8
    assert any("Batches of 8 instead of 128" in note.text for note in listener.of("note"))
    with pytest.raises(RecipeError, match="batch size 128"):
        train(data, "linear", Recipe.from_json({**_json("lecture"), "name": "own"}), out=tmp_path / "other")


def test_one_image_a_class_is_enough_to_start(tmp_path: Path) -> None:
    import numpy as np

    tiny = from_arrays(np.zeros((4, 1, 4, 4), dtype=np.uint8), [0, 1, 0, 1])
    assert train(tiny, "linear", steps=1, out=tmp_path / "run").result["steps"] == 1


def test_numbers_of_default_folders_only_grow(tmp_path: Path) -> None:
    assert next_free("mnist", "lecture", tmp_path).name == "mnist-lecture-1"
    (tmp_path / "mnist-lecture-7").mkdir()
    (tmp_path / "mnist-lecture-x").mkdir()
    assert next_free("mnist", "lecture", tmp_path).name == "mnist-lecture-8"
    assert next_free("../a b", "Net(…)", tmp_path).parent == tmp_path


def test_each_claim_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that look at once see the same free number; one of them gets the next."""
    from convscope.training import folder

    guesses = iter([tmp_path / "a-1", tmp_path / "a-1", tmp_path / "a-2"])
    monkeypatch.setattr(folder, "next_free", lambda *_: next(guesses))
    assert [folder.claim_next("a", "b", tmp_path).name for _ in range(2)] == ["a-1", "a-2"]


def test_half_written_files_of_a_killed_process_are_swept(run_train: Any, tmp_path: Path) -> None:
    run_train(steps=1)
    left = tmp_path / "run" / ".model.safetensors.123.new"
    left.write_bytes(b"half")
    run_train(steps=1, overwrite=True)
    assert not left.exists()


def test_a_history_cut_short_by_a_crash_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"event":"step"}\n{"event":"st')
    assert read_history(file) == [{"event": "step"}]


def test_files_can_be_read_by_whom_the_umask_allows(run_train: Any) -> None:
    run = run_train(steps=1)
    modes = {stat.S_IMODE((run.folder / name).stat().st_mode) for name in
             ("model.safetensors", "checkpoint", "config.json", "history.jsonl")}  # fmt: skip
    assert len(modes) == 1


def test_a_folder_made_for_nothing_goes_again(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("convscope.training.start.prepared", fail)
    (tmp_path / "mine").mkdir()
    for out in ("new", "mine"):
        with pytest.raises(ZeroDivisionError):
            run_train(out=tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def _json(name: str) -> dict[str, Any]:
    from convscope.training import recipes

    return recipes.get(name).to_json()
