"""Files that hurt whoever opens them: refused by what they are and promise, before a decoder takes memory.

Every check reads a few bytes of structure and raises a DataError whose `received` is the reason in words. Sizes
come from the formats' specifications (PNG 1.2, TIFF 6, GIF89a, ITU T.81, the WebP container); the limits are ours.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from convscope.data.files import File
from convscope.errors import DataError

MAX_PIXELS = 89_478_485
"""Larger pictures are refused by their header. Source: Pillow's MAX_IMAGE_PIXELS."""

MAX_FILE_BYTES = 512 * 2**20
"""Larger files are refused: some decoders read the whole file first."""

MAX_EXTRA_BYTES = 64 * 2**20
"""Text, profiles and other things beside the pixels of a PNG file."""

MAX_EXTRA_PARTS = 10_000
MAX_GIF_EXTENSION_BYTES = 2**20
MAX_SCANS = 100
"""Passes of a progressive JPEG. Cameras and programs write about ten; each costs time for the whole picture."""

PIXELS_PER_JPEG_BYTE = 1024
"""A block of 64 pixels takes at least one Huffman-coded bit: 512 pixels a byte, doubled to be safe."""

PNG_RATIO = 1040
"""Deflate cannot pack more than 1032 bytes into one."""

_TIFF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_KINDS = (
    (stat.S_ISFIFO, "a named pipe, no file"),
    (stat.S_ISSOCK, "a socket, no file"),
    (stat.S_ISCHR, "a device, no file"),
    (stat.S_ISBLK, "a device, no file"),
)


def check_file(path: File) -> int:
    """The size of a regular file in bytes, found without opening it: a pipe would wait for its writer for ever.

    Raises:
        DataError: a pipe, socket or device, empty, or too large.
        OSError: missing, a folder, or not allowed.
    """
    size = check_kind(path)
    if size > MAX_FILE_BYTES:
        raise DataError(f"a file of {size / 2**20:,.0f} MiB, more than {MAX_FILE_BYTES >> 20} MiB")
    return size


def check_kind(path: File) -> int:
    """`check_file` for files that may be of any size."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(str(path))
    for is_kind, words in _KINDS:
        if is_kind(status.st_mode):
            raise DataError(words)
    if status.st_size == 0:
        raise DataError("the file is empty")
    return status.st_size


def check_content(stream: BinaryIO, file_bytes: int) -> bool:
    """What the file's structure says, before any decoder believes it. Leaves the stream at its start.

    Returns:
        Whether a GIF holds a second picture; False for every other format.

    Raises:
        DataError: more pixels than can be or than may be, or parts that exhaust memory or time.
    """
    head = stream.read(32)
    stream.seek(0)
    is_gif = head.startswith(b"GIF8")
    has_more = is_gif and sum(1 for _ in zip(range(2), _gif_pictures(stream), strict=False)) == 2
    for signature, check in _CHECKS.items():
        if head.startswith(signature):
            check(stream, file_bytes)
    stream.seek(0)
    return has_more


def check_pixels(width: int, height: int) -> None:
    """Refuse what would take too much memory.

    Raises:
        DataError: more than MAX_PIXELS.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"larger than {MAX_PIXELS:,} pixels ({width:,}×{height:,})")


def check_promise(width: int, height: int, file_bytes: int, most: float) -> None:
    """Refuse a size that the file cannot hold, `most` pixels being what its format can pack into its bytes.

    Raises:
        DataError: more than that, or than MAX_PIXELS.
    """
    check_pixels(width, height)
    if width * height > most:
        raise DataError(
            f"its header promises {width:,}×{height:,} pixels, more than its {file_bytes:,} bytes can hold"
        )


def orientation(exif: bytes) -> int:
    """The Orientation an EXIF block holds, 1 (upright) to 8; 1 where it holds none that can be read.

    Only this one entry is read, so that nonsense elsewhere in the block does not matter.
    """
    content = exif.removeprefix(b"Exif\0\0")
    for tag, kind, count, value in _directory(content[:8], lambda start, size: content[start : start + size]):
        if tag == 0x0112 and kind == 3 and count == 1:
            number: int = struct.unpack(_order(content) + "H", value[:2])[0]
            return number if 1 <= number <= 8 else 1
    return 1


