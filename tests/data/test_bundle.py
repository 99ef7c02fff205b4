"""The bundled mnist-10k: what it is, and that the build tool makes exactly it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

import convscope.data
from convscope.data import load_data

BUNDLE = Path(convscope.data.__file__).parent / "bundled" / "mnist-10k"
TOOLS = Path(__file__).parents[2] / "tools"


def test_sizes_and_split() -> None:
    data = load_data("mnist-10k", offline=True)
    assert data.test is not None
    train, test = np.bincount(data.train.labels), np.bincount(data.test.labels)
    assert (train.sum(), test.sum()) == (9000, 1000)
    assert (np.abs(test - (train + test) / 10) <= 1).all()


def test_it_is_small_and_has_its_licence() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < 2_000_000
    licence = (BUNDLE / "LICENSE").read_text()
    assert "MIT License" in licence
    assert "Juan Cazala" in licence


def test_every_image_is_one_of_the_first_10000_of_mnist(real_data: Path) -> None:
    bundle, mnist = load_data("mnist-10k"), load_data("mnist", data_dir=real_data, offline=True)
    assert bundle.test is not None
    label_of = {
        image.tobytes(): label
        for image, label in zip(mnist.train.images[:10_000], mnist.train.labels[:10_000], strict=True)
    }
    seen = set()
    for split in (bundle.train, bundle.test):
        for image, label in zip(split.images, split.labels, strict=True):
            assert label_of[image.tobytes()] == label
            seen.add(image.tobytes())
    assert len(seen) == 10_000


def test_both_splits_are_in_mnists_order_and_every_tenth_of_a_digit_is_tested(real_data: Path) -> None:
    bundle, mnist = load_data("mnist-10k"), load_data("mnist", data_dir=real_data, offline=True)
    assert bundle.test is not None
    labels = mnist.train.labels[:10_000]
    is_test = _tool().every_tenth_of_each_digit(labels)
    assert (bundle.train.images == mnist.train.images[:10_000][~is_test]).all()
    assert (bundle.test.images == mnist.train.images[:10_000][is_test]).all()


def test_the_order_file_is_mnists(real_data: Path) -> None:
    labels = load_data("mnist", data_dir=real_data, offline=True).train.labels[:10_000]
    assert (TOOLS / "mnist_10k_order.txt").read_text().replace("\n", "") == "".join(map(str, labels))


def _tool():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("build_mnist_10k", TOOLS / "build_mnist_10k.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
