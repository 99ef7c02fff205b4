"""load_data: which source is meant, where files come from, what is said about it."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convscope.data import datasets, idx, load_data
from convscope.data.held import file_digest
from convscope.data.sets import ALL, BY_NAME
from convscope.data.statistics import mean_and_std
from convscope.errors import DataError

MNIST_FILES = [file.name for file in BY_NAME["mnist"].files]


def test_mnist_is_the_published_one(real_data: Path) -> None:
    data = load_data("mnist", data_dir=real_data, offline=True)
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(data.train.labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert data.test is not None
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.images.flags.writeable  # torch warns about arrays that are not


def test_fashion_mnist_is_the_published_one(real_data: Path) -> None:
    data = load_data("fashion-mnist", data_dir=real_data, offline=True)
    assert data.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "mnist-10k"])
def test_what_is_written_beforehand_is_true(name: str, real_data: Path) -> None:
    data_set, data = BY_NAME[name], load_data(name, data_dir=real_data, offline=True)
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (data_set.num_train, data_set.num_test)
    assert data.input_shape == data_set.input_shape
    assert mean_and_std(data.train.images) == (data_set.mean, data_set.std)


def test_downloads_are_pinned_by_the_real_files(real_data: Path) -> None:
    for name in ("mnist", "fashion-mnist"):
        for download in BY_NAME[name].downloads:
            path = real_data / name / download.name
            assert path.stat().st_size == download.size_bytes
            assert file_digest(path, download.algorithm) == download.hexdigest


@pytest.mark.slow
def test_cifar10_loose_batches_and_archive(cifar_folder: Path, tmp_path: Path) -> None:
    data = load_data("cifar10", data_dir=cifar_folder, offline=True)
    assert data.train.images.shape == (50_000, 3, 32, 32)
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert mean_and_std(data.train.images) == (BY_NAME["cifar10"].mean, BY_NAME["cifar10"].std)
    archive = shutil.make_archive(
        str(tmp_path / "cifar-10-binary"), "gztar", cifar_folder / "cifar10", "cifar-10-batches-bin"
    )
    assert Path(archive).name == "cifar-10-binary.tar.gz"
    assert load_data("cifar10", data_dir=tmp_path, offline=True).digest == data.digest


@pytest.mark.slow
def test_a_wrong_cifar10_batch_is_refused(cifar_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar_folder, tmp_path, dirs_exist_ok=True)
    batch = tmp_path / "cifar10" / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(b"\1" + batch.read_bytes()[1:])
    with pytest.raises(
        DataError, match=r"data_batch_3.bin is damaged, or not the file of cifar10: its SHA-256"
    ):
        load_data("cifar10", data_dir=tmp_path, offline=True)


def test_a_damaged_archive_is_refused(tmp_path: Path, nothing_at_hand: Path) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"its MD5 is \w+. Expected MD5 c32a1d4ab5d03f1284b67883e8d87530"):
        load_data("cifar10", data_dir=tmp_path, offline=True)
    assert archive.read_bytes() == b"not an archive"


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw"])
def test_unpacked_files_and_torchvisions_layout(real_data: Path, tmp_path: Path, layout: str) -> None:
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    for name in MNIST_FILES:
        (folder / name).write_bytes(gzip.decompress((real_data / "mnist" / f"{name}.gz").read_bytes()))
    unpacked = load_data("mnist", data_dir=tmp_path, offline=True)
    assert unpacked.digest == load_data("mnist", data_dir=real_data, offline=True).digest


def test_a_system_package_packed_differently(
    real_data: Path, tmp_path: Path, nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian packs the files again, so that only what is inside them is the published one."""
    for path in (real_data / "fashion-mnist").glob("*.gz"):
        packed = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=0)
        (tmp_path / path.name).write_bytes(packed)
    elsewhere = replace(BY_NAME["fashion-mnist"], system_folders=(str(tmp_path),))
    monkeypatch.setitem(BY_NAME, "fashion-mnist", elsewhere)
    data = load_data("fashion-mnist", offline=True)
    assert data.origin.endswith("files from a system package")


def write_false_mnist(folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True)
    files = {f"{name}.gz": gzip.compress(b"not MNIST") for name in MNIST_FILES}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


