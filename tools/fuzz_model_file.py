"""Fuzz the reader of model files: each mutated file is read or refused, in little time and memory, and runs nothing.

    python tools/fuzz_model_file.py --files 200000 --seed 0
    python tools/fuzz_model_file.py --seed 0 --only 1234          one file again, with its traceback

A file passes if `load_model` returns a model or raises ModelFileError within LIMIT_S of the processor's time, with no
more memory than MEMORY_BYTES and FILE_MULTIPLE times its size, and if Python's audit events tell of no code run, no
process started, no file opened for writing and no connection made. Files lie in memory (/dev/shm). A worker process
reads them; when it dies or hangs, that is a failure of the file it was at, and another goes on behind it. Linux only.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

LIMIT_S = 10.0
MEMORY_BYTES = 64 << 20
FILE_MULTIPLE = 24
ADDRESSES_BYTES = 2 << 30
KNOWN = {*sys.stdlib_module_names, "convscope", "torch", "numpy", "safetensors", "timm", "PIL"}
STARTS_SOMETHING = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "os.startfile", "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo", "socket.bind", "pickle.find_class", "os.remove", "os.rename", "os.rmdir",
    "shutil.", "code.__new__", "urllib.Request", "os.chmod", "os.link", "os.symlink", "os.truncate",
)  # fmt: skip


def main() -> int:
    arguments = _arguments()
    if arguments.worker is not None:
        return Worker(arguments.seed, Path(arguments.folder)).run(arguments.worker, arguments.files)
    if arguments.only is not None:
        return again(arguments.seed, arguments.only)
    return campaign(arguments.files, arguments.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200_000, help="how many mutated files (default 200000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="file number N alone, with what it raises")
    parser.add_argument("--worker", type=int, metavar="FIRST", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- the files ------------------------------------------------------------------------------------------------------

NETS = (
    ("conv(3, 3), batchnorm, relu, flatten, dense(3)", (6, 6)),
    ("conv(2, 3, padding=1), relu, globalpool, dense(3)", (6, 6)),
    (
        'residual(conv(4, 3, padding=1), batchnorm, shortcut="projection"), globalpool, dense(3), softmax',
        (5, 5),
    ),
    ("repeat(2, branches([conv(2, 1)], [conv(2, 3, padding=1), relu])), flatten, dense(3)", (4, 4)),
    ("conv(3, 3), aux(flatten, dense(3), weight=0.3), subsample(2), tanh, flatten, dense(5), rbf(3)", (6, 6)),
)


def samples() -> list[bytes]:
    """Good files: five nets, and one with a rule for pictures of something else. Always the same bytes."""
    import torch

    from convscope.data import Preprocessing
    from convscope.model_file import Model, save_model
    from convscope.net import Net
    from convscope.unknown import Unknown

    torch.manual_seed(0)
    found = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for text, size in NETS:
            net = Net.parse(text)
            module = net.build((1, *size))
            model = Model(net, module, (1, *size), ("a", "b", "ç"), Preprocessing(size, 1, mean=(0.1,), std=(0.3,)),
                          {"data": {"name": "x", "digest": "ab"}, "test_accuracy": 0.5})  # fmt: skip
            save_model(model, Path(folder) / "m")
            found.append((Path(folder) / "m").read_bytes())
        width = 48
        model.net = Net.parse("flatten, dense(3)")
        model.module, model.input_shape = model.net.build((3, 4, 4)), (3, 4, 4)
        model.preprocessing = Preprocessing((4, 4), 3, mean=(0.1,) * 3, std=(0.3,) * 3)
        model.unknown = Unknown(0.05, -1.0, 0.0, 1.0, 0.0, 1.0, torch.zeros(width), torch.eye(width)[:2])
        save_model(model, Path(folder) / "m")
        found.append((Path(folder) / "m").read_bytes())
    return found


def again(seed: int, number: int) -> int:
    """One file, read outside the worker."""
    from mutations import mutated

    from convscope.model_file import load_model

    name, content = mutated(samples(), seed, number)
    path = Path(tempfile.gettempdir()) / f"mutated-{seed}-{number}.safetensors"
    path.write_bytes(content)
    print(f"{name}, {len(content):,} bytes, {path}\n{content[:600]!r}")
    began_at = time.perf_counter()
    try:
        print(load_model(path))
    except Exception:
        traceback.print_exc()
    print(f"{time.perf_counter() - began_at:.3f} s")
    return 0


# ---- the worker -----------------------------------------------------------------------------------------------------


class Worker:
    """Reads file after file and tells what came of each group of them, as JSON lines on stdout."""

    def __init__(self, seed: int, folder: Path) -> None:
        from convscope.model_file import load_model

        self.seed, self.path, self.load = seed, folder / "m.safetensors", load_model
        self.samples = samples()
        self.events: list[str] = []
        self.status = os.open("/proc/self/status", os.O_RDONLY)
        self.peak = os.open("/proc/self/clear_refs", os.O_WRONLY)
        importlib.import_module("convscope.nets.timm_features")
        for content in self.samples:  # whatever is imported late is imported now
            self.path.write_bytes(content)
            self.load(self.path)
        sys.addaudithook(self.heard)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES_BYTES, used + ADDRESSES_BYTES))
        self.listening = False

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's audit events: what would run code or touch anything but the file itself."""
        if not getattr(self, "listening", False):
            return
        if event.startswith(STARTS_SOMETHING):
            self.events.append(event)
        elif (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.events.append(f"open {arguments[0]} for writing")
        elif event == "import":
            if str(arguments[0]).partition(".")[0] not in KNOWN:
                self.events.append(f"import {arguments[0]}")
        elif event == "exec":
            where = arguments[0].co_filename
            if not Path(where).is_file():
                self.events.append(f"exec {where}")

    def run(self, first: int, files: int) -> int:
        """Files `first` to `first + files`."""
        from mutations import mutated

        counts: collections.Counter[str] = collections.Counter()
        slowest = most_bytes = 0.0
        for number in range(first, first + files):
            name, content = mutated(self.samples, self.seed, number)
            self.path.write_bytes(content)
            if (number - first) % 50 == 0:
                faulthandler.dump_traceback_later(60 * LIMIT_S, exit=True)  # for the next fifty
            outcome, seconds, grown = self.read()
            slowest, most_bytes = max(slowest, seconds), max(most_bytes, grown)
            counts[outcome if outcome in ("read", "refused") else "failed"] += 1
            counts[name] += 1
            problem = self.problem(outcome, seconds, grown, len(content))
            if problem:
                print(json.dumps({"failed": number, "mutation": name, "why": problem}), flush=True)
            if (number - first) % 500 == 499 or number == first + files - 1:
                done = {"at": number + 1, "counts": counts, "slowest_s": slowest, "most_bytes": most_bytes}
                print(json.dumps(done), flush=True)
                counts.clear()
        return 0

    def read(self) -> tuple[str, float, int]:
        """What came of the file at hand, the seconds, and by how much memory grew at its peak."""
        from convscope.errors import ModelFileError

        os.pwrite(self.peak, b"5", 0)  # the peak is now
        before, began_at, outcome = self.memory(b"VmRSS:"), time.process_time(), "read"
        self.events, self.listening = [], True
        try:
            self.load(self.path)
        except ModelFileError as error:
            outcome = "refused" if "allocate" not in str(error) else f"{error}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error!s:.300}"
        self.listening = False
        return outcome, time.process_time() - began_at, self.memory(b"VmHWM:") - before

    def memory(self, name: bytes) -> int:
        """A line of /proc/self/status, in bytes."""
        status = os.pread(self.status, 8192, 0)
        return int(status[status.index(name) + len(name) :].split(None, 1)[0]) * 1024

    def problem(self, outcome: str, seconds: float, grown: int, size: int) -> str:
        """What is wrong with that, or the empty string."""
        if self.events:
            return f"ran {sorted(set(self.events))}"
        if outcome not in ("read", "refused"):
            return outcome
        if seconds > LIMIT_S:
            return f"took {seconds:.1f} s"
        if grown > MEMORY_BYTES + FILE_MULTIPLE * size:
            return f"took {grown:,} bytes for a file of {size:,}"
        return ""


# ---- all of them ----------------------------------------------------------------------------------------------------


def campaign(files: int, seed: int) -> int:
    """Workers one after the other until all files are read; prints counts and failures; status 1 if there are any."""
    counts: collections.Counter[str] = collections.Counter()
    slowest = most_bytes = 0.0
    failures: list[dict[str, Any]] = []
    began_at, at = time.monotonic(), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        while at < files:
            worker = subprocess.Popen(
                _command(at, files - at, seed, folder), stdout=subprocess.PIPE, text=True
            )
            assert worker.stdout is not None
            for line in worker.stdout:
                said = json.loads(line)
                if "failed" in said:
                    failures.append(said)
                    print(line, end="", flush=True)
                    continue
                at, slowest, most_bytes = (
                    said["at"],
                    max(slowest, said["slowest_s"]),
                    max(most_bytes, said["most_bytes"]),
                )
                counts.update(said["counts"])
                if at % 10_000 == 0:
                    print(
                        f"{at:,} of {files:,} after {time.monotonic() - began_at:.0f} s",
                        file=sys.stderr,
                        flush=True,
                    )
            if worker.wait() != 0:
                died = Path(folder) / "m.safetensors"
                kept = Path(tempfile.gettempdir()) / f"died-{seed}-{at}.safetensors"
                kept.write_bytes(died.read_bytes() if died.exists() else b"")
                failures.append(
                    {
                        "failed": f"within 500 from {at}",
                        "why": f"status {worker.returncode}",
                        "file": str(kept),
                    }
                )
                print(json.dumps(failures[-1]), flush=True)
                at += 500
    made = {name: count for name, count in counts.items() if name not in ("read", "refused", "failed")}
    print(
        f"{sum(made.values()):,} files, seed {seed}: {counts['read']:,} read, {counts['refused']:,} refused, "
        f"{len(failures)} failures; slowest {slowest:.2f} s; most memory {most_bytes / 1e6:.1f} MB; "
        f"{time.monotonic() - began_at:.0f} s in all\n{json.dumps(dict(sorted(made.items())))}"
    )
    return 1 if failures else 0


def _command(first: int, files: int, seed: int, folder: str) -> list[str]:
    return [
        sys.executable,
        __file__,
        "--worker",
        str(first),
        "--files",
        str(files),
        "--seed",
        str(seed),
        "--folder",
        folder,
    ]


if __name__ == "__main__":
    sys.exit(main())
