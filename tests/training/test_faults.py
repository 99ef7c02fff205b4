"""Real faults while a run is under way: whatever happens, the earlier checkpoint is whole and the message says so.

Full disks and read-only ones are small file systems in memory, mounted where that is allowed (root on Linux); limits,
signals and rights are the system's own.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.errors import Interrupted, OutOfMemoryError, RunError
from convscope.training import Event, train
from convscope.training.checkpoint import Checkpoint
from convscope.training.configuration import Configuration
from convscope.training.folder import RunFolder
from convscope.training.loop import Loop

from .test_resume import same_bits

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="file systems, limits and signals as POSIX has them"
)
NET = "conv(8, 3), relu, flatten, dense(100), relu, dropout(0.5), dense(classes)"
RUN = {"net": NET, "steps": 12}


def saved(folder: Path) -> Checkpoint:
    """The checkpoint in a run folder, which must be whole, with nothing half-written beside it."""
    run = RunFolder(folder)
    assert not list(folder.glob(".*.new"))
    return Checkpoint.read(run.checkpoint, Configuration.from_json(run.read_config(), run.config).digest)


def once(kind: str, do: Callable[[], object], at: int = 1) -> Callable[[Event], None]:
    """A listener that does something at the `at`-th event of a kind, and never again."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        seen += event.kind == kind
        if seen == at and event.kind == kind:
            do()

    return listen


@pytest.fixture
def straight(run_train: Any, tmp_path: Path) -> Path:
    """The same run, left alone."""
    folder: Path = run_train(out=tmp_path / "straight", **RUN).folder
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting is not allowed here; test_a_limit_in_the_middle_of_a_checkpoint stands in")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


# ---- what cannot be written -----------------------------------------------------------------------------------------


def test_a_disk_that_fills_in_the_middle_of_a_checkpoint(
    run_train: Any, small_disk: Path, straight: Path
) -> None:
    filler = small_disk / "filler"

    def fill() -> None:
        room = shutil.disk_usage(small_disk).free
        filler.write_bytes(bytes(room - 20_000))  # less than a checkpoint, more than nothing

    folder = small_disk / "run"
    with pytest.raises(RunError, match=(
        r"cannot be written: No space left on device\. Expected room left on the disk\. Mend that\. "
        r"The checkpoint of step 3 is whole; go on with: convscope train --resume --out"
    )):  # fmt: skip
        run_train(out=folder, listeners=[once("saved", fill)], **RUN)
    assert saved(folder).state.step == 3
    with pytest.raises(RunError, match="No space left on device"):
        run_train(out=folder, resume=True, **RUN)
    assert saved(folder).state.step == 3
    filler.unlink()
    same_bits(straight, run_train(out=folder, resume=True, **RUN).folder)


