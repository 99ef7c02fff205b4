"""Decoded pictures kept between runs: a file of pixels for each folder and preprocessing, mapped, not read as a whole.

    CACHE/prepared/photos-1f3a…/3x64x64-9c0d….json       the picture files, how to know them again, what was computed
    CACHE/prepared/photos-1f3a…/3x64x64-9c0d…-2b7e….u8   the pixels, uint8 (N, C, H, W), nothing else

A picture is known by a hash of its file, and without reading it by its size and times while those stay. Everything
here may be deleted at any time. Source: ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import PIL
import platformdirs
from filelock import FileLock, Timeout

from convscope.data import colours, hazards, pictures, preprocessing, signatures
from convscope.data.array_types import Bytes
from convscope.data.files import File
from convscope.data.inside import Inside
from convscope.data.mapped import open_map
from convscope.data.preprocessing import Preprocessing

FORMAT = 1
MOST_BYTES = 20 * 10**9
"""Above this, the pixels that were used longest ago are deleted; those in use never."""
SETTLED_NS = 2 * 10**9
"""A file changed less than this before it was looked at may change again without getting another time."""
SPOTS = 16
"""How many images are compared with what was written, each time a file of pixels is opened."""

_AFTER_PIXELS = ("mean", "std", "views")
"""What a preprocessing does with pixels once they are there."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stamp:
    """What changes when somebody writes to a file."""

    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: File) -> Stamp:
        """The stamp now; inside an archive that of the archive. Raises OSError."""
        found = path.status if isinstance(path, Inside) else path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_settled(self, now_ns: int) -> bool:
        """Whether any later change will show."""
        return max(self.modified_ns, self.changed_ns) < now_ns - SETTLED_NS


@dataclass(frozen=True)
class Known:
    """A picture file without its pixels.

    Args:
        stamp: None where it cannot be relied on: the file is too young.
        content: hash of the file; empty where it could not be read.
        header: what the picture says of itself, or None where it cannot be read.
        reason: why it cannot be read, or None.
    """

    stamp: Stamp | None
    content: str
    header: pictures.Header | None
    reason: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a picture with a good header has no pixels, and whether that lies in the file (and not in the disk)."""

    reason: str
    is_lasting: bool = True


Made = tuple[str, Known, Bytes | Failure | None]
"""A file by its path in the folder, what is known of it, and its image (C, H, W) or why there is none; None where its
header says so already."""


@dataclass(frozen=True)
class Facts:
    """What was computed from all pixels, for one arrangement of the images in splits and classes."""

    arrangement: str
    digest: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Kept:
    """The pixels of a folder.

    Args:
        files: the picture files, by their paths in the folder, in the order of the images.
        failures: by content, why a picture with a good header has no pixels.
        images: uint8 (N, C, H, W), one for each file that can be read.
        name: of the file of pixels; empty where they are in memory only.
        facts: once they are computed.
    """

    files: dict[str, Known]
    failures: dict[str, str]
    images: Bytes
    name: str = ""
    facts: Facts | None = None

    def reason(self, known: Known) -> str | None:
        """Why this file has no image, or None where it has one."""
        return known.reason or self.failures.get(known.content)

    def holds(self, files: Mapping[str, Known]) -> bool:
        """Whether these files, in this order, give exactly these images."""
        return _with_header(files) == _with_header(self.files)

    @functools.cached_property
    def outcomes(self) -> dict[str, Bytes | Failure]:
        """By content, the image or why there is none."""
        contents = [known.content for known in self.files.values() if self.reason(known) is None]
        found: dict[str, Bytes | Failure] = dict(zip(contents, self.images, strict=True))
        return found | {content: Failure(reason) for content, reason in self.failures.items()}


def _with_header(files: Mapping[str, Known]) -> list[str]:
    return [known.content for known in files.values() if known.reason is None]


def content_of(path: File) -> str:
    """Hash of a file's bytes. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(cast(Any, stream), _hash).hexdigest()


