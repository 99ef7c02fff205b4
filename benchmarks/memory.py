"""Whether training from a folder of JPEGs takes memory that grows with the folder: the peak of RssAnon, measured.

    python benchmarks/memory.py                          5,000 and 20,000 pictures of 224 px, some ten minutes
    python benchmarks/memory.py --pictures 500 2000

20,000 pictures of 3×224×224 are 3.0 GB once decoded. Each size is a folder and a process of its own with an empty
cache: `convscope.train`, one epoch of a small net, every picture decoded, kept, learned from or judged on. RssAnon is
what the process itself takes and cannot give back; a thread of it looks every 10 ms. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE_PX, CLASSES = 224, 10
NET = "conv(8, 7, stride=4), relu, maxpool(2), conv(16, 3), relu, globalpool, dense(classes)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    arguments = parser.parse_args()
    if arguments.one:
        return print(json.dumps(trained(arguments.one)))
    with tempfile.TemporaryDirectory(prefix="convscope-memory-") as folder:
        rows = [measured(Path(folder) / str(count), count) for count in arguments.pictures]
    for row in rows:
        print(
            f"{row['pictures']:>7,} pictures, {row['decoded_bytes'] / 1e9:.2f} GB decoded: RssAnon at its peak "
            f"{row['peak_anonymous_mb']:.0f} MB ({row['before_mb']:.0f} MB before the data), "
            f"{row['wall_s']:.0f} s, validation accuracy {row['accuracy']}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def measured(folder: Path, count: int) -> dict[str, Any]:
    """Pictures made, one process over them, everything deleted again."""
    make_pictures(folder / "pictures", count)
    command = [sys.executable, __file__, "--one", str(folder)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    shutil.rmtree(folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"pictures": count, "decoded_bytes": count * 3 * SIDE_PX**2, **json.loads(done.stdout)}


def make_pictures(folder: Path, count: int) -> None:
    """Smooth JPEGs, no two alike: the class is the tint, the rest is chance."""
    numbers = np.random.default_rng(0)
    for number in range(count):
        tint = 40.0 * np.eye(3)[number % 3] * (1 + number % CLASSES)
        coarse = np.clip(numbers.normal(110, 40, (8, 8, 3)) + tint / 4, 0, 255).astype(np.uint8)
        path = folder / f"class{number % CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR).save(path, quality=85)


def trained(folder: Path) -> dict[str, Any]:
    """One training; the peak of RssAnon in it."""
    from convscope.training import train

    watch = Watch()
    before_mb, began_at = anonymous_mb(), time.monotonic()
    run = train(
        folder / "pictures", NET, epochs=1, batch_size=64, size_px=SIDE_PX, device="cpu", out=folder / "run"
    )
    return {
        "before_mb": before_mb,
        "peak_anonymous_mb": watch.stopped(),
        "wall_s": time.monotonic() - began_at,
        "accuracy": run.result["validation_accuracy"],
    }


class Watch(threading.Thread):
    """Looks at RssAnon every 10 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most_mb, self.over = 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.01):
            self.most_mb = max(self.most_mb, anonymous_mb())

    def stopped(self) -> float:
        self.over.set()
        self.join()
        return self.most_mb


def anonymous_mb() -> float:
    """Memory of this process that lies in no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