def test_a_disk_that_is_full_from_the_start(run_train: Any, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(RunError, match=r"cannot be written: No space left on device\. Expected room"):
        run_train(out=small_disk / "run", **RUN)
    assert not (small_disk / "run" / "config.json").exists()


def test_a_limit_in_the_middle_of_a_checkpoint(run_train: Any, tmp_path: Path, straight: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (straight / "model.safetensors").stat().st_size

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, limits[1]))

    try:
        with pytest.raises(RunError, match=r"checkpoint cannot be written: File too large.*step 3 is whole"):
            run_train(listeners=[once("saved", limit)], **RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved(tmp_path / "run").state.step == 3
    same_bits(straight, run_train(resume=True, **RUN).folder)


def test_a_disk_that_is_read_only(run_train: Any, small_disk: Path, straight: Path, stopper: Any) -> None:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    folder = small_disk / "run"
    with pytest.raises(Interrupted):
        run_train(out=folder, listeners=[stopper(5)], **RUN)
    remount("ro")
    for out in (folder, small_disk / "other"):
        with pytest.raises(
            RunError,
            match=r"cannot be written: Read-only file system\. Expected a folder .*Give another --out",
        ):
            run_train(out=out, resume=out == folder, **RUN)
    remount("rw")
    assert saved(folder).state.step == 5
    same_bits(straight, run_train(out=folder, resume=True, **RUN).folder)


@pytest.fixture
def nobody() -> Iterator[Callable[[], None]]:
    """Gives up root's rights for the rest of the test; nothing to do for anyone else."""

    def give_up() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield give_up
    if os.getuid() == 0:
        os.seteuid(0)


def test_what_may_not_be_read_or_written(run_train: Any, tmp_path: Path, nobody: Any, straight: Path) -> None:
    folder = tmp_path / "run"
    stopped = once("saved", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        run_train(listeners=[stopped], **RUN)
    (folder / "checkpoint").chmod(0)
    for path in [folder, *tmp_path.parents[:3], tmp_path]:
        path.chmod(0o777 if path == folder else path.stat().st_mode | 0o755)
    (folder / ".lock").chmod(0o666)
    nobody()
    with pytest.raises(
        RunError, match=r"checkpoint cannot be read: Permission denied.*Give yourself the right"
    ):
        run_train(resume=True, **RUN)
    with pytest.raises(RunError, match=r"cannot be written: Permission denied.*Give another --out"):
        run_train(out=tmp_path / "new", **RUN)
    if os.getuid() == 0:
        os.seteuid(0)
    (folder / "checkpoint").chmod(0o644)
    assert saved(folder).state.step == 3
    same_bits(straight, run_train(resume=True, **RUN).folder)


def test_rights_that_are_taken_away(run_train: Any, tmp_path: Path, nobody: Any, straight: Path) -> None:
    def take_away() -> None:
        (tmp_path / "run").chmod(0o555)
        nobody()

    with pytest.raises(
        RunError, match=r"cannot be written: Permission denied\. .*Mend that\. The checkpoint of step 3"
    ):
        run_train(listeners=[once("saved", take_away)], **RUN)
    if os.getuid() == 0:
        os.seteuid(0)
    (tmp_path / "run").chmod(0o755)
    assert saved(tmp_path / "run").state.step == 3
    same_bits(straight, run_train(resume=True, **RUN).folder)


# ---- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_leaves(
    run_train: Any, tmp_path: Path, straight: Path, number: signal.Signals
) -> None:
    earlier = signal.signal(number, signal.default_int_handler)  # whatever nohup may have said of the tests
    try:
        with pytest.raises(
            Interrupted, match=r"Stopped after step 5 of 12; .*Go on with: convscope train --resume"
        ):
            run_train(listeners=[once("step", lambda: signal.raise_signal(number), at=5)], **RUN)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, earlier)
    assert saved(tmp_path / "run").state.step == 5
    same_bits(straight, run_train(resume=True, **RUN).folder)


def test_a_closed_terminal_is_ignored_where_nohup_says_so(run_train: Any) -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = run_train(listeners=[once("step", lambda: signal.raise_signal(signal.SIGHUP))], **RUN)
    finally:
        signal.signal(signal.SIGHUP, earlier)
    assert run.result["steps"] == 12