def digest_of(content: bytes) -> str:
    """`content_of` a file with these bytes."""
    digest = _hash()
    digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Shelf:
    """Where everything about one folder of pictures is kept.

    Args:
        source: the folder of pictures, its full path.
        folder: ours.
    """

    source: str
    folder: Path

    @classmethod
    def of(cls, source: Path, *, salvage: bool = False) -> Self:
        """The shelf of a place of pictures; nothing is made yet. Salvaged pictures lie on one of their own."""
        resolved = source.resolve()
        name = re.sub(r"[^\w.-]+", "_", resolved.name)[:40] or "folder"
        end = "-salvaged" if salvage else ""
        return cls(str(resolved), root() / f"{name}-{_short(os.fsencode(resolved))}{end}")

    def remembered(self) -> dict[str, Known]:
        """The picture files as they were when their pixels were last made, in any size."""
        for path in sorted(self.folder.glob("*.json"), key=_used_ns, reverse=True):
            document = _document(path)
            if document is not None:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    return _files(document)
        return {}

    def open(self, wanted: Preprocessing) -> Kept | None:
        """What this preprocessing made, or None where there is nothing or it is damaged."""
        index = self._index(wanted)
        document = _document(index)
        if document is None:
            return None
        try:
            kept = _kept(document, self.folder, wanted)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(index)  # was used now
        return kept

    def make(
        self,
        wanted: Preprocessing,
        made: Iterable[Made],
        facts: Callable[[], Facts | None] = lambda: None,
    ) -> Kept:
        """Write the pixels as they come, then what they are. Only inside `locked`.

        Args:
            wanted: the preprocessing that makes them.
            made: every picture file, in the order of the images.
            facts: asked for once they are all made.

        Raises:
            OSError: the disk is full or may not be written; nothing is left behind.
        """
        self._sweep()
        name = f"{_name(wanted)}-{uuid.uuid4().hex[:8]}.u8"
        part = self.folder / f"{name}.part"
        try:
            with part.open("wb") as stream:
                stored, failures, count = sort_out(made, lambda _, image: stream.write(image.data))
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
        images = open_map(self.folder / name, (count, *wanted.input_shape)) if count else _no_images(wanted)
        kept = Kept(stored, failures, images, name, facts())
        self.write(wanted, kept)
        self._sweep()
        evict(MOST_BYTES, self._index(wanted))
        return kept

    def write(self, wanted: Preprocessing, kept: Kept) -> None:
        """Write what the pixels are, beside, and rename. Raises OSError."""
        index = self._index(wanted)
        beside = index.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
        try:
            beside.write_text(json.dumps(_to_json(kept, self.source)))
            beside.replace(index)
        finally:
            beside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """One process makes pixels; another waits and then finds them. Raises OSError where nothing can be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another process is reading the pictures of {self.source}; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _index(self, wanted: Preprocessing) -> Path:
        return self.folder / f"{_name(wanted)}.json"

    def _sweep(self) -> None:
        """Delete files of pixels that no index names: halves of stopped runs, and what has been made again."""
        named = {_object(path).get("images") for path in self.folder.glob("*.json")}
        for path in [*self.folder.glob("*.u8"), *self.folder.glob("*.part")]:
            if path.name not in named:
                _delete(path)


def sort_out(
    made: Iterable[Made], put: Callable[[int, Bytes], object]
) -> tuple[dict[str, Known], dict[str, str], int]:
    """Put every image in its place, one after the other.

    Returns:
        The files, those that could not be read now but may be later without their content; by content, why others
        have no pixels; and how many images there are.
    """
    stored, failures, count = dict[str, Known](), dict[str, str](), 0
    for key, known, outcome in made:
        stored[key] = known
        if isinstance(outcome, Failure) and outcome.is_lasting:
            failures[known.content] = outcome.reason
        elif isinstance(outcome, Failure):
            stored[key] = Known(None, "", None, outcome.reason)
        elif outcome is not None:
            put(count, outcome)
            count += 1
    return stored, failures, count


def root() -> Path:
    """The folder of everything that is kept here, in the user's cache."""
    return platformdirs.user_cache_path("convscope", appauthor=False) / "prepared"