def _check_png(stream: BinaryIO, file_bytes: int) -> None:
    """Size against bytes, and what lies beside the pixels."""
    extra_parts = extra_bytes = 0
    for kind, length, start in _png_chunks(stream):
        if kind == b"IHDR":
            _check_png_size(stream.read(min(length, 13)), file_bytes)
        if kind not in (b"IDAT", b"fdAT", b"fcTL"):
            there = max(0, min(length, file_bytes - start))  # a damaged length promises anything
            extra_parts, extra_bytes = extra_parts + 1, extra_bytes + there
        if extra_parts > MAX_EXTRA_PARTS or extra_bytes > MAX_EXTRA_BYTES:
            raise DataError("text or profiles beside the picture that would exhaust memory")
        stream.seek(start + length + 4)


def _check_png_size(header: bytes, file_bytes: int) -> None:
    if len(header) < 10:
        return
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    bits = max(1, depth) * {2: 3, 4: 2, 6: 4}.get(colour, 1)
    check_promise(width, height, file_bytes, PNG_RATIO * file_bytes * 8 / bits)


def _png_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and start of each chunk; whoever iterates moves the stream to the next one."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:] != b"IEND":
        yield head[4:], int.from_bytes(head[:4], "big"), stream.tell()


def _check_jpeg(stream: BinaryIO, file_bytes: int) -> None:
    """Size against bytes, the EXIF block, and the number of scans."""
    exif = b""
    for marker, length in _jpeg_segments(stream):
        if marker == 0xE1:
            content = stream.read(length)
            exif += content[6:] if content.startswith(b"Exif\0\0") else b""
            if len(exif) > 2**20:
                raise DataError("an EXIF block of more than 1 MiB")
        elif marker in (0xC0, 0xC1, 0xC2) and len(frame := stream.read(5)) == 5:
            height, width = struct.unpack(">HH", frame[1:])
            check_promise(width, height, file_bytes, PIXELS_PER_JPEG_BYTE * file_bytes)
            if marker == 0xC2:
                _check_scans(stream)
    _check_directory(exif, lambda start, size: exif[start : start + size], len(exif))


