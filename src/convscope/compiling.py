"""C++ of ours, built once for this machine, kept in the user's cache, and loaded.

Some seconds, once. Without a compiler, or where anything goes wrong, there is none, and those who ask go on without. A
library brings no threads of its own: it finds OpenMP in the process, where torch has put it, so that
`torch.set_num_threads` holds for both. Nothing here knows what the C++ does, or needs torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

COMPILERS = ("c++", "g++", "clang++")
COMMON = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
TUNED = (
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-fopenmp",),
)
"""Flags to try in this order: not every compiler knows every one. Without OpenMP the kernels would not be faster."""
BUILD_LIMIT_S = 120.0


@dataclass(frozen=True)
class Built:
    """The library, or None, and why there is none."""

    library: ctypes.CDLL | None
    reason: str


def load(source: Path) -> Built:
    """The library made of this file, built when it is not in the cache."""
    compiler, reason = _compiler()
    if compiler is None:
        return Built(None, reason)
    try:
        return Built(_loaded(source, compiler), "built for this machine")
    except (OSError, subprocess.SubprocessError) as error:
        return Built(None, f"building them failed ({_first_line(error)})")


def begin(sources: Iterable[Path]) -> None:
    """Start building what is not in the cache, each file in a thread of its own; `load` waits for it.

    For those who know early what they will need, and have other things to do meanwhile. What goes wrong is `load`'s to
    say.
    """
    compiler, _ = _compiler()
    if compiler is None:
        return
    for source in sources:
        threading.Thread(target=_try_to_build, args=(source, compiler), daemon=True).start()


def _try_to_build(source: Path, compiler: str) -> None:
    with suppress(OSError, subprocess.SubprocessError):
        _in_cache(source, compiler)


def _compiler() -> tuple[str | None, str]:
    """The compiler, or None and why none is used."""
    if platform.system() == "Windows":
        return None, "on Windows the kernels are not built"
    if os.environ.get("CONVSCOPE_KERNELS", "") == "off":
        return None, "CONVSCOPE_KERNELS is off"
    named = os.environ.get("CXX", "")
    found = next((path for name in (named, *COMPILERS) if name and (path := shutil.which(name))), None)
    return found, "" if found else f"no C++ compiler is here ({', '.join(COMPILERS)})"


def _loaded(source: Path, compiler: str) -> ctypes.CDLL:
    path = _in_cache(source, compiler)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # damaged on the disk
        path.unlink(missing_ok=True)
        return ctypes.CDLL(str(_in_cache(source, compiler)))


def _in_cache(source: Path, compiler: str) -> Path:
    """Where the library is, built if it was not there; of two threads that ask at once, one builds."""
    with _lock(source):
        code = _written_out(source)
        path = _folder() / f"{source.stem}-{_key(code, compiler)}.so"
        if not path.is_file():
            _build(code, compiler, path)
        return path


def _written_out(source: Path) -> bytes:
    """The code with the headers beside it in the places that name them: one text, to build and to know it by."""

    def header(named: re.Match[bytes]) -> bytes:
        return _written_out(source.parent / named[1].decode())

    return re.sub(rb'^#include "(\w+\.h)"$', header, source.read_bytes(), flags=re.MULTILINE)


@functools.cache
def _lock(source: Path) -> threading.Lock:
    return threading.Lock()


def _folder() -> Path:
    """The cache, or where that may not be written, a folder of this process."""
    folder = Path(platformdirs.user_cache_dir("convscope")) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _own_folder()
    return folder if os.access(folder, os.W_OK) else _own_folder()


@functools.cache
def _own_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="convscope-kernels-"))


def _key(code: bytes, compiler: str) -> str:
    """Another source, compiler or processor is another library: one cache may serve several machines."""
    stamp = Path(compiler).resolve().stat()
    parts = (
        repr((COMMON, TUNED)),
        compiler,
        stamp.st_size,
        stamp.st_mtime_ns,
        platform.machine(),
        processor(),
    )
    return hashlib.sha256(code + repr(parts).encode()).hexdigest()[:24]


@functools.cache
def processor() -> str:
    """What the processor can do, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(code: bytes, compiler: str, path: Path) -> None:
    """Build beside and rename, so that two processes at once do no harm.

    Raises:
        subprocess.SubprocessError: the compiler refuses every set of flags, or takes too long.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text, made, linked = (Path(folder) / name for name in ("source.cpp", "made.o", "linked.so"))
        text.write_bytes(code)
        _first_that_works(compiler, text, made)
        _run(
            (compiler, "-shared", *_undefined(), str(made), "-o", str(linked))
        )  # without OpenMP: torch has one
        linked.replace(path)


def _undefined() -> tuple[str, ...]:
    return ("-undefined", "dynamic_lookup") if platform.system() == "Darwin" else ()


def _first_that_works(compiler: str, text: Path, made: Path) -> None:
    for flags in TUNED[:-1]:
        try:
            return _run((compiler, *COMMON, *flags, "-c", str(text), "-o", str(made)))
        except subprocess.CalledProcessError:
            continue
    _run((compiler, *COMMON, *TUNED[-1], "-c", str(text), "-o", str(made)))


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=BUILD_LIMIT_S)


def _first_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or b""
    lines = (said.decode(errors="replace") or str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
