"""Zip and tar archives as trees of files, of which nothing is written to the disk under a name of theirs.

Whatever an archive says of itself is checked against limits before memory or disk is taken. Members that lead out of
it, links, devices and what is encrypted are left out, each with its reason; an archive that is damaged as a whole is
refused. Source: PKWARE's APPNOTE 6.3, POSIX 1003.1 (pax); the limits are ours.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from convscope.data.hazards import MAX_FILE_BYTES
from convscope.data.inside import Blob, Inside, spooled
from convscope.data.left_out import Ignored, Skipped
from convscope.data.pictures import SUFFIXES
from convscope.errors import DataError

MAX_MEMBERS = 500_000
MAX_TOTAL_BYTES = 256 * 2**30
"""Unpacked."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one: pictures hardly pack at all."""
FREE_BYTES = 16 * 2**20
"""Up to this the ratio of one member does not matter…"""
FREE_TOTAL_BYTES = 256 * 2**20
"""…and up to this that of a whole archive."""
MAX_HEADER_BYTES = 2**20
"""Of what a tar says about one member."""
MAX_LZMA_BYTES = 256 * 2**20
"""Memory that unpacking xz may take; `xz -9` wants 65 MiB."""

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)
"""What Python's reader raises on damaged archives."""

_READ_AT_ONCE = 2**20
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_FOREIGN = {
    _ZSTD: "packed by Zstandard",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
}


@dataclass(frozen=True)
class Archive:
    """What is in an archive.

    Args:
        root: its files and folders, without one folder around all of them.
        skipped: members that a person would take for pictures and that may not be read.
        ignored: other members that may not be read.
    """

    root: Inside
    skipped: list[Skipped] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
        """Note a member that is not read."""
        what: Any = Skipped if PurePosixPath(name).suffix.lower() in SUFFIXES else Ignored
        (self.skipped if what is Skipped else self.ignored).append(what(name, reason))


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a (packed) tar by its content, or another kind of archive. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(512)
    return (
        head.startswith((*_ZIP_STARTS, _GZIP, _BZIP2, _XZ, *_FOREIGN))
        or head[257:262] == b"ustar"
        or path.suffix.lower() in (".zip", ".tar", ".tgz")
    )


def opened(path: Path) -> Archive:
    """The files in an archive.

    Raises:
        DataError: it is damaged, of a kind that is not read, or beyond the limits.
        OSError: it cannot be read.
    """
    blob = Blob.of(path)
    head = blob.read(0, 512)
    for start, what in _FOREIGN.items():
        if head.startswith(start):
            raise _refused(
                path, f"is {what}", "a zip or tar archive (tar also with gzip, bzip2 or xz)", "Pack it so"
            )
    if head.startswith(_ZIP_STARTS) or (path.suffix.lower() == ".zip" and head[257:262] != b"ustar"):
        return _opened_zip(path, blob)
    return _opened_tar(path, _unpacked(path, blob, head))


def _refused(path: Path, what: str, expected: str, fix: str) -> DataError:
    return DataError(f"{path} {what}", expected, fix)


def _damaged(path: Path, what: str) -> DataError:
    return _refused(path, f"is damaged: {what}", "a whole archive", "Copy or download it again")


def _too_much(path: Path, what: str, limit: str) -> DataError:
    return _refused(path, what, limit, "Unpack it yourself if you trust it, and name the folder")


# ---- zip ------------------------------------------------------------------------------------------------------------


def _opened_zip(path: Path, blob: Blob) -> Archive:
    _check_directory(path, blob)
    try:
        # Python's own reader, over a window that many threads may share.
        packed = zipfile.ZipFile(blob.window())
    except (*ZIP_ERRORS, struct.error) as error:
        raise _damaged(path, zip_words(error)) from error
    members = [member for member in packed.infolist() if not member.filename.endswith("/")]
    total = sum(member.file_size for member in members)
    _check_total(path, total, blob.size_bytes)
    archive = Archive(Inside(str(path), "", blob.status))
    for member in members:
        why = _why_not(member) or archive.root.add(
            member.filename, member.file_size, partial(_open_member, packed, member)
        )
        if why:
            archive.leave_out(member.filename, why)
    if members and all(member.flag_bits & 1 for member in members):
        fix = "Unpack it with its password, and name the folder"
        raise _refused(path, "is encrypted", "an archive without a password", fix)
    return _without_top(archive)


