"""The binary version of CIFAR-10: records of one label byte and 3,072 pixel bytes (red, green, blue planes).

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convscope.data.array_types import Bytes
from convscope.data.image_data import Split

TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCH = "test_batch.bin"
RECORD_BYTES = 1 + 3 * 32 * 32


def read_splits(files: Mapping[str, Bytes]) -> tuple[Split, Split]:
    """Training (50,000) and test split (10,000) of the six official batches."""
    return _split([files[name] for name in TRAIN_BATCHES]), _split([files[TEST_BATCH]])


def _split(batches: list[Bytes]) -> Split:
    records = [batch.reshape(-1, RECORD_BYTES) for batch in batches]
    images = np.concatenate([batch[:, 1:] for batch in records]).reshape(-1, 3, 32, 32)
    return Split(images, np.concatenate([batch[:, 0] for batch in records]).astype(np.int64))
