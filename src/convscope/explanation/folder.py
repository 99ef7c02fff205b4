"""Where `explain` writes: a folder of its own, in which it replaces only what it wrote itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convscope.errors import ConvscopeError

RECORD = "explain.json"
MADE_BY = "convscope explain"
RECORD_MAX_BYTES = 1 << 28


def write(folder: Path, contents: Mapping[str, bytes], document: Mapping[str, Any]) -> list[Path]:
    """Write files and, last, the record that names them; return their paths.

    Files of an earlier `explain` in the same folder go, others stay. Each file is written beside and renamed.

    Raises ConvscopeError where the folder cannot be made, or holds something and no record of ours.
    """
    try:
        earlier = _ours(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in contents:
            if (folder / name).exists() and name not in earlier:
                raise ConvscopeError(
                    f"{folder / name} was not written by explain",
                    "a name of its own",
                    "Choose another folder with --out",
                )
        for name in earlier - contents.keys():
            (folder / name).unlink(missing_ok=True)
        for name, content in contents.items():
            _put(folder / name, content)
        record = {"made_by": MADE_BY, **document, "files": [*contents, RECORD]}
        _put(folder / RECORD, (json.dumps(record, allow_nan=False) + "\n").encode("utf-8"))
    except OSError as error:
        raise ConvscopeError(
            f"{folder} cannot be written: {error.strerror}",
            "a folder that can be written",
            "Choose another with --out",
        ) from error
    return [folder / name for name in [*contents, RECORD]]


def _ours(folder: Path) -> set[str]:
    """The files in the folder that an earlier `explain` wrote; none where there is no folder or an empty one."""
    if folder.exists() and not folder.is_dir():
        raise ConvscopeError(
            f"{folder} is a file", "a folder, or a name that is free", "Choose another with --out"
        )
    if not folder.is_dir() or not any(folder.iterdir()):
        return set()
    record = _record(folder / RECORD)
    if record.get("made_by") != MADE_BY:
        raise ConvscopeError(
            f"the folder {folder} holds files that explain did not write", "an empty folder, or one of its own",
            "Choose another with --out",
        )  # fmt: skip
    names = record.get("files")
    listed = names if isinstance(names, list) else []
    return {n for n in listed if isinstance(n, str) and re.fullmatch(r"[\w.-]+\.(png|html|json)", n)} | {
        RECORD
    }


def _record(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        if path.stat().st_size <= RECORD_MAX_BYTES:
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
    return {}


def _put(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