def _check_directory(path: Path, blob: Blob) -> None:
    """Count the members before Python's reader makes an object of each."""
    tail_start = max(0, blob.size_bytes - 2**16 - 22)
    tail = blob.read(tail_start, 2**16 + 22)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise _damaged(path, "the list of its members, at its end, is missing")
    size: int = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    end = tail_start + at
    if size == 0xFFFFFFFF and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        start64 = struct.unpack("<Q", tail[at - 12 : at - 4])[0]
        record = blob.read(min(start64, blob.size_bytes), 56)
        size = struct.unpack("<Q", record[40:48])[0] if len(record) == 56 else 0
        end -= 20 + 56
    position, count = end - size, 0
    while 0 <= position < end and len(entry := blob.read(position, 46)) == 46:
        if entry[:4] != b"PK\x01\x02":
            break  # not where it should be; the reader says what is wrong
        count += 1
        position += 46 + sum(struct.unpack("<HHH", entry[28:34]))
        if count > MAX_MEMBERS:
            raise _too_much(path, f"has more than {MAX_MEMBERS:,} members", f"at most {MAX_MEMBERS:,}")
    if size > 46 * MAX_MEMBERS * 4:
        raise _too_much(path, f"has a list of members of {size / 2**20:,.0f} MiB", "a smaller archive")


def _check_total(path: Path, total: int, packed: int) -> None:
    if total > MAX_TOTAL_BYTES:
        limit = f"at most {MAX_TOTAL_BYTES >> 30} GiB"
        raise _too_much(path, f"would be {total / 2**30:,.0f} GiB unpacked", limit)
    if total > FREE_TOTAL_BYTES and total > MAX_RATIO * packed:
        raise _too_much(
            path,
            f"would be {total / max(1, packed):,.0f} times as large unpacked, as if it was made to fill disks",
            f"at most {MAX_RATIO} times its size",
        )


def _why_not(member: zipfile.ZipInfo) -> str:
    """Why a member is not read; empty where it may be."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link, not followed"
    if kind not in (0, stat.S_IFREG):
        return "a device or a pipe, no file"
    if member.flag_bits & 1:
        return "encrypted"
    if member.compress_type not in _PACKINGS:
        return f"packed in a way that is not read here (number {member.compress_type})"
    return _why_too_large(member.file_size, member.compress_size)


def _why_too_large(size: int, packed: int) -> str:
    if size > MAX_FILE_BYTES:
        return f"a file of {size / 2**20:,.0f} MiB, more than {MAX_FILE_BYTES >> 20} MiB"
    if size > FREE_BYTES and size > MAX_RATIO * packed:
        return f"packed more than {MAX_RATIO} to 1, as if it was made to exhaust memory"
    return ""


def _open_member(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """A member's bytes: a small one in memory, a large one unpacked as it is read.

    Raises:
        DataError: it is damaged.
    """
    try:
        stream = packed.open(member)
        if member.file_size > FREE_BYTES:
            return cast(BinaryIO, io.BufferedReader(cast(Any, stream)))
        with stream:
            return io.BytesIO(stream.read())
    except ZIP_ERRORS as error:
        raise DataError(f"damaged in the archive: {zip_words(error)}") from error


def zip_words(error: Exception) -> str:
    """What Python's reader of zip archives found, in words."""
    text = str(error)
    for part, words in {
        "CRC": "its checksum is wrong",
        "Overlapped": "it lies over another member, as if it was made to fill disks",
        "File name in directory": "it goes by two names",
        "End-of-Central-Directory": "the list of its members is missing",
        "not a zip file": "the list of its members is missing",
        "central directory": "the list of its members is damaged",
        "file header": "its header is damaged",
        "extra field": "its header is damaged",
    }.items():
        if part.lower() in text.lower():
            return words
    return "its data cannot be unpacked"


# ---- tar ------------------------------------------------------------------------------------------------------------


def _opened_tar(path: Path, blob: Blob) -> Archive:
    archive = Archive(Inside(str(path), "", blob.status))
    for member in _tar_members(path, blob):
        if member.isdir():
            continue
        why = _why_not_in_tar(member) or archive.root.add(
            member.name, member.size, partial(blob.window, member.offset_data, member.size)
        )
        if why:
            archive.leave_out(member.name, why)
    return _without_top(archive)


