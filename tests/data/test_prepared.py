"""Pictures are decoded once: what is kept, what is made again, and what happens to a cache in other hands."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data import ImageData, Transfer, load_data, pictures, prepared
from convscope.data.folder import _arrangement, _facts
from convscope.data.looking import AHEAD, AT_ONCE, in_order
from convscope.data.mapped import is_mapped
from convscope.data.pixels import Reading
from convscope.data.statistics import mean_and_std
from convscope.errors import DataError

Decoded = list[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own; the folder of what is kept of pictures in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "convscope" / "prepared"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The names of the files that were decoded."""
    names: Decoded = []
    decode = pictures.decode

    def counting(path: Path, *arguments: object, **options: object) -> object:
        names.append(path.name)
        return decode(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "decode", counting)
    return names


def noise(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    """A JPEG unlike any with another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four pictures for training and two for validation."""
    root = tmp_path / "photos"
    for number in range(12):
        split, label = ("train", "val")[number >= 8], ("cat", "dog")[number % 2]
        noise(root / split / label / f"{number}.jpg", number)
    return root


def settle(root: Path) -> None:
    """Make all files look old enough to be known by their times alone; only a change of content makes them new."""
    for path in root.rglob("*.jpg"):
        os.utime(path, ns=(10**18, 10**18))


def expected(data: ImageData, root: Path) -> ImageData:
    """Every image is its own file's picture, decoded now, under the label of the file's folder."""
    for name, split in {"train": data.train, "val": data.validation}.items():
        assert split is not None
        paths = [path for label in data.class_names for path in sorted((root / name / label).iterdir())]
        assert split.labels.tolist() == [data.class_names.index(path.parent.name) for path in paths]
        for image, path in zip(split.images, paths, strict=True):
            np.testing.assert_array_equal(image, pictures.read_image(path, data.preprocessing))
    return data


def test_the_second_run_decodes_nothing(photos: Path, cache: Path, decoded: Decoded) -> None:
    first = load_data(photos, size_px=32)
    assert sorted(decoded) == sorted(f"{number}.jpg" for number in range(12))
    decoded.clear()
    lines: list[str] = []
    second = load_data(photos, size_px=32, progress=lines.append)
    assert decoded == []
    assert lines == [f"12 pictures from {photos}, decoded earlier, are mapped."]
    assert second.digest == first.digest
    assert second.preprocessing == first.preprocessing
    assert (second.origin, second.notes) == (first.origin, first.notes)
    assert is_mapped(second.train.images)
    assert second.train.images.flags.writeable  # torch warns about arrays that are not
    expected(second, photos)


def test_the_digest_is_that_of_the_pixels(photos: Path, cache: Path) -> None:
    for _ in ("made", "found"):
        data = load_data(photos, size_px=32)
        plain = ImageData(
            data.name, data.train, data.validation, None, data.class_names, data.origin, data.preprocessing
        )
        assert data.digest == plain.digest
        other = ImageData(
            data.name,
            data.validation or data.train,
            data.train,
            None,
            data.class_names,
            "",
            data.preprocessing,
        ).with_known_digest("0")
        assert other.digest == "0"
        assert data.with_known_digest("0").hold_out(0.5, 0).digest == "0"  # it has a validation split: itself


def test_a_known_digest_is_of_these_splits_only(photos: Path, cache: Path) -> None:
    data = load_data(photos / "train", size_px=32).with_known_digest("known")
    assert data.digest == "known"
    assert len(data.hold_out(0.5, seed=0).digest) == 64


def test_another_size_is_kept_beside(photos: Path, cache: Path, decoded: Decoded) -> None:
    load_data(photos, size_px=32)
    load_data(photos, size_px=24)
    decoded.clear()
    assert load_data(photos, size_px=32).input_shape == (3, 32, 32)
    assert load_data(photos, size_px=24).input_shape == (3, 24, 24)
    assert decoded == []


def test_a_size_that_is_named_finds_what_was_made_without_a_name(
    photos: Path, cache: Path, decoded: Decoded
) -> None:
    shape = load_data(photos).input_shape
    decoded.clear()
    load_data(photos, size_px=shape[1:], channels=3)
    assert decoded == []


def test_a_changed_file_is_decoded_again_and_no_other(photos: Path, cache: Path, decoded: Decoded) -> None:
    before = load_data(photos, size_px=32)
    decoded.clear()
    noise(photos / "train/dog/3.jpg", seed=99)
    after = expected(load_data(photos, size_px=32), photos)
    assert decoded[0] == "3.jpg"
    assert decoded.count("3.jpg") == 2  # once by load_data, once by `expected`
    assert after.digest != before.digest


def test_a_change_that_keeps_size_and_times_is_noticed(photos: Path, cache: Path) -> None:
    """Because the system notes when a file's times are set back."""
    path = photos / "train/dog/3.jpg"
    load_data(photos, size_px=32)
    stamp, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    expected(load_data(photos, size_px=32), photos)


def test_touched_and_moved_files_are_known_by_their_content(
    photos: Path, cache: Path, decoded: Decoded
) -> None:
    load_data(photos, size_px=32)
    decoded.clear()
    settle(photos)
    load_data(photos, size_px=32)
    (photos / "train/dog/1.jpg").rename(photos / "train/cat/moved.jpg")
    data = load_data(photos, size_px=32)
    assert decoded == []
    expected(data, photos)


def test_files_added_and_removed(photos: Path, cache: Path, decoded: Decoded) -> None:
    load_data(photos, size_px=32)
    decoded.clear()
    noise(photos / "train/cat/0-new.jpg", seed=100)
    (photos / "val/dog/11.jpg").unlink()
    lines: list[str] = []
    data = load_data(photos, size_px=32, progress=lines.append)
    assert decoded == ["0-new.jpg"]
    assert lines == [f"Reading 12 pictures from {photos} at 32×32 pixels (11 of them were decoded earlier)."]
    assert len(data.train) == 9
    expected(data, photos)


def test_skipped_pictures_are_told_again(photos: Path, cache: Path, decoded: Decoded) -> None:
    good = (photos / "train/cat/0.jpg").read_bytes()
    (photos / "train/cat/half.jpg").write_bytes(good[: len(good) // 2])
    (photos / "train/dog/text.jpg").write_text("no picture")
    first = load_data(photos, size_px=32)
    assert first.notes[0].startswith("Skipped 2 of 14 pictures (14.3%)")
    decoded.clear()
    second = load_data(photos, size_px=32)
    assert second.notes == first.notes
    assert decoded == []
    (photos / "train/cat/half.jpg").write_bytes(good)
    assert "Skipped 1 of 14" in load_data(photos, size_px=32).notes[0]
    assert decoded == []  # its content is that of 0.jpg


def test_a_picture_that_may_not_be_read_now_is_tried_again(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = pictures.decode

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "2.jpg":
            raise OSError(5, "Input/output error")
        return decode(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "decode", failing)
    assert "train/cat/2.jpg" in load_data(photos, size_px=32).notes[0]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    assert load_data(photos, size_px=32).notes == ()


def kept(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*/*{suffix}")
    return path


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def other_pixels(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def other_version(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "reader": "Pillow 1"}))


def without_files(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": []}))


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".u8", shorter),
        (".u8", other_pixels),
        (".u8", Path.unlink),
        (".json", shorter),
        (".json", other_version),
        (".json", without_files),
        (".json", Path.unlink),
        (".json", lambda path: path.write_bytes(b"\xff\x00")),
        (".json", lambda path: path.write_text("[]")),
    ],
)
def test_a_damaged_cache_is_made_again(
    photos: Path, cache: Path, decoded: Decoded, suffix: str, damage: Callable[[Path], object]
) -> None:
    digest = load_data(photos, size_px=32).digest
    damage(kept(cache, suffix))
    decoded.clear()
    assert load_data(photos, size_px=32).digest == digest
    assert len(decoded) == 12
    assert len(list(cache.glob("*/*.u8"))) == 1
    decoded.clear()
    expected(load_data(photos, size_px=32), photos)
    assert len(decoded) == 12  # by `expected`


def test_a_cache_deleted_meanwhile_does_not_matter(photos: Path, cache: Path) -> None:
    data = load_data(photos, size_px=32)
    shutil.rmtree(cache)
    expected(data, photos)
    expected(load_data(photos, size_px=32), photos)


def test_leftovers_of_a_stopped_run_are_swept_away(photos: Path, cache: Path) -> None:
    load_data(photos, size_px=32)
    shelf = kept(cache, ".json").parent
    (shelf / "half.u8.part").write_bytes(b"half")
    (shelf / "nobody's.u8").write_bytes(b"old")
    noise(photos / "train/cat/new.jpg", seed=100)
    load_data(photos, size_px=32)
    assert sorted(path.suffix for path in shelf.iterdir() if path.name != ".lock") == [".json", ".u8"]


def test_a_cache_that_cannot_be_written_is_said_and_memory_is_used(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines: list[str] = []
    data = load_data(photos, size_px=32, progress=lines.append)
    assert not is_mapped(data.train.images)
    assert "are kept in memory only" in lines[-1]
    assert "(Not a directory)" in lines[-1]
    expected(data, photos)


LITTLE_DISK = """
import json, os, resource, sys
from pathlib import Path
from convscope.data import load_data
from convscope.data.mapped import is_mapped
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
lines = []
data = load_data(Path(sys.argv[1]), size_px=64, progress=lines.append)
print(json.dumps([is_mapped(data.train.images), lines[-1], data.digest]))
"""


def started(script: str, photos: Path, cache: Path) -> subprocess.Popen[str]:
    """Another process that runs the script, with this cache."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.parent.parent)}
    command = [sys.executable, "-c", script, str(photos)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_full_disk_leaves_nothing_behind(photos: Path, cache: Path) -> None:
    """A process that may write no more than 8 KiB to any file is at the end of its disk."""
    mapped, line, digest = json.loads(started(LITTLE_DISK, photos, cache).communicate(timeout=100)[0])
    assert not mapped
    assert "are kept in memory only" in line
    assert "(File too large)" in line
    assert [path.name for path in cache.glob("*/*")] == [".lock"]
    assert load_data(photos, size_px=64).digest == digest


def test_without_a_cache_the_memory_must_do(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("convscope.data.pixels.memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match="cannot be written. Expected room in the cache, or at most half of"):
        load_data(photos)


def test_what_was_used_longest_ago_is_evicted(photos: Path, cache: Path, decoded: Decoded) -> None:
    for size_px in (16, 24, 32):
        load_data(photos, size_px=size_px)
    load_data(photos, size_px=16)  # used again
    in_use = next(cache.glob("*/3x32x32*.json"))
    prepared.evict(12 * 3 * (16**2 + 32**2), in_use)
    assert sorted(path.name[:7] for path in cache.glob("*/*.u8")) == ["3x16x16", "3x32x32"]
    prepared.evict(0, in_use)
    assert [path.name[:7] for path in cache.glob("*/*.u8")] == ["3x32x32"]
    decoded.clear()
    load_data(photos, size_px=32)
    assert decoded == []


def test_two_threads_at_once_decode_once(photos: Path, cache: Path, decoded: Decoded) -> None:
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(load_data(photos, size_px=32).digest))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(digests)) == 1
    assert len(digests) == 3
    assert len(decoded) == 12


COUNTING = """
import sys, time
from pathlib import Path
from convscope.data import load_data, pictures
decode, names = pictures.decode, []
def counting(path, *arguments, **options):
    names.append(path)
    time.sleep(0.05)
    return decode(path, *arguments, **options)
pictures.decode = counting
data = load_data(Path(sys.argv[1]), size_px=32)
print(len(names), data.digest)
"""


def test_two_processes_at_once_decode_once(photos: Path, cache: Path) -> None:
    processes = [started(COUNTING, photos, cache) for _ in range(2)]
    answers = [process.communicate(timeout=100)[0].split() for process in processes]
    assert sorted(int(count) for count, _ in answers) == [0, 12]
    assert len({digest for _, digest in answers}) == 1


@pytest.mark.slow
def test_training_decodes_once_and_a_second_run_never(
    photos: Path, cache: Path, decoded: Decoded, tmp_path: Path
) -> None:
    from convscope import train

    net = "conv(4, 3), relu, globalpool, dense(classes)"
    for name in ("first", "second"):
        train(photos, net=net, epochs=3, batch_size=4, size_px=32, out=tmp_path / name)
        assert len(decoded) == 12
    results = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert results[0] == results[1]


def test_a_line_about_reading_has_numbers_for_a_bar() -> None:
    line = Reading.of("photos", 10, 40, 100)
    assert isinstance(line, Transfer)
    assert line == "10 of 40 pictures from photos"
    assert (line.file_name, line.received_bytes, line.total_bytes) == ("photos", 1000, 4000)


def test_reading_is_told_while_it_goes_on(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.data.pixels.REPORT_EVERY_S", 0.0)
    lines: list[str] = []
    load_data(photos, size_px=32, progress=lines.append)
    bar = [line for line in lines if isinstance(line, Transfer)]
    assert [line.received_bytes for line in bar] == [count * 3 * 32 * 32 for count in range(1, 13)]


def test_read_once_or_looked_at_first_it_is_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of files that were read once is what looking first and decoding then keeps, the damaged included."""
    Image.new("L", (50, 20), 7).save(photos / "train/cat/gray.png")
    whole = (photos / "train/cat/0.jpg").read_bytes()
    (photos / "train/cat/half.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "train/dog/copy.jpg").write_bytes(whole)
    (photos / "train/dog/text.jpg").write_text("no picture")
    (photos / "val/dog/empty.jpg").touch()
    settle(photos)
    kept = []
    for way in ("once", "twice"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / way))
        with monkeypatch.context() as patch:
            if way == "once":
                patch.setattr("convscope.data.looking.content_of", lambda *_: pytest.fail("read again"))
            else:
                patch.setattr("convscope.data.folder.read_once", lambda *_: None)
            data = load_data(photos, size_px=32)
        shelf = prepared.Shelf.of(photos)
        kept.append((shelf.remembered(), shelf.open(data.preprocessing), data))
    (files, once, first), (same, twice, second) = kept
    assert len(files) == 17
    assert files == same
    assert once.failures == twice.failures
    assert len(once.failures) == 1
    assert first.digest == second.digest
    assert first.notes == second.notes
    assert first.skipped == second.skipped


@pytest.mark.parametrize("many", [1, 200])
def test_what_is_computed_from_all_pixels_is_computed_as_they_come(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr("convscope.data.pixels.MANY", many)
    with monkeypatch.context() as patch:
        patch.setattr("convscope.data.folder._facts", lambda *_: pytest.fail("all pixels were read again"))
        data = load_data(photos, size_px=32)
    facts = prepared.Shelf.of(photos).open(data.preprocessing).facts  # type: ignore[union-attr]
    assert facts == _facts(dataclasses.replace(data, known_digest=None), _arrangement(data))
    assert (data.preprocessing.mean, data.preprocessing.std) == mean_and_std(data.train.images)


def test_pictures_that_cannot_be_read_are_not_counted(photos: Path, cache: Path) -> None:
    """Then the digest that was begun for all files is thrown away."""
    whole = (photos / "train/cat/0.jpg").read_bytes()
    (photos / "train/cat/0.jpg").write_bytes(whole[: len(whole) // 2])
    data = load_data(photos, size_px=32)
    assert len(data.train) == 7
    assert data.digest == dataclasses.replace(data, known_digest=None).digest
    assert (data.preprocessing.mean, data.preprocessing.std) == mean_and_std(data.train.images)


def test_items_come_out_in_order_and_few_are_ahead() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return -item

    threads = min(16, os.cpu_count() or 1)
    results = in_order(work, range(1000))
    assert next(results) == 0
    assert len(begun) <= AT_ONCE * (AHEAD * threads + 1)
    assert list(results) == [-item for item in range(1, 1000)]
    assert sorted(begun) == list(range(1000))
    assert list(in_order(work, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, range(9)))


@pytest.mark.parametrize("first", ["L", "RGB"])
def test_the_first_files_do_not_decide_what_a_later_one_may(tmp_path: Path, cache: Path, first: str) -> None:
    """Gray and small pictures first: a colourful or large one at the end counts as before."""
    for number in range(40):
        for label in ("cat", "dog"):
            path = tmp_path / "photos" / label / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(first, (20, 20), number).save(path)
    assert load_data(tmp_path / "photos").input_shape == ({"L": 1, "RGB": 3}[first], 20, 20)
    Image.new("RGB", (30, 20), (9, 8, 7)).save(tmp_path / "photos" / "dog" / "zz.png")
    assert load_data(tmp_path / "photos").input_shape == (3, 64, 64)