def _jpeg_segments(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and length of each segment before the pixels; a user may read the content meanwhile."""
    position = 2
    for _ in range(MAX_EXTRA_PARTS):
        stream.seek(position)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return
        if head[1] == 0xFF:  # a filling byte
            position += 1
            continue
        length = int.from_bytes(head[2:], "big")
        yield head[1], max(0, length - 2)
        position += 2 + length
    raise DataError("more parts than a picture has")


def _check_scans(stream: BinaryIO) -> None:
    scans, last = 0, b""
    while piece := stream.read(2**20):
        scans += (last + piece).count(b"\xff\xda")
        last = piece[-1:]
        if scans > MAX_SCANS:
            raise DataError(f"more than {MAX_SCANS} scans, made to take hours")


def _gif_pictures(stream: BinaryIO) -> Iterator[int]:
    """The position of each picture in a GIF file, passing over colours and extensions."""
    head = stream.read(13)
    if len(head) < 13:
        return
    check_pixels(*struct.unpack("<HH", head[6:10]))
    stream.seek(13 + _colours_bytes(head[10]))
    extension_bytes = 0
    while (kind := stream.read(1)) in (b"!", b","):
        if kind == b"!":
            stream.read(1)
            extension_bytes += _pass_over_blocks(stream, MAX_GIF_EXTENSION_BYTES - extension_bytes)
            continue
        yield stream.tell()
        descriptor = stream.read(9)
        if len(descriptor) < 9:
            return
        stream.seek(_colours_bytes(descriptor[8]) + 1, os.SEEK_CUR)
        _pass_over_blocks(stream, MAX_FILE_BYTES)


def _colours_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _pass_over_blocks(stream: BinaryIO, most: int) -> int:
    """Bytes of a chain of blocks, each of which begins with its length."""
    passed = 0
    while length := stream.read(1):
        passed += length[0] + 1
        if length[0] == 0:
            break
        if passed > most:
            raise DataError("text beside the picture that would exhaust time")
        stream.seek(length[0], os.SEEK_CUR)
    return passed


def _check_webp(stream: BinaryIO, file_bytes: int) -> None:
    """The canvas, for which the decoder takes memory as soon as it is made."""
    head = stream.read(30)
    if len(head) < 30 or head[8:12] != b"WEBP":
        return
    kind = head[12:16]
    if kind == b"VP8X":
        check_pixels(1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        check_pixels(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        check_pixels(width & 0x3FFF, height & 0x3FFF)


def _check_tiff(stream: BinaryIO, file_bytes: int) -> None:
    def read(start: int, size: int) -> bytes:
        stream.seek(start)
        return stream.read(size)

    head = read(0, 16)
    _check_directory(head, read, file_bytes)
    sizes = dict.fromkeys((256, 257, 259, 322, 323), 0)
    for tag, kind, count, value in _directory(head, read):
        if tag in sizes and count == 1 and kind in (3, 4):
            width = _TIFF_TYPE_BYTES[kind]
            sizes[tag] = int.from_bytes(value[:width], "little" if _order(head) == "<" else "big")
    is_packed = sizes[259] != 1
    check_promise(sizes[256], sizes[257], file_bytes, MAX_PIXELS if is_packed else 8 * file_bytes)
    check_pixels(sizes[322], sizes[323])  # a tile, for which the decoder takes memory too


def _check_directory(head: bytes, read: Callable[[int, int], bytes], file_bytes: int) -> None:
    """Entries that all point at the same bytes would be read again and again."""
    promised = sum(
        _TIFF_TYPE_BYTES.get(kind, 1) * count for kind, count in _entry_sizes(head, read, file_bytes)
    )
    if promised > 4 * file_bytes + 2**16:
        raise DataError("a directory of entries that would exhaust memory")


def _entry_sizes(
    head: bytes, read: Callable[[int, int], bytes], file_bytes: int
) -> Iterator[tuple[int, int]]:
    """Kind and count of the entries whose content the file can hold; longer ones fail by themselves."""
    for _, kind, count, _ in _directory(head, read):
        if _TIFF_TYPE_BYTES.get(kind, 1) * count <= file_bytes:
            yield kind, count


def _directory(head: bytes, read: Callable[[int, int], bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, kind, count and value field of each entry of the first directory, TIFF or BigTIFF."""
    if len(head) < 8 or head[:2] not in (b"II", b"MM"):
        return
    order = _order(head)
    is_big = struct.unpack(order + "H", head[2:4])[0] == 43
    if is_big and len(head) < 16:
        return
    start = struct.unpack(order + "Q", head[8:16])[0] if is_big else struct.unpack(order + "I", head[4:8])[0]
    if start > MAX_FILE_BYTES:
        return
    number_format, entry_format = ("Q", "HHQ8s") if is_big else ("H", "HHI4s")
    size = struct.calcsize(order + number_format)
    raw = read(start, size)
    if len(raw) < size:
        return
    count = min(struct.unpack(order + number_format, raw)[0], 65_535)
    entry = struct.Struct(order + entry_format)
    raw = read(start + size, count * entry.size)
    yield from entry.iter_unpack(raw[: len(raw) // entry.size * entry.size])


def _order(head: bytes) -> str:
    return "<" if head[:2] == b"II" else ">"


_CHECKS: dict[bytes, Callable[[BinaryIO, int], None]] = {
    b"\x89PNG\r\n\x1a\n": _check_png,
    b"\xff\xd8": _check_jpeg,
    b"RIFF": _check_webp,
    b"II*\0": _check_tiff,
    b"MM\0*": _check_tiff,
    b"II+\0": _check_tiff,
    b"MM\0+": _check_tiff,
}
