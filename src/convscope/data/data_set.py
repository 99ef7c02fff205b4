"""DataSet: what is known beforehand about a public data set. Each one is a small file in `sets/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from convscope.data.array_types import Bytes
from convscope.data.image_data import Split
from convscope.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class DataFile:
    """A file as it is after unpacking, which is what decides whether the data are right.

    Args:
        name: its official name; it may lie on the disk as it is, with `.gz`, or inside the set's archive.
        size_bytes: unpacked.
        sha256: of the unpacked bytes.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Download:
    """A file as the mirrors serve it.

    Args:
        name: the last part of the address.
        size_bytes: as served; 0 where nobody publishes it, and the mirror says.
        digest: `sha256:…` or the start of it, or `md5:…` where nobody publishes more (what it unpacks to is pinned in
            any case).
    """

    name: str
    size_bytes: int
    digest: str

    @property
    def algorithm(self) -> str:
        return self.digest.partition(":")[0]

    @property
    def hexdigest(self) -> str:
        return self.digest.partition(":")[2]


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: what the user types.
        description: one line for `data list`.
        class_names: in label order.
        input_shape: (C, H, W).
        num_train: training images.
        num_test: test images.
        mean: of the training split's pixels / 255, one number a channel.
        std: likewise.
        files: the unpacked files.
        downloads: what to fetch for them.
        mirrors: addresses that end in `/`, tried in this order.
        read: turns the unpacked files, by name, into the training and the test split.
        folders: where the files may lie inside a data folder.
        system_folders: where a system package puts them.
        bundled: the files ship inside this package.
        note: a sentence the user should see.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    num_train: int
    num_test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: tuple[DataFile, ...]
    read: Callable[[Mapping[str, Bytes]], tuple[Split, Split]]
    downloads: tuple[Download, ...] = ()
    mirrors: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    system_folders: tuple[str, ...] = ()
    bundled: bool = False
    note: str = ""

    @property
    def preprocessing(self) -> Preprocessing:
        channels, height, width = self.input_shape
        return Preprocessing((height, width), channels, mean=self.mean, std=self.std)