def evict(most_bytes: int, in_use: Path) -> None:
    """Delete what was used longest ago until no more than `most_bytes` are left, but never `in_use` (an index)."""
    left = 0
    for index in sorted(root().glob("*/*.json"), key=_used_ns, reverse=True):
        pixels = index.parent / str(_object(index).get("images", ""))
        left += pixels.stat().st_size if pixels.is_file() else 0
        if left > most_bytes and index != in_use:
            _delete(index)
            _delete(pixels)


# ---- how it is written ----------------------------------------------------------------------------------------------


def _to_json(kept: Kept, source: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "reader": _reader(),
        "source": source,
        "images": kept.name,
        "count": len(kept.images),
        "spots": _spots(kept.images),
        "facts": dataclasses.asdict(kept.facts) if kept.facts else None,
        "failures": kept.failures,
        "files": [[key, *_to_list(known)] for key, known in kept.files.items()],
    }


def _to_list(known: Known) -> list[Any]:
    stamp = list(vars(known.stamp).values()) if known.stamp else None
    header = vars(known.header) if known.header else None
    return [stamp, known.content, header, known.reason]


def _document(path: Path) -> dict[str, Any] | None:
    """An index that this version wrote, or None."""
    document = _object(path)
    return document if (document.get("format"), document.get("reader")) == (FORMAT, _reader()) else None


def _object(path: Path) -> dict[str, Any]:
    """An index that any version wrote; empty where it cannot be read."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _kept(document: dict[str, Any], folder: Path, wanted: Preprocessing) -> Kept:
    """Raises OSError, ValueError, KeyError or TypeError where it is not whole."""
    name, shape = document["images"], (document["count"], *wanted.input_shape)
    path = folder / name
    if path.name != name or path.stat().st_size != math.prod(shape):
        raise ValueError(f"{name} is not the file of pixels")
    images = open_map(path, shape)
    if _spots(images) != document["spots"]:
        raise ValueError(f"{name} has changed")
    kept = Kept(_files(document), document["failures"], images, name, _facts(document["facts"]))
    if sum(kept.reason(known) is None for known in kept.files.values()) != len(images):
        raise ValueError(f"{name} has another number of images")
    return kept


def _files(document: dict[str, Any]) -> dict[str, Known]:
    return {key: _known(*values) for key, *values in document["files"]}


def _known(stamp: Any, content: str, header: Any, reason: str | None) -> Known:
    return Known(Stamp(*stamp) if stamp else None, content, _header(header) if header else None, reason)


def _header(fields: Mapping[str, Any]) -> pictures.Header:
    values: dict[str, Any] = {**fields, "size": tuple(fields["size"])}
    return pictures.Header(**values)


def _facts(fields: Any) -> Facts | None:
    if fields is None:
        return None
    return Facts(fields["arrangement"], fields["digest"], tuple(fields["mean"]), tuple(fields["std"]))


def _name(wanted: Preprocessing) -> str:
    """A name for everything that the pixels depend on."""
    settings = wanted.to_json()
    pixels = {name: value for name, value in settings.items() if name not in _AFTER_PIXELS}
    everything = json.dumps([_reader(), pixels], sort_keys=True)
    return f"{'x'.join(map(str, wanted.input_shape))}-{_short(everything.encode())}"


@functools.cache
def _reader() -> str:
    """What turns files into pixels: Pillow and our own modules. When any of it changes, nothing kept is used."""
    modules = (pictures, hazards, signatures, colours, preprocessing)
    sources = [Path(str(module.__file__)).read_bytes() for module in modules]
    return f"Pillow {PIL.__version__}, {_short(b''.join(sources))}"


def _spots(images: Bytes) -> str:
    """Hash of a few images, the first and the last among them."""
    digest = _hash()
    for position in (
        np.unique(np.linspace(0, max(0, len(images) - 1), SPOTS).astype(int)) if len(images) else ()
    ):
        digest.update(np.ascontiguousarray(images[position]).data)
    return digest.hexdigest()


def _no_images(wanted: Preprocessing) -> Bytes:
    return np.empty((0, *wanted.input_shape), dtype=np.uint8)


def _hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _short(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _used_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # another process has just deleted it
        return 0


def _delete(path: Path) -> None:
    """Delete a file of ours, if it lets itself: Windows keeps what is mapped."""
    with contextlib.suppress(OSError):
        path.unlink()
