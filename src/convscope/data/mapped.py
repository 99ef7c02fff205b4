"""Arrays that lie in a file: the operating system brings pages as they are read and takes them back at need.

Memory of the process itself stays the same however many images there are, and nothing here ever writes to the file.
"""

from __future__ import annotations

import functools
import mmap
import os
import platform
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.data.array_types import Bytes, Labels

if TYPE_CHECKING:
    from torch import Tensor

_NO_RESERVE = 0x4000  # of Linux; Python 3.11 has no name for it


def open_map(path: Path, shape: tuple[int, ...]) -> Bytes:
    """A file as an array, without reading it.

    What is written to the array stays in this process: the file is safe, and torch, which knows no arrays for
    reading only, takes it without a word.

    Args:
        path: the file, of exactly as many bytes as the shape has numbers, at least one.
        shape: of the array.

    Returns:
        uint8, of that shape.

    Raises:
        OSError: no such file, or it cannot be mapped.
    """
    with path.open("rb") as stream:
        pages = mmap.mmap(stream.fileno(), 0, **_private())
    return np.frombuffer(pages, dtype=np.uint8).reshape(shape)


def _private() -> dict[str, int]:
    """How to map a file for changes that nobody else sees; on Linux without promising memory for all of them."""
    if platform.system() == "Linux":
        return {"flags": mmap.MAP_PRIVATE | _NO_RESERVE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
    return {"access": mmap.ACCESS_COPY}


@functools.cache
def memory_bytes() -> int:
    """How much memory this machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 16 * 10**9


def is_mapped(array: object) -> bool:
    """Whether an array (or what it is a part of) lies in a file."""
    if isinstance(array, Rows):
        array = array.array
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, memoryview):
        array = array.obj
    return isinstance(array, mmap.mmap)


class Rows:
    """Some images of an array, in an order of their own; pixels are copied only as they are asked for.

    It answers as an array does to `len`, `shape`, `dtype`, `nbytes` and to an index of whole images: a slice or
    positions. `np.asarray` copies all of it.

    Args:
        array: uint8 (M, C, H, W).
        rows: int64 (N,), which images of it.

    >>> some = Rows(np.arange(8, dtype=np.uint8).reshape(4, 2), np.array([3, 1]))
    >>> some.shape, some[:1].tolist(), some[np.array([1, 0])].tolist()
    ((2, 2), [[6, 7]], [[2, 3], [6, 7]])
    """

    def __init__(self, array: Bytes, rows: Labels) -> None:
        self.array, self.rows = array, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        return len(self.rows) * self.array[:1].nbytes

    def __getitem__(self, index: Any) -> Bytes:
        images: Bytes = self.array[self.rows[index]]
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.array[self.rows], dtype=dtype)

    def take(self, indices: Sequence[int] | Labels) -> Rows:
        """These of them, in this order."""
        return Rows(self.array, self.rows[indices])


class TensorRows:
    """`Rows` for torch: an index tensor or a slice gives a uint8 tensor (B, C, H, W) on the CPU."""

    def __init__(self, array: Tensor, rows: Tensor) -> None:
        self.array, self.rows = array, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    @property
    def device(self) -> Any:
        return self.array.device

    @property
    def nbytes(self) -> int:
        return len(self.rows) * self.array[:1].nbytes

    def __getitem__(self, index: Any) -> Tensor:
        return self.array.index_select(0, self.rows[index])

    def to(self, device: Any) -> Any:
        """Itself for the CPU; for any other device a tensor there, of all these images."""
        return self if str(device) == "cpu" else self[:].to(device)


def as_tensor(images: Any) -> Any:
    """Images as torch takes them, over the same memory: a tensor, or `TensorRows` for `Rows`; what torch has, stays.

    Nobody writes to them, so that an array may be for reading only does not matter.
    """
    import torch

    if isinstance(images, torch.Tensor | TensorRows):
        return images
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        if isinstance(images, Rows):
            return TensorRows(torch.from_numpy(images.array), torch.from_numpy(images.rows))
        return torch.from_numpy(images)