def test_the_second_ctrl_c_does_not_wait_for_a_disk_that_hangs(
    run_train: Any, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(_: int) -> None:
        signal.raise_signal(signal.SIGINT)  # nobody waits any longer
        raise AssertionError("still here")

    listeners = [once("step", lambda: signal.raise_signal(signal.SIGINT), at=5),
                 once("step", lambda: monkeypatch.setattr(os, "fsync", hangs), at=5)]  # fmt: skip
    with pytest.raises(Interrupted, match=(
        r"Stopped at once after step 5 of 12\. The checkpoint of step 3 is whole; go on with: .*--resume"
    )):  # fmt: skip
        run_train(listeners=listeners, **RUN)
    monkeypatch.undo()
    assert saved(tmp_path / "run").state.step == 3
    monkeypatch.setattr("convscope.engine.plan.available_cores", lambda: 1)
    same_bits(straight, run_train(resume=True, **RUN).folder)


def test_stopped_at_once_before_anything_was_saved(run_train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_: int) -> None:
        signal.raise_signal(signal.SIGINT)

    def press_and_hang() -> None:
        monkeypatch.setattr(os, "fsync", hangs)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(
        Interrupted, match=r"Stopped at once after step 1 of 12\. Nothing was saved yet; begin again"
    ):
        run_train(listeners=[once("step", press_and_hang)], **RUN)


def test_a_display_that_is_gone_ends_nothing(run_train: Any, straight: Path) -> None:
    heard = []

    def closed(event: Event) -> None:
        heard.append(event)
        raise BrokenPipeError(32, "Broken pipe")

    same_bits(straight, run_train(listeners=[closed], **RUN).folder)
    assert len(heard) == 1


def test_a_listener_whose_disk_is_full_is_not_ignored(run_train: Any) -> None:
    def full(event: Event) -> None:
        raise OSError(28, "No space left on device", "mine.log")

    with pytest.raises((RunError, OSError), match=r"mine\.log"):
        run_train(listeners=[full], **RUN)


# ---- clocks ---------------------------------------------------------------------------------------------------------


def test_clocks_that_jump_change_nothing(
    run_train: Any, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock runs backwards; the laptop sleeps for a night; and files are from the future."""
    now, counter, shift = time.time(), time.perf_counter, [0.0]
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now - 1000.0 * next(ticks))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (now - 1000.0 * next(ticks))))
    monkeypatch.setattr(time, "perf_counter", lambda: counter() + shift[0])

    def sleep_a_night() -> None:
        shift[0] += 8 * 3600.0

    stopped = once("step", lambda: signal.raise_signal(signal.SIGINT), at=7)
    with pytest.raises(Interrupted):
        run_train(listeners=[once("step", sleep_a_night, at=3), stopped], **RUN)
    for path in (tmp_path / "run").iterdir():
        os.utime(path, (4e9, 4e9))
    shift[0] = -1e6  # another boot: its counter began later
    same_bits(straight, run_train(resume=True, **RUN).folder)


# ---- data and caches ------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twenty pictures."""
    numbers = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 120)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = numbers.integers(low, low + 120, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:02}.png")
    return tmp_path / "photos"


def test_the_cache_of_pixels_may_go_while_a_run_is_under_way(
    run_train: Any, tmp_path: Path, photos: Path, own_cache: Path
) -> None:
    given = {"data": photos, "net": NET, "epochs": 4}
    straight = run_train(out=tmp_path / "straight", **given)

    def delete() -> None:
        shutil.rmtree(own_cache / "convscope", ignore_errors=True)

    stopped = once("step", lambda: signal.raise_signal(signal.SIGINT), at=5)
    with pytest.raises(Interrupted):
        run_train(listeners=[once("step", delete, at=3), stopped], **given)
    same_bits(straight.folder, run_train(resume=True, listeners=[once("step", delete)], **given).folder)


def test_pictures_that_change_while_a_run_is_under_way_are_told(
    run_train: Any, photos: Path, stopper: Any
) -> None:
    def change() -> None:
        Image.new("RGB", (8, 8)).save(photos / "dark" / "03.png")
        Image.new("RGB", (8, 8)).save(photos / "light" / "new.png")
        (photos / "light" / "07.png").unlink()

    listener = stopper()
    run_train(data=photos, net=NET, steps=3, listeners=[once("step", change), listener])
    told = next(note.text for note in listener.of("note") if "while the run was training" in note.text)
    assert "In photos, 2 files changed (dark/03.png, light/new.png) and 1 is gone while" in told


def test_pictures_that_changed_before_a_resume_are_refused(run_train: Any, photos: Path) -> None:
    stopped = once("step", lambda: signal.raise_signal(signal.SIGINT), at=2)
    with pytest.raises(Interrupted):
        run_train(data=photos, net=NET, steps=9, listeners=[stopped])
    os.utime(photos / "dark" / "03.png", (5, 5))  # touched, not changed
    Image.new("RGB", (8, 8)).save(photos / "dark" / "05.png")
    with pytest.raises(
        RunError, match=r"data photos with digest [0-9a-f]{16}, and the run in .* was started with"
    ):
        run_train(data=None, net=None, batch_size=None, resume=True)


def test_nothing_changed_is_not_told(run_train: Any, photos: Path, stopper: Any) -> None:
    listener = stopper()
    run_train(data=photos, net=NET, steps=3, listeners=[listener])
    assert not any("while the run" in note.text for note in listener.of("note"))


# ---- memory ---------------------------------------------------------------------------------------------------------

SAID = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                 "to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("std::bad_alloc"),
]  # fmt: skip


