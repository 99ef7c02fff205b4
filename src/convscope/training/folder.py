"""A run is one folder: where it is, whom it belongs to, and its files.

model.safetensors   the model so far, then the finished one
history.jsonl       one event a line
config.json         repeats the run
checkpoint          resumes it exactly
skipped.tsv         picture files that could not be read and why, where there are any
.lock               held while a process trains here
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from convscope.data.left_out import Skipped, skip_list
from convscope.errors import RunError, did_you_mean
from convscope.model_file import FILE_NAME, parse_json, write_text

CHECKPOINT, CONFIG, HISTORY, LOCK = "checkpoint", "config.json", "history.jsonl", ".lock"
SKIPPED = "skipped.tsv"
KIND = "convscope run"
_CONFIG_LIMIT_BYTES = 4 << 20


class RunFolder:
    """The folder of one run. Making one neither reads nor writes anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.checkpoint = path / FILE_NAME, path / CHECKPOINT
        self.config, self.history = path / CONFIG, path / HISTORY
        self.skipped = path / SKIPPED

    def require_free(self, overwrite: bool) -> None:
        """Make sure that a new run may be written here.

        Raises:
            RunError: it is a file, someone else's folder, or holds a run that must not be written over.
        """
        self.require_not_foreign()
        if self.config.exists() and not overwrite:
            raise RunError(
                f"{self.path} holds another run",
                "a folder without one",
                "Add --resume to go on with it, --overwrite to replace it, or give another --out",
            )

    def require_run(self) -> None:
        """Make sure that there is a run here.

        Raises:
            RunError: there is nothing, or it is someone else's.
        """
        if not self.path.exists():
            suggestion = did_you_mean(str(self.path), _runs_beside(self.path))
            raise RunError(
                f"there is no run {str(self.path)!r} to resume",
                "the folder of a run",
                suggestion or "Leave --resume out to start a new run",
            )
        self.require_not_foreign()
        if not self.config.exists():
            raise RunError(
                f"{self.path} holds no run to resume",
                f"a folder with a {CONFIG}",
                "Leave --resume out to start a new run",
            )

    def require_not_foreign(self) -> None:
        """Refuse a file, and a folder with contents that are not a run of ours."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file", "a folder for the run", "Give another --out")
        if not self.is_empty() and self._document() is None:
            raise RunError(
                f"{self.path} is not a run of Convscope: it holds other files and no readable {CONFIG}",
                "an empty folder, a new one, or that of a run",
                "Give another --out; nothing there was touched",
            )

    def is_empty(self) -> bool:
        """Whether there is nothing here but, at most, the lock and halves that a killed process left."""
        if not self.path.is_dir():
            return True
        ours = {LOCK, *(half.name for half in self._halves())}
        return all(child.name in ours for child in self.path.iterdir())

    def remove_if_empty(self) -> None:
        """Remove the folder where it holds nothing but, at most, the lock; only while it is locked."""
        with suppress(OSError):  # another process may have begun here
            if self.path.is_dir() and self.is_empty():
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def lock(self) -> BaseFileLock:
        """Take the folder for this process, making it if need be.

        Raises:
            RunError: another process trains here.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0)
            lock.acquire()
            self._sweep()
        except Timeout as error:
            raise RunError(
                f"another process is training in {self.path}",
                "a folder of its own for each run",
                "Wait for it, stop it, or give another --out",
            ) from error
        except OSError as error:
            raise self.cannot_write(error, "Give another --out") from error
        return lock

    def cannot_write(self, error: OSError, fix: str) -> RunError:
        """The error for a file here that the system does not let us write; `fix` says how to go on once it does."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        where = error.filename or self.path
        return RunError(
            f"{where} cannot be written: {error.strerror or error}",
            "room left on the disk" if full else "a folder that can be written",
            fix,
        )

    def _sweep(self) -> None:
        """Remove half-written files that a killed process left beside ours."""
        for half in self._halves():
            half.unlink(missing_ok=True)

    def _halves(self) -> list[Path]:
        files = (self.checkpoint, self.model, self.history, self.config, self.skipped)
        return [half for file in files for half in self.path.glob(f".{file.name}.*.new")]

    def clear(self) -> None:
        """Remove the files of an earlier run, the checkpoint first; other files stay."""
        for file in (self.checkpoint, self.model, self.history, self.config, self.skipped):
            file.unlink(missing_ok=True)

    def write_config(self, document: dict[str, Any]) -> None:
        """Write `config.json`: readable, with sorted keys."""
        whole = {"kind": KIND, **document}
        write_text(self.config, json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n")

    def write_skipped(self, skipped: Sequence[Skipped], say: Callable[[str], None]) -> None:
        """Write the skip list, and say so, where there is something in it."""
        if skipped:
            write_text(self.skipped, skip_list(skipped))
            files = (
                "1 picture file that was"
                if len(skipped) == 1
                else f"{len(skipped):,} picture files that were"
            )
            say(f"The {files} skipped, with the reason: {self.skipped}.")

    def read_config(self) -> dict[str, Any]:
        """The document of `config.json`.

        Raises:
            RunError: it is not one of ours.
        """
        document = self._document()
        if document is None:
            raise RunError(
                f"{self.config} cannot be read",
                "the file that convscope train wrote",
                "Start again with --overwrite or another --out",
            )
        return document

    def _document(self) -> dict[str, Any] | None:
        try:
            if self.config.stat().st_size > _CONFIG_LIMIT_BYTES:
                return None
            document = parse_json(self.config.read_bytes())
        except OSError:
            return None
        return document if isinstance(document, dict) and document.get("kind") == KIND else None


class History:
    """`history.jsonl` while a run writes it: whole lines, appended, and brought to the disk with each checkpoint.

    Attributes:
        lines: how many there are.
    """

    def __init__(self, path: Path, lines: int, digest: str | None = None) -> None:
        """Open for appending after the first `lines` lines; later ones are dropped.

        Raises:
            RunError: the file holds fewer lines than that, or others than those of `digest`.
        """
        text = kept_history(path, lines, digest)
        write_text(path, text)
        self.lines, self._hash = lines, hashlib.sha256(text.encode())
        self._file = path.open("a", encoding="utf-8", newline="\n")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the lines so far."""
        return self._hash.hexdigest()

    def add(self, line: dict[str, Any]) -> None:
        """Append one line."""
        text = json.dumps(line, allow_nan=False) + "\n"
        self._file.write(text)
        self._file.flush()
        self._hash.update(text.encode())
        self.lines += 1

    def sync(self) -> None:
        """Bring all lines to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def kept_history(path: Path, lines: int, digest: str | None) -> str:
    """The first `lines` lines of a history, compared with the digest that the checkpoint has of them, if it has one.

    Raises:
        RunError: there are fewer, or others.
    """
    kept = _whole_lines(path)[:lines]
    text = "".join(f"{line}\n" for line in kept)
    fix = "Put the file back, or start again with --overwrite"
    if len(kept) < lines:
        raise RunError(f"{path} has {len(kept)} lines", f"the {lines} lines that the checkpoint follows", fix)
    if digest is not None and hashlib.sha256(text.encode()).hexdigest() != digest:
        raise RunError(
            f"{path} was changed after the checkpoint was written", "the lines that the run wrote", fix
        )
    return text


def read_history(path: Path) -> list[dict[str, Any]]:
    """The events of a `history.jsonl`, in order; a last line that a crash cut short is left out."""
    parsed = [parse_json(line) for line in _whole_lines(path)]
    return [line for line in parsed if isinstance(line, dict)]


def claim_next(data: str, net: str, under: Path = Path("runs")) -> Path:
    """Make the default folder of a new run; of two processes that ask at once, each gets its own."""
    while True:
        path = next_free(data, net, under)
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(
                f"{path} cannot be made: {error.strerror}", "a folder that can be written", "Give an --out"
            ) from error


def next_free(data: str, net: str, under: Path = Path("runs")) -> Path:
    """The default folder of a new run: runs/<data>-<net>-<number>, with the next number that is free."""
    stem = f"{_slug(data)}-{_slug(net)}"
    pattern = re.compile(re.escape(stem) + r"-(\d{1,9})")
    taken = [
        int(match[1])
        for child in (under.iterdir() if under.is_dir() else ())
        if (match := pattern.fullmatch(child.name))
    ]
    return under / f"{stem}-{max(taken, default=0) + 1}"


def _slug(words: str) -> str:
    """Letters, digits and single hyphens, at most 40 of them.

    >>> _slug("My photos/2024 ")
    'my-photos-2024'
    """
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-") or "own"


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def _runs_beside(path: Path) -> list[str]:
    return [str(child) for child in path.parent.glob("*") if (child / CONFIG).exists()]
