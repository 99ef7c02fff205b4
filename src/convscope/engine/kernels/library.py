"""Builds one of the C++ files here once for this machine, keeps the result in the user's cache, and loads it.

Two seconds, once. Without a compiler, or where anything goes wrong, there are no kernels and torch's own operations
run instead. The library brings no threads of its own: it finds OpenMP in the process, where torch has put it, so that
`torch.set_num_threads` holds for both.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
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


@functools.cache
def load(name: str = "kernels") -> Built:
    """The library made of `<name>.cpp`, built when it is not in the cache; asked twice, it answers at once."""
    if platform.system() == "Windows":
        return Built(None, "on Windows the kernels are not built")
    if os.environ.get("CONVSCOPE_KERNELS", "") == "off":
        return Built(None, "CONVSCOPE_KERNELS is off")
    compiler = _compiler()
    if compiler is None:
        return Built(None, f"no C++ compiler is here ({', '.join(COMPILERS)})")
    try:
        return Built(_loaded(name, compiler), "built for this machine")
    except (OSError, subprocess.SubprocessError) as error:
        return Built(None, f"building them failed ({_first_line(error)})")


def sources() -> str:
    """A digest of all the C++ here: what was measured with other kernels is no answer any more."""
    folder = resources.files("convscope.engine.kernels")
    texts = sorted((file.name, file.read_bytes()) for file in folder.iterdir() if file.name.endswith(".cpp"))
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:24]


def _compiler() -> str | None:
    named = os.environ.get("CXX", "")
    return next((path for name in (named, *COMPILERS) if name and (path := shutil.which(name))), None)


def _loaded(name: str, compiler: str) -> ctypes.CDLL:
    source = resources.files("convscope.engine.kernels").joinpath(f"{name}.cpp").read_bytes()
    path = _folder() / f"{name}-{_key(source, compiler)}.so"
    if not path.is_file():
        _build(source, compiler, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # damaged on the disk
        _build(source, compiler, path)
        return ctypes.CDLL(str(path))


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


def _key(source: bytes, compiler: str) -> str:
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
    return hashlib.sha256(source + repr(parts).encode()).hexdigest()[:24]


def processor() -> str:
    """What the processor can do, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(source: bytes, compiler: str, path: Path) -> None:
    """Build beside and rename, so that two processes at once do no harm.

    Raises:
        subprocess.SubprocessError: the compiler refuses every set of flags, or takes too long.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text, made, linked = (Path(folder) / name for name in ("kernels.cpp", "kernels.o", "kernels.so"))
        text.write_bytes(source)
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
