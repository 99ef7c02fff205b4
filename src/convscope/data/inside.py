"""Files and folders that lie inside another file: they answer as `Path` does to those who read pictures.

`Blob` is the bytes they are in, at hand at any place; `Inside` is one file or folder of the tree they make.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Literal, cast

import platformdirs

from convscope.errors import DataError

MAX_DEPTH = 64
MAX_NAME_LENGTH = 4096
_KEPT_FREE_BYTES = 200 * 2**20
_LOOKED_AT_EVERY_BYTES = 64 * 2**20

Open = Callable[[], BinaryIO]


class Blob:
    """A file whose bytes are read at any place, from many threads; closed when nobody needs it any more.

    Args:
        stream: an open file.
        status: the size and times of the file that the bytes are from.
    """

    def __init__(self, stream: IO[bytes], status: os.stat_result) -> None:
        self._stream, self.status = stream, status
        self._lock = threading.Lock()
        self.size_bytes = stream.seek(0, os.SEEK_END)
        weakref.finalize(self, stream.close)

    @classmethod
    def of(cls, path: Path) -> Blob:
        """The bytes of a file on the disk. Raises OSError."""
        stream = path.open("rb")
        return cls(stream, os.fstat(stream.fileno()))

    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start` on."""
        with self._lock:
            self._stream.seek(start)
            return self._stream.read(size)

    def window(self, start: int = 0, size: int | None = None) -> BinaryIO:
        """A part of it as a file of its own."""
        whole = self.size_bytes - start if size is None else size
        return cast(BinaryIO, io.BufferedReader(_Window(self, start, whole), 2**16))


class _Window(io.RawIOBase):
    """A part of a blob."""

    def __init__(self, blob: Blob, start: int, size: int) -> None:
        self._blob, self._start, self._size, self._position = blob, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        content = self._blob.read(self._start + self._position, wanted) if wanted else b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def spooled(pieces: Iterable[bytes], status: os.stat_result) -> Blob:
    """Bytes that cannot be read at any place, written to a nameless file of ours that goes when it is closed.

    Raises:
        DataError: there is no room for them.
    """
    folder = _room()
    spool = cast(IO[bytes], tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the blob closes it
    written = looked_at = 0
    try:
        for piece in pieces:
            written += len(piece)
            if written >= looked_at:
                looked_at = written + _LOOKED_AT_EVERY_BYTES
                if shutil.disk_usage(folder).free < _KEPT_FREE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            spool.write(piece)
        spool.flush()
    except OSError as error:
        spool.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DataError(
            f"unpacking takes more than {written / 2**20:,.0f} MiB, and {folder} has no room ({error.strerror})",
            "room in the cache for the unpacked data",
            "Make room there, or set XDG_CACHE_HOME to a folder with more",
        ) from error
    except BaseException:
        spool.close()
        raise
    return Blob(spool, status)


def _room() -> Path:
    """The folder for files without a name: the user's cache, else the system's place for such."""
    folder = platformdirs.user_cache_path("convscope", appauthor=False)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.gettempdir())


class Inside:
    """A file or folder inside another file.

    Args:
        origin: what it is in, as people name it.
        key: its path there, with slashes; empty for all of it.
        status: size and times of what it is in.
        size_bytes: of this file; None for a folder, and for what does not exist.
        opening: gives the bytes of this file; None likewise.
        exists: a name that was only asked for does not.
    """

    __slots__ = ("children", "exists", "key", "opening", "origin", "parts", "size_bytes", "status")

    def __init__(
        self,
        origin: str,
        key: str,
        status: os.stat_result,
        size_bytes: int | None = None,
        opening: Open | None = None,
        exists: bool = True,
    ) -> None:
        self.origin, self.key, self.status = origin, key, status
        self.size_bytes, self.opening, self.exists = size_bytes, opening, exists
        self.parts = tuple(key.split("/")) if key else ()
        self.children: dict[str, Inside] = {}

    @property
    def name(self) -> str:
        return self.parts[-1] if self.parts else PurePosixPath(self.origin).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def stat(self) -> os.stat_result:
        """The times are those of the file it is in: when that changes, everything in it may have."""
        if not self.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        kind = stat.S_IFREG if self.opening else stat.S_IFDIR
        times = {"st_mtime_ns": self.status.st_mtime_ns, "st_ctime_ns": self.status.st_ctime_ns}
        return os.stat_result((kind | 0o444, 0, 0, 1, 0, 0, self.size_bytes or 0, 0, 0, 0), times)

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:
        if self.opening is None:
            self.stat()
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self))
        return self.opening()

    def is_dir(self) -> bool:
        return self.exists and self.opening is None

    def is_file(self) -> bool:
        return self.opening is not None

    def is_symlink(self) -> bool:
        return False  # links are left out when the archive is opened

    def iterdir(self) -> Iterator[Inside]:
        return iter(self.children.values())

    def __truediv__(self, name: str) -> Inside:
        found = self
        for part in name.split("/"):
            if part in ("", "."):
                continue
            if part not in found.children:
                key = "/".join((*self.parts, *(each for each in name.split("/") if each)))
                return Inside(self.origin, key, self.status, exists=False)
            found = found.children[part]
        return found

    def __lt__(self, other: Inside) -> bool:
        return self.parts < other.parts

    def __str__(self) -> str:
        return f"{self.origin}/{self.key}" if self.key else self.origin

    def __repr__(self) -> str:
        return f"<{self}>"

    def add(self, name: str, size_bytes: int, opening: Open) -> str:
        """Put a file in its folder, making the folders that are missing.

        Returns:
            Why it cannot be there; empty where it is.
        """
        parts, why = parts_of(name)
        if why:
            return why
        folder = self
        for depth, part in enumerate(parts[:-1], start=1):
            key = "/".join(parts[:depth])
            folder = folder.children.setdefault(part, Inside(self.origin, key, self.status))
            if folder.opening:
                return f"its name makes a folder of the file {key}"
        there = folder.children.get(parts[-1])
        if there is not None and there.opening is None:
            return "a folder has the same name"
        folder.children[parts[-1]] = Inside(self.origin, "/".join(parts), self.status, size_bytes, opening)
        return "an earlier file of the same name" if there else ""


def parts_of(name: str) -> tuple[tuple[str, ...], str]:
    r"""The parts of a path inside an archive or a table, and why it may not be followed; empty where it may.

    >>> parts_of("photos/./cat\\1.jpg")
    (('photos', 'cat', '1.jpg'), '')
    >>> parts_of("../secret.jpg")[1]
    'its name leads out of it (..)'
    """
    slashed = name.replace("\\", "/")
    parts = tuple(part for part in slashed.split("/") if part not in ("", "."))
    if slashed.startswith("/") or (parts and len(parts[0]) == 2 and parts[0].endswith(":")):
        return (), "its name begins at the root of a disk"
    if ".." in parts:
        return (), "its name leads out of it (..)"
    if not parts or "\0" in name or len(name) > MAX_NAME_LENGTH or len(parts) > MAX_DEPTH:
        return (), "its name cannot be that of a file"
    return parts, ""