def _tar_members(path: Path, blob: Blob) -> Iterator[tarfile.TarInfo]:
    """Every member up to the end of the archive. Nothing of them is kept."""
    try:
        with tarfile.open(fileobj=cast(Any, _Headers(blob.window())), mode="r:") as tar:
            count = 0
            while (member := tar.next()) is not None:
                cast(Any, tar).members = []  # it would remember every one
                count += 1
                if count > MAX_MEMBERS:
                    raise _too_much(
                        path, f"has more than {MAX_MEMBERS:,} members", f"at most {MAX_MEMBERS:,}"
                    )
                if member.isreg() and member.offset_data + member.size > blob.size_bytes:
                    raise _damaged(path, "it ends too early")
                yield member
            end = tar.offset
    except (tarfile.TarError, RecursionError, EOFError, OverflowError, UnicodeError) as error:
        what = (
            "it ends too early"
            if "unexpected end" in str(error)
            else "it is no tar archive, or a part is not"
        )
        raise _damaged(path, what) from error
    last = blob.read(end, tarfile.BLOCKSIZE)
    if not last:
        raise _damaged(path, "it ends without the mark of an end, as if it was cut")
    if last.strip(b"\0"):
        raise _damaged(path, f"what follows its byte {end:,} is no member")


class _Headers(io.BufferedReader):
    """The window that tarfile reads headers from, refusing to read a header that fills memory."""

    def __init__(self, window: BinaryIO) -> None:
        super().__init__(cast(Any, window))

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header that would exhaust memory")
        return super().read(size)


def _why_not_in_tar(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link, not followed"
    if not member.isreg():
        return "a device or a pipe, no file"
    if member.issparse():
        return "a file with holes, not read here"
    return _why_too_large(member.size, member.size)


def _unpacked(path: Path, blob: Blob, head: bytes) -> Blob:
    """A tar as it is, or unpacked into a nameless file of ours."""
    unpack = next((unpack for start, unpack in _UNPACKERS.items() if head.startswith(start)), None)
    if unpack is None:
        return blob
    return spooled(_bounded(path, blob.size_bytes, unpack(blob.window())), blob.status)


def _bounded(path: Path, packed: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, while they are within the limits and look like a tar."""
    total = 0
    try:
        for piece in filter(None, pieces):
            if total == 0 and piece[257:262] != b"ustar" and not _is_old_tar(piece):
                raise _refused(
                    path, "is packed, but no tar archive is in it", "a tar or zip archive", "Unpack it"
                )
            total += len(piece)
            _check_total(path, total, packed)
            yield piece
    except (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        if isinstance(error, DataError) or getattr(error, "errno", None) is not None:
            raise
        if "Memory usage limit" in str(error):
            limit = f"at most {MAX_LZMA_BYTES >> 20} MiB"
            raise _too_much(path, "takes too much memory to unpack", limit) from error
        raise _damaged(path, "it cannot be unpacked to its end") from error
    if total == 0:
        raise _refused(path, "is empty", "an archive of pictures", "Check the file")


def _is_old_tar(piece: bytes) -> bool:
    """Whether a header without a mark has a right checksum."""
    try:
        return (
            len(piece) >= 512 and tarfile.TarInfo.frombuf(piece[:512], "utf-8", "surrogateescape") is not None
        )
    except tarfile.TarError:
        return False


def _gunzipped(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.open(stream) as unpacked:
        while piece := unpacked.read(_READ_AT_ONCE):
            yield piece


def _bunzipped(stream: BinaryIO) -> Iterator[bytes]:
    with bz2.open(stream) as unpacked:
        while piece := unpacked.read(_READ_AT_ONCE):
            yield piece


def _unxzed(stream: BinaryIO) -> Iterator[bytes]:
    """As `lzma.open`, which would take the memory that the file asks for."""
    content = stream.read(_READ_AT_ONCE)
    while content.strip(b"\0"):
        unpacking = lzma.LZMADecompressor(memlimit=MAX_LZMA_BYTES)
        while not unpacking.eof:
            if unpacking.needs_input and not content and not (content := stream.read(_READ_AT_ONCE)):
                raise EOFError
            yield unpacking.decompress(content, _READ_AT_ONCE)
            content = b""
        content = unpacking.unused_data or stream.read(_READ_AT_ONCE)


_UNPACKERS: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {
    _GZIP: _gunzipped,
    _BZIP2: _bunzipped,
    _XZ: _unxzed,
}


# ---- both -----------------------------------------------------------------------------------------------------------


def _without_top(archive: Archive) -> Archive:
    """The archive without one folder around everything in it, or several one in another."""
    from convscope.data.class_folders import SPLIT_NAMES, is_ignored

    root = archive.root
    while True:
        visible = [child for child in root.children.values() if not is_ignored(child.name)]
        if len(visible) != 1 or not visible[0].is_dir() or visible[0].name.lower() in SPLIT_NAMES:
            break
        beside = [child for child in root.children.values() if is_ignored(child.name)]
        archive.ignored.extend(Ignored(str(child), is_ignored(child.name)) for child in beside)
        root = visible[0]
    return Archive(root, archive.skipped, archive.ignored)