@pytest.mark.parametrize("error", SAID, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_proposes_a_smaller_batch(
    run_train: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def next_turns(loop: Loop) -> Any:
        raise error

    monkeypatch.setattr(Loop, "next_turns", next_turns)
    with pytest.raises(OutOfMemoryError, match=(
        r"the memory was not enough for batches of 16 images of 1×6×6 after step 0\. Expected steps that fit the "
        r"memory\. Try --batch-size 8, or --auto-batch, which halves it until it fits\."
    )):  # fmt: skip
        run_train(**RUN)


def test_the_batch_is_halved_until_it_fits(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopper: Any
) -> None:
    straight = run_train(out=tmp_path / "straight", batch_size=4, **RUN)
    next_turns = Loop.next_turns

    def limited(loop: Loop) -> Any:
        turns = next_turns(loop)
        if len(turns) > 4:
            raise MemoryError
        return turns

    monkeypatch.setattr(Loop, "next_turns", limited)
    listener = stopper()
    run = run_train(auto_batch=True, listeners=[listener], **RUN)
    notes = [note.text for note in listener.of("note")]
    assert any("Batches of 8 instead of 16, because the memory was not enough" in note for note in notes)
    assert any("Batches of 4 instead of 8, because the memory was not enough" in note for note in notes)
    same_bits(straight.folder, run.folder)


def test_the_same_command_line_goes_on_after_the_batch_was_halved(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopper: Any
) -> None:
    straight = run_train(out=tmp_path / "straight", batch_size=8, **RUN)
    next_turns, stopped = Loop.next_turns, stopper(5)

    def limited(loop: Loop) -> Any:
        turns = next_turns(loop)
        if len(turns) > 8:
            raise MemoryError
        return turns

    monkeypatch.setattr(Loop, "next_turns", limited)
    with pytest.raises(Interrupted):
        run_train(auto_batch=True, listeners=[stopped], **RUN)
    same_bits(straight.folder, run_train(auto_batch=True, resume=True, **RUN).folder)
    with pytest.raises(RunError, match="batch size 16, and the run in .* was started with batch size 8"):
        run_train(resume=True, **RUN)


def test_memory_that_runs_out_later_keeps_the_checkpoint(
    run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_turns = Loop.next_turns

    def late(loop: Loop) -> Any:
        if loop.state.step == 7:
            raise MemoryError
        return next_turns(loop)

    monkeypatch.setattr(Loop, "next_turns", late)
    with pytest.raises(
        OutOfMemoryError, match=r"after step 7\..*The checkpoint of step 6 is whole; go on with"
    ):
        run_train(auto_batch=True, **RUN)
    assert saved(tmp_path / "run").state.step == 6


LIMITED = """
import resource, sys
import torch
from convscope.cli.status import run
torch.zeros(4, 4) @ torch.zeros(4, 4)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="RLIMIT_AS as Linux has it")
def test_a_real_limit_of_memory(tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        line = ["train", "mnist-10k", "--net", "conv(32, 3), relu, globalpool, dense(classes)", "--batch-size", "4096",
                "--steps", "2", "--out", str(tmp_path / "run"), "--device", "cpu", *more]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([os.sys.executable, "-c", LIMITED, *line], env=environment, capture_output=True,
                              text=True, check=False)  # fmt: skip

    refused = run()
    assert refused.returncode == 2, refused.stderr
    assert refused.stdout == ""
    assert "Error: the memory was not enough for batches of 4,096 images of 1×28×28" in refused.stderr
    assert "Try --batch-size 2048, or --auto-batch, which halves it until it fits." in refused.stderr
    done = run("--auto-batch")
    assert done.returncode == 0, done.stderr
    assert "Batches of 2,048 instead of 4,096, because the memory was not enough" in done.stderr
    document = RunFolder(tmp_path / "run").read_config()
    assert document["recipe"]["batch_size"] < 4096


# ---- what a killed process or a careless hand leaves ----------------------------------------------------------------


def test_a_process_killed_while_it_began_leaves_a_folder_to_begin_in(run_train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".config.json.7.new", ".lock"):
        (folder / name).write_bytes(b'{"ki')
    with pytest.raises(RunError, match="holds no run to resume"):
        run_train(resume=True, **RUN)
    assert run_train(**RUN).result["steps"] == 12
    assert not list(folder.glob("*.new"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_history_that_was_changed_is_noticed(run_train: Any, tmp_path: Path, stopper: Any) -> None:
    with pytest.raises(Interrupted):
        run_train(listeners=[stopper(6)], **RUN)
    file = tmp_path / "run" / "history.jsonl"
    whole = file.read_bytes()
    flip(file, 30)
    with pytest.raises(
        RunError, match=r"history.jsonl was changed after the checkpoint was written\. Expected the li"
    ):
        run_train(resume=True, **RUN)
    file.write_bytes(whole)
    run_train(resume=True, **RUN)
    flip(file, 30)
    with pytest.raises(RunError, match=r"history.jsonl was changed after"):
        run_train(resume=True, **RUN)


def test_the_damaged_model_of_a_finished_run_is_made_again(
    run_train: Any, straight: Path, stopper: Any
) -> None:
    flip(straight / "model.safetensors", -1)
    listener = stopper()
    again = run_train(out=straight, resume=True, listeners=[listener], **RUN)
    told = [note.text for note in listener.of("note")]
    assert any("The model is made again from the checkpoint: " in note and "changed" in note for note in told)
    fresh = run_train(out=straight.with_name("fresh"), **RUN)
    assert (again.folder / "model.safetensors").read_bytes() == (
        fresh.folder / "model.safetensors"
    ).read_bytes()


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """A checkpoint with other contents, signed as if it had been written so."""
    import safetensors.torch

    from convscope.model_file import read_container, write_container

    document = dict(read_container(file, "convscope checkpoint", 1).document)
    tensors = safetensors.torch.load_file(file)
    change(document, tensors)
    write_container(
        file, "convscope checkpoint", 1, {key: document[key] for key in ("configuration", "state")}, tensors
    )


LIES: list[tuple[Callable[[dict[str, Any], dict[str, torch.Tensor]], object], str]] = [
    (lambda document, _: document["state"].update(step=-1), "a count that is none"),
    (lambda document, _: document["state"].update(step=10**6), r"step 1000000 of 12"),
    (lambda document, _: document["state"].update(train_s="x"), "a number that is none"),
    (lambda document, _: document["state"].update(logged=[1.0]), "a number that is none"),
    (lambda document, _: document["state"].update(stopped=1), "an end that is none"),
    (lambda document, _: document["state"].update(history_digest=3), "a digest that is none"),
    (lambda document, _: document["state"].pop("waited"), "waited"),
    (lambda document, _: document.update(state=[]), "list indices"),
    (lambda _, tensors: tensors.pop("model.conv1.bias"), r"no tensor 'conv1.bias' of shape \(8,\)"),
    (lambda _, tensors: tensors.update({"model.conv1.bias": torch.zeros(1)}), r"no tensor 'conv1.bias'"),
    (lambda _, tensors: tensors.update({"optimizer.99.x": torch.zeros(1)}), "out of range"),
    (lambda _, tensors: tensors.update({"optimizer.y.x": torch.zeros(1)}), "invalid literal"),
    (lambda _, tensors: tensors.update({"best.conv1.bias": torch.zeros(8)}), "no tensor"),
    (lambda _, tensors: tensors.pop("totals"), "no tensor 'totals'"),
]


@pytest.mark.parametrize(("change", "text"), LIES, ids=[text for _, text in LIES])
def test_a_checkpoint_that_no_training_wrote(
    run_train: Any, tmp_path: Path, stopper: Any, change: Any, text: str
) -> None:
    with pytest.raises(Interrupted):
        run_train(listeners=[stopper(6)], **RUN)
    rewritten(tmp_path / "run" / "checkpoint", change)
    with pytest.raises(
        RunError, match=rf"checkpoint .*is damaged: .*{re.escape(text) if '(' not in text else text}"
    ):
        run_train(resume=True, **RUN)


def test_training_without_a_folder_of_its_own_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs begin in runs/, which may be a file by mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("x")
    with pytest.raises(RunError, match=r"runs/.* cannot be made: .*Expected a folder that can be written"):
        train("mnist-10k", "flatten, dense(classes)", steps=1, device="cpu")
