"""Images that lie in a file: the same answers as arrays in memory, and no memory of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope.data import ImageData, Preprocessing, Split, picture_kernels
from convscope.data.batches import Batches, Chooser, Scaler, chosen
from convscope.data.image_data import COPIED_BYTES
from convscope.data.mapped import Rows, TensorRows, as_tensor, is_mapped, open_map
from convscope.data.statistics import Moments, mean_and_std

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is here")


@pytest.fixture
def images(tmp_path: Path) -> np.ndarray:
    """Forty small images in a file."""
    path = tmp_path / "images.u8"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 40 * 3 * 5 * 4, dtype=np.uint8).tobytes())
    return open_map(path, (40, 3, 5, 4))


def test_what_is_written_to_a_map_stays_in_the_process(images: np.ndarray, tmp_path: Path) -> None:
    before = (tmp_path / "images.u8").read_bytes()
    images[:] = 0
    assert (tmp_path / "images.u8").read_bytes() == before


def test_a_part_of_a_map_is_known_as_one(images: np.ndarray) -> None:
    assert is_mapped(images)
    assert is_mapped(images[3:].reshape(-1))
    assert is_mapped(Rows(images, np.array([1])))
    assert not is_mapped(images.copy())
    assert not is_mapped(images[np.array([1, 2])])


@given(st.lists(st.integers(0, 39), min_size=1, max_size=60), st.data())
def test_rows_answer_as_the_array_would(order: list[int], data: st.DataObject) -> None:
    array = np.arange(40 * 6, dtype=np.uint8).reshape(40, 1, 2, 3)
    rows, plain = Rows(array, np.array(order)), array[order]
    index = data.draw(
        st.lists(st.integers(0, len(order) - 1), max_size=9).map(lambda i: np.array(i, np.int64))
    )
    start, stop = sorted((data.draw(st.integers(0, len(order))), data.draw(st.integers(0, len(order)))))
    assert (len(rows), rows.shape, rows.ndim, rows.dtype, rows.nbytes) == (
        len(plain),
        plain.shape,
        plain.ndim,
        plain.dtype,
        plain.nbytes,
    )
    np.testing.assert_array_equal(rows[index], plain[index])
    np.testing.assert_array_equal(rows[start:stop], plain[start:stop])
    np.testing.assert_array_equal(rows.take(index)[:], plain[index])
    np.testing.assert_array_equal(np.asarray(rows), plain)
    tensor = as_tensor(rows)
    assert isinstance(tensor, TensorRows)
    assert (len(tensor), tensor.nbytes, tensor.device.type) == (len(plain), plain.nbytes, "cpu")
    assert torch.equal(chosen(tensor, torch.from_numpy(index)), torch.from_numpy(plain[index]))
    assert torch.equal(tensor[start:stop], torch.from_numpy(plain[start:stop]))
    assert torch.equal(tensor[torch.from_numpy(index)], torch.from_numpy(plain[index]))
    assert tensor.to("cpu") is tensor


def test_many_images_chosen_from_a_file_stay_there(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(images, np.arange(40) % 2)
    order = np.array([5, 3, 39, 3])
    assert isinstance(split.take(order).images, np.ndarray)  # few: a copy
    monkeypatch.setattr("convscope.data.image_data.COPIED_BYTES", 100)
    taken = split.take(order)
    assert isinstance(taken.images, Rows)
    assert taken.labels.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(taken.images[:], images[order])
    again = taken.take([2, 0])
    assert isinstance(again.images, Rows)
    np.testing.assert_array_equal(again.images[:], images[[39, 5]])
    in_memory = Split(images.copy(), split.labels).take(order)
    assert isinstance(in_memory.images, np.ndarray)


def test_held_out_images_have_the_digest_of_copies(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def data(array: np.ndarray) -> ImageData:
        labels = np.arange(40, dtype=np.int64) % 2
        return ImageData("x", Split(array, labels), None, None, ("a", "b"), "", Preprocessing((5, 4), 3))

    copied = data(images.copy()).hold_out(0.25, seed=1)
    monkeypatch.setattr("convscope.data.image_data.COPIED_BYTES", 100)
    viewed = data(images).hold_out(0.25, seed=1)
    assert isinstance(viewed.train.images, Rows)
    assert viewed.digest == copied.digest
    assert mean_and_std(viewed.train.images) == mean_and_std(copied.train.images)


@given(st.integers(1, 9), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 300), st.integers(0, 9))
def test_mean_and_std_are_numpys(count: int, channels: int, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    pixels[:, 0] |= seed % 2 * 255  # also one channel of white only
    mean, std = mean_and_std(pixels)
    np.testing.assert_allclose(mean, (pixels / 255).mean((0, 2, 3)), atol=6e-7)
    expected = (pixels / 255).std((0, 2, 3))
    np.testing.assert_allclose(std, np.where(expected > 1e-5, expected, 1.0), atol=6e-7)


@needs_compiler
@given(
    st.integers(1, 3), st.sampled_from([1, 3]), st.integers(1, 300), st.integers(1, 300), st.integers(0, 9)
)
def test_sums_in_cpp_are_those_of_numpy(
    count: int, channels: int, height: int, width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    pixels[:, 0] |= seed % 2 * 255
    found = []
    for library in (None, picture_kernels.load()):
        moments = Moments()
        for image in pixels[:, :, ::-1]:  # also rows that do not lie one after the other
            moments.add(image[None], library)
        found.append(moments.mean_and_std())
    assert found[0] == found[1] == mean_and_std(pixels)


@needs_compiler
def test_sums_in_cpp_do_not_overflow() -> None:
    moments = Moments()
    moments.add(np.full((1, 1, 300, 300), 255, dtype=np.uint8), picture_kernels.load())
    assert moments._sums.tolist() == [[255 * 90_000, 255**2 * 90_000]]


def test_chosen_images_are_written_over_by_the_next_call_and_by_no_other(images: np.ndarray) -> None:
    tensor = as_tensor(images)
    rows = TensorRows(tensor, torch.arange(39, -1, -1))
    for source, plain in ((tensor, tensor), (rows, tensor.flip(0))):
        choose, other = Chooser(source), Chooser(source)
        for index in ([3, 7, 0], [5], list(range(40)), [1, 1]):
            found = choose(torch.tensor(index))
            other(torch.tensor(index).flip(0))
            assert torch.equal(found, plain[index])
        first = choose(torch.tensor([4, 4]))
        choose(torch.tensor([9, 8]))
        assert torch.equal(first, plain[[9, 8]])


@given(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(0, 9))
def test_the_scaler_gives_the_bits_of_scale(count: int, channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (count, channels, 7, 9), dtype=np.uint8))
    mean, std = random.random((2, channels)).tolist()
    preprocessing = Preprocessing((7, 9), channels, mean=tuple(mean), std=tuple(std))
    scaler = Scaler(preprocessing)
    for part in (images, images[:1], images):
        assert torch.equal(scaler(part), preprocessing.scale(part))


def test_batches_in_chunks_are_the_images_asked_for(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.data.batches.NUMBERS_AT_ONCE", 130)  # two images
    preprocessing = Preprocessing((5, 4), 3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    index = torch.tensor([7, 7, 0, 39, 12])
    for source in (as_tensor(images), as_tensor(Rows(images, np.arange(40)))):
        expected = preprocessing.scale(torch.from_numpy(images)[index])
        assert torch.equal(Batches(source, preprocessing)(index), expected)


MEMORY = """
import sys
from pathlib import Path
import numpy as np, torch
from convscope.data import ImageData, Preprocessing, Split
from convscope.data.batches import Batches
from convscope.data.mapped import as_tensor, open_map
def anonymous_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))
count = int(sys.argv[2])
labels = np.arange(count, dtype=np.int64) % 2
split = Split(open_map(Path(sys.argv[1]), (count, 3, 64, 64)), labels)
data = ImageData("x", split, None, None, ("a", "b"), "", Preprocessing((64, 64), 3)).hold_out(0.3, 0)
data.digest
batches = Batches(as_tensor(data.train.images), data.preprocessing)
for index in torch.randperm(len(data.train)).split(128)[:100]:
    batches(index)
print(anonymous_mb())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Five times the images, 0.6 GB of them, cost a few MB for labels and order."""
    used_mb = []
    for count in (10_000, 50_000):
        path = tmp_path / f"{count}.u8"
        with path.open("wb") as stream:
            for number in range(count):  # no image is a copy of another, and the rest of each takes no disk
                stream.seek(number * 3 * 64 * 64)
                stream.write(number.to_bytes(4, "little"))
            stream.truncate(count * 3 * 64 * 64)
        assert count * 0.7 * 3 * 64 * 64 > COPIED_BYTES
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), str(count)], capture_output=True, text=True, check=True
        )
        used_mb.append(float(done.stdout))
    assert used_mb[1] - used_mb[0] < 25
