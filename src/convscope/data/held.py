"""Data files at hand: where they may lie, which are there, and reading them if they are the right ones."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from convscope.data.array_types import Bytes
from convscope.data.data_set import DataFile, DataSet, Download
from convscope.errors import DataError

ENVIRONMENT = "CONVSCOPE_DATA"


@dataclass(frozen=True)
class Place:
    """A folder that may hold a data set's files.

    Args:
        folder: the folder itself.
        kind: what to call it in a sentence.
        is_ours: convscope wrote it, so a broken file in it may be renamed.
    """

    folder: Path
    kind: str
    is_ours: bool = False


@dataclass(frozen=True)
class Held:
    """A data set whose files are all at `place`: `paths` holds one a file, or the one archive."""

    data_set: DataSet
    place: Place
    paths: tuple[Path, ...]

    def read(self) -> dict[str, Bytes]:
        """The unpacked files by name, each checked against its pinned SHA-256.

        Raises:
            DataError: a file is not the one that was published, or cannot be read.
        """
        try:
            if _is_archive(self.paths[0]):
                return _read_archive(self.paths[0], self.data_set, self.place)
            return {
                file.name: _read_file(path, file, self.data_set, self.place)
                for file, path in zip(self.data_set.files, self.paths, strict=True)
            }
        except OSError as error:
            raise DataError(
                f"cannot read the files of {self.data_set.name} in {self.place.folder}: {error}"
            ) from error


def places(data_set: DataSet, data_dir: str | os.PathLike[str] | None = None) -> Iterator[Place]:
    """Where the files may lie, in the order they are looked for.

    Raises:
        DataError: `data_dir` (or the folder CONVSCOPE_DATA names) does not exist.
    """
    if data_set.bundled:
        yield Place(Path(__file__).parent / "bundled" / data_set.name, "convscope itself")
        return
    root = data_root(data_dir)
    if root is not None:
        for folder in data_set.folders:
            yield Place(root / folder, f"the data folder {root}")
    yield Place(cache_folder(data_set), "the user cache", is_ours=True)
    for system_folder in data_set.system_folders:
        yield Place(Path(system_folder), "a system package")


def data_root(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The folder of data sets the user named: the argument, else the environment variable CONVSCOPE_DATA."""
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT)
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        source = "data folder" if data_dir is not None else f"{ENVIRONMENT}, the data folder,"
        raise DataError(
            f"{source} {root} does not exist",
            "a folder that holds mnist/, fashion-mnist/, cifar10/ …",
            "Check the path",
        )
    return root


def cache_folder(data_set: DataSet) -> Path:
    """Where downloads of this data set go."""
    return platformdirs.user_cache_path("convscope", appauthor=False) / data_set.name


def find(data_set: DataSet, data_dir: str | os.PathLike[str] | None = None) -> Held | None:
    """The first place that holds every file of the data set; nothing is read yet."""
    return next((held for place in places(data_set, data_dir) if (held := look(data_set, place))), None)


def look(data_set: DataSet, place: Place) -> Held | None:
    """The data set in this one place, or None."""
    paths = [_path_of(file, place.folder) for file in data_set.files]
    present = tuple(path for path in paths if path is not None)
    if len(present) == len(paths):
        return Held(data_set, place, present)
    archives = [
        place.folder / download.name for download in data_set.downloads if _is_archive(Path(download.name))
    ]
    return next((Held(data_set, place, (path,)) for path in archives if _is_file(path)), None)


def file_digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def set_aside(path: Path, digest: str) -> Path:
    """Rename a wrong file of ours to `*.wrong-<first 8 of its hash>`, so that it is neither used nor lost."""
    aside = path.with_name(f"{path.name.removesuffix('.part')}.wrong-{digest[:8]}")
    path.replace(aside)
    return aside


def _sha256(content: Bytes) -> str:
    return hashlib.sha256(content.data).hexdigest()


def _is_archive(path: Path) -> bool:
    return path.name.endswith(".tar.gz")


def _path_of(file: DataFile, folder: Path) -> Path | None:
    """The file as it is, packed, or under the name that unpacking MNIST's .gz with its stored name gives."""
    unpacked_name = file.name.replace("-idx", ".idx")
    names = (f"{file.name}.gz", file.name, unpacked_name)
    return next((folder / name for name in names if _is_file(folder / name)), None)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; no, where we may not look (another user's cache)."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_file(path: Path, file: DataFile, data_set: DataSet, place: Place) -> Bytes:
    is_packed = path.name.endswith(".gz")
    try:
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            content = _read_exactly(stream, file.size_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        content = None
    if content is not None and _sha256(content) == file.sha256:
        return content
    served = next((download for download in data_set.downloads if download.name == path.name), None)
    raise _refuse(
        path, served or Download(file.name, file.size_bytes, f"sha256:{file.sha256}"), data_set, place
    )


def _read_exactly(stream: IO[bytes] | gzip.GzipFile, size_bytes: int) -> Bytes | None:
    """The whole stream if it has that many bytes, else None; reads no more, whatever it unpacks to."""
    content = np.empty(size_bytes, dtype=np.uint8)
    view, filled = content.data, 0
    while filled < size_bytes and (count := stream.readinto(view[filled:])):  # type: ignore[union-attr]
        filled += count
    return content if filled == size_bytes and not stream.read(1) else None


def _read_archive(path: Path, data_set: DataSet, place: Place) -> dict[str, Bytes]:
    wanted = {file.name: file for file in data_set.files}
    found: dict[str, Bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = wanted.get(Path(member.name).name)
                stream = archive.extractfile(member) if file and member.isfile() else None
                content = _read_exactly(stream, file.size_bytes) if file and stream else None
                if file and content is not None and _sha256(content) == file.sha256:
                    found[file.name] = content
    except (EOFError, zlib.error, tarfile.TarError):
        found.clear()
    if len(found) < len(wanted):
        raise _refuse(path, data_set.downloads[0], data_set, place)
    return found


def _refuse(path: Path, expected: Download, data_set: DataSet, place: Place) -> DataError:
    """What to tell about a wrong file; one in our own cache is set aside, any other is left as it is."""
    received = file_digest(path, expected.algorithm)
    fix = f"{path.name} was left as it is; replace it, or move it away and run again to get a fresh one"
    if place.is_ours:
        fix = f"It was kept aside as {set_aside(path, received).name}; run again to download a fresh one"
    algorithm = "SHA-256" if expected.algorithm == "sha256" else "MD5"
    return DataError(
        f"{path} is damaged, or not the file of {data_set.name}: its {algorithm} is {received}",
        f"{algorithm} {expected.hexdigest}",
        fix,
    )
