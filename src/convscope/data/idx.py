"""The IDX format of MNIST: a big-endian header (magic, sizes), then bytes.

Source: http://yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE MNIST DATABASE".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from convscope.data.array_types import Bytes
from convscope.data.image_data import Split
from convscope.errors import DataError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def parse(content: Bytes, name: str = "file") -> Bytes:
    """The array in an IDX file of unsigned bytes; a view, nothing is copied.

    Raises:
        DataError: another format, or fewer or more bytes than the header says.

    >>> parse(np.array([0, 0, 8, 1, 0, 0, 0, 2, 7, 9], dtype=np.uint8)).tolist()
    [7, 9]
    """
    if len(content) < 4 or content[:3].tolist() != [0, 0, 8] or not 1 <= content[3] <= 4:
        raise DataError(
            f"{name} does not start like IDX", "two zeros, 8 (unsigned bytes) and 1 to 4 dimensions"
        )
    start = 4 + 4 * int(content[3])
    if len(content) < start:
        raise DataError(f"{name} ends within its header", "a whole IDX file", "Copy it again")
    shape = tuple(int(size) for size in content[4:start].view(">u4"))
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{name} with {len(content) - start} bytes of data", f"{math.prod(shape)} as its header says"
        )
    return content[start:].reshape(shape)


def serialise(array: Bytes) -> bytes:
    """The IDX file of an array of unsigned bytes.

    >>> parse(np.frombuffer(serialise(np.eye(2, dtype=np.uint8)), np.uint8)).tolist()
    [[1, 0], [0, 1]]
    """
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + np.ascontiguousarray(array).tobytes()


def read_splits(files: Mapping[str, Bytes]) -> tuple[Split, Split]:
    """Training and test split of the four files with MNIST's names."""
    return _split(files, TRAIN_IMAGES, TRAIN_LABELS), _split(files, TEST_IMAGES, TEST_LABELS)


def _split(files: Mapping[str, Bytes], images: str, labels: str) -> Split:
    pixels = parse(files[images], images)  # (N, H, W)
    return Split(pixels[:, None], parse(files[labels], labels).astype(np.int64))