@pytest.mark.parametrize("source", ["mnist", None])
def test_a_wrong_file_is_refused_and_left_alone(source: str | None, tmp_path: Path) -> None:
    files = write_false_mnist(tmp_path / "mnist")
    with pytest.raises(DataError) as caught:
        load_data(source, data_dir=tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    message = str(caught.value)
    assert f"its SHA-256 is {file_digest(path, 'sha256')}" in message
    assert "Expected SHA-256 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609" in message
    assert "was left as it is" in message
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == files


def test_a_wrong_file_in_the_cache_is_kept_aside(nothing_at_hand: Path) -> None:
    write_false_mnist(nothing_at_hand / "mnist")
    digest = file_digest(nothing_at_hand / "mnist" / "train-images-idx3-ubyte.gz", "sha256")
    aside = f"train-images-idx3-ubyte.gz.wrong-{digest[:8]}"
    with pytest.raises(DataError, match=f"kept aside as {aside}; run again"):
        load_data("mnist", offline=True)
    assert gzip.decompress((nothing_at_hand / "mnist" / aside).read_bytes()) == b"not MNIST"


def test_a_truncated_pack_and_a_bomb_are_refused(real_data: Path, tmp_path: Path) -> None:
    shutil.copytree(real_data / "mnist", tmp_path / "mnist", copy_function=shutil.copyfile)
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    for content in (labels.read_bytes()[:1000], gzip.compress(bytes(10**8))):
        labels.write_bytes(content)
        with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz is damaged"):
            load_data("mnist", data_dir=tmp_path)


def test_without_mnist_the_bundled_digits_are_used_and_named(nothing_at_hand: Path) -> None:
    lines: list[str] = []
    data = load_data(None, offline=True, progress=lines.append)
    assert data.name == "mnist-10k"
    assert data.notes[0].startswith(
        "Using mnist-10k, which ships with convscope, because mnist is not at hand"
    )
    assert lines == []
    assert "files from convscope itself" in data.origin


def test_with_mnist_at_hand_it_is_used(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_DATA", str(real_data))
    data = load_data()
    assert data.name == "mnist"
    assert data.origin.endswith(f"files from the data folder {real_data}")


def test_offline_says_what_is_missing_and_what_to_do(nothing_at_hand: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_data("mnist", offline=True)
    assert "mnist is not at hand, and offline tries no download" in str(caught.value)
    assert "--data-dir FOLDER, or use mnist-10k" in str(caught.value)


def test_names_folders_and_what_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_at_hand: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.zip").touch()
    for source, message in [
        (
            "mnits",
            "unknown data set 'mnits', and no folder or file of that name here. Expected mnist, mnist-10k,",
        ),
        ("mnits", "Did you mean 'mnist'?"),
        ("FASHION_MNIST", "Did you mean 'fashion-mnist'?"),
        ("qqqqqq", "`convscope data list` shows them all"),
        ("", "unknown data set ''"),
        ("x" * 5000, "unknown data set"),
        (
            "photos/none",
            "photos/none does not exist. Expected a folder of class folders, or a file: a zip or tar archive",
        ),
        (Path("mnist"), "mnist does not exist"),
        ("file.zip", "cannot read file.zip: the file is empty"),
    ]:
        with pytest.raises(DataError) as caught:
            load_data(source)
        assert message in str(caught.value)


def test_a_missing_data_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"data folder .*nowhere does not exist"):
        load_data("mnist", data_dir=tmp_path / "nowhere")
    monkeypatch.setenv("CONVSCOPE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"CONVSCOPE_DATA, the data folder, .*nowhere does not exist"):
        load_data()


def test_a_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist-10k").mkdir()
    data = load_data("mnist-10k")
    assert "the folder of that name here is ./mnist-10k." in data.notes[-1]
    with pytest.raises(DataError, match="no class folder"):
        load_data("./mnist-10k")


def test_image_data_passes_through_and_changes_size() -> None:
    data = load_data("mnist-10k")
    assert load_data(data) is data
    small = load_data(data, size_px=14, channels=3)
    assert small.input_shape == (3, 14, 14)
    assert small.train.images.shape == (9000, 3, 14, 14)
    assert mean_and_std(small.train.images) == (small.preprocessing.mean, small.preprocessing.std)
    for size in (0, -1, 10**6, (28,), 1.5, "28"):
        with pytest.raises(DataError, match="size_px"):
            load_data(data, size_px=size)  # type: ignore[arg-type]


def test_data_sets_are_listed(nothing_at_hand: Path) -> None:
    rows = {row["name"]: row for row in datasets()}
    assert list(rows) == [data_set.name for data_set in ALL]
    assert (rows["mnist-10k"]["at_hand"], rows["mnist"]["at_hand"], rows["mnist"]["where"]) == (
        True,
        False,
        None,
    )
    assert (rows["cifar10"]["train"], rows["cifar10"]["input_shape"]) == (50_000, (3, 32, 32))


def test_idx_that_lies_is_refused() -> None:
    for content, message in [
        (b"\0\0\x0d\1\0\0\0\1\0", "does not start like IDX"),
        (b"", "does not start like IDX"),
        (b"\0\0\x08\1\0\0\0\5\0", "1 bytes of data. Expected 5"),
    ]:
        with pytest.raises(DataError) as caught:
            idx.parse(np.frombuffer(content, np.uint8))
        assert message in str(caught.value)


def test_a_cache_of_someone_else_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the home folder may not be looked into, nothing is at hand there; what is built in still is."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not any(row["at_hand"] for row in datasets(data_dir=tmp_path))


def test_data_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match=r"data of type tuple.*convscope.from_arrays\(images, labels\)"):
        load_data((np.zeros((2, 8, 8)), [0, 1]))  # type: ignore[arg-type]
