"""A folder of 256-px JPEGs to 224-px training batches, beside torchvision's ImageFolder and DataLoader; and what grows.

    python benchmarks/from_disk.py                      everything, a quarter of an hour on two idle cores
    python benchmarks/from_disk.py --pictures 1000 --runs 3
    python benchmarks/from_disk.py --only growth

It makes its own pictures: crops of the photos in CONVSCOPE_DATA where there are some, else smooth noise, with grain,
JPEG quality 90. Both sides give float32 batches of 128, (B, 3, 224, 224), scaled by mean and standard deviation, every
picture once an epoch in a new order. Each run is a process of its own; the sides take turns. The clock starts after
the imports, when the folder is first looked at, and ours starts with an empty cache, its compiled part included.
The files themselves are in the system's memory for both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE_PX, WANTED_PX, BATCH = 256, 224, 128
CLASSES = 10
LATER_EPOCHS = 3
GROWTH = (10_000, 60_000, 600_000)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(ONE[arguments.one](Path(arguments.folder), arguments.number)))
        return
    with tempfile.TemporaryDirectory(prefix="convscope-from-disk-") as folder:
        if arguments.only in (None, "batches"):
            compare(Path(folder), arguments.pictures, arguments.runs, arguments.workers)
        if arguments.only in (None, "growth"):
            grow(Path(folder), arguments.runs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=3000, help="how many JPEGs (default 3000)")
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind (default 5)")
    parser.add_argument(
        "--workers", type=int, nargs="+", help="theirs (default 0, 1, 2, cores, twice as many)"
    )
    parser.add_argument("--only", choices=("batches", "growth"), help="one part only")
    parser.add_argument("--one", choices=tuple(ONE), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- pictures -------------------------------------------------------------------------------------------------------


def make_pictures(folder: Path, count: int) -> None:
    """`count` JPEGs of 256×256 pixels in ten class folders."""
    random = np.random.default_rng(0)
    photos = list(_photos(random))
    for number in range(count):
        photo = photos[number % len(photos)]
        side = random.integers(min(photo.size) // 2, min(photo.size))
        left, top = random.integers(0, photo.width - side + 1), random.integers(0, photo.height - side + 1)
        box = (int(left), int(top), int(left + side), int(top + side))
        pixels = np.asarray(photo.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box))
        grain = random.normal(0, 4, pixels.shape)
        path = folder / f"class{number % CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=90)


def _photos(random: np.random.Generator) -> Iterator[Image.Image]:
    """Up to a hundred photos, or as many clouds of colour."""
    paths = sorted(Path(os.environ.get("CONVSCOPE_DATA", "/nowhere")).glob("photos/**/*.jpg"))
    if paths:
        yield from (Image.open(path).convert("RGB") for path in paths[:: -(-len(paths) // 100)])
        return
    for _ in range(100):
        layers = (random.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (3, 6, 12, 24, 48))
        large = [np.asarray(Image.fromarray(layer).resize((384, 384))).astype(float) for layer in layers]
        yield Image.fromarray(np.average(large, axis=0, weights=(16, 8, 4, 2, 1)).astype(np.uint8))


# ---- one process ----------------------------------------------------------------------------------------------------


def ours(folder: Path, _: int) -> dict[str, Any]:
    """Seconds of the first epoch, and the median of later ones."""
    import torch

    from convscope.data import load_data
    from convscope.data.batches import Batches
    from convscope.data.mapped import as_tensor
    from convscope.engine.plan import make_plan
    from convscope.engine.random import order

    make_plan("cpu").apply()
    began_at = time.perf_counter()
    data = load_data(folder, size_px=WANTED_PX)
    batches = Batches(as_tensor(data.train.images), data.preprocessing)
    labels = torch.from_numpy(data.train.labels)

    def epoch(number: int) -> int:
        seen = 0
        for index in order(0, number, len(labels)).split(BATCH):
            images, _ = batches(index), labels[index]
            assert images.shape[1:] == (3, WANTED_PX, WANTED_PX)
            assert images.dtype == torch.float32
            seen += len(images)
        return seen

    return _timed(epoch, began_at)


def theirs(folder: Path, workers: int) -> dict[str, Any]:
    """The same by torchvision, with so many worker processes."""
    import warnings

    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    warnings.simplefilter("ignore")  # it advises against more workers than cores, and they may be faster
    began_at = time.perf_counter()
    steps = [
        transforms.Resize((WANTED_PX, WANTED_PX)),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    data = ImageFolder(str(folder), transforms.Compose(steps))
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def epoch(_: int) -> int:
        return sum(len(images) for images, _ in loader)

    return _timed(epoch, began_at)


def _timed(epoch: Callable[[int], int], began_at: float) -> dict[str, Any]:
    seen = epoch(0)
    first_s = time.perf_counter() - began_at
    later_s = []
    for number in range(1, 1 + LATER_EPOCHS):
        again_at = time.perf_counter()
        assert epoch(number) == seen
        later_s.append(time.perf_counter() - again_at)
    return {"seen": seen, "first_s": first_s, "later_s": statistics.median(later_s)}


def growth(folder: Path, count: int) -> dict[str, Any]:
    """Seconds an image of 1×28×28 in an epoch over a mapped file of which a tenth is held out, and memory."""
    import torch

    from convscope.data.batches import Batches
    from convscope.data.image_data import Split
    from convscope.data.mapped import as_tensor, open_map
    from convscope.data.preprocessing import Preprocessing
    from convscope.engine.random import order

    path = folder / f"{count}.u8"
    if not path.exists():
        with path.open("wb") as stream:
            for _ in range(count // 10_000):
                stream.write(os.urandom(10_000 * 784))
    split = Split(open_map(path, (count, 1, 28, 28)), np.arange(count, dtype=np.int64) % CLASSES)
    kept = split.take(np.flatnonzero(np.arange(count) % 10))
    batches = Batches(as_tensor(kept.images), Preprocessing((28, 28), 1, mean=(0.13,), std=(0.31,)))
    labels = torch.from_numpy(kept.labels)
    for warm_up in (True, False):  # the first pass brings the file into the system's memory
        began_at = time.perf_counter()
        for index in order(0, int(warm_up), len(labels)).split(BATCH):
            batches(index), labels[index]
    return {
        "us_an_image": 1e6 * (time.perf_counter() - began_at) / len(labels),
        "anonymous_mb": _status_mb("RssAnon"),
        "of_files_mb": _status_mb("RssFile"),
    }


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{name}:"))


ONE = {"ours": ours, "theirs": theirs, "growth": growth}


# ---- all of them ----------------------------------------------------------------------------------------------------


def run(kind: str, folder: Path, number: int, cache: Path) -> dict[str, Any]:
    """What one process answers."""
    options = ["--one", kind, "--folder", str(folder), "--number", str(number)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, __file__, *options], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(folder: Path, count: int, runs: int, asked: list[int] | None) -> None:
    """Ours and theirs in turns; prints medians with spread, and ratios to their best number of workers."""
    pictures = folder / "pictures"
    make_pictures(pictures, count)
    cores = os.cpu_count() or 1
    workers = asked or sorted({0, 1, 2, cores, 2 * cores})
    answers: dict[str, list[dict[str, Any]]] = {}
    for number in range(runs):
        for name in ["ours", *map(str, workers)]:
            cache = folder / f"cache-{number}"
            answer = run(
                "ours" if name == "ours" else "theirs", pictures, int(name.isdigit() and name), cache
            )
            assert answer["seen"] == count
            answers.setdefault(name, []).append(answer)
    print(f"{count:,} JPEGs of {SIDE_PX} px to batches of {BATCH} at {WANTED_PX} px, {runs} processes each")
    print("milliseconds an image: median (lowest to highest)\n")
    for when in ("first_s", "later_s"):
        print("first epoch" if when == "first_s" else "later epochs")
        table = {name: [1e3 * one[when] / count for one in each] for name, each in answers.items()}
        for name, each in table.items():
            label = "ours" if name == "ours" else f"ImageFolder + DataLoader, {name} workers"
            print(f"  {label:38} {_spread(each)}")
        best = min(workers, key=lambda number: statistics.median(table[str(number)]))
        pairs = [theirs / ours for ours, theirs in zip(table["ours"], table[str(best)], strict=True)]
        print(f"  ratio to theirs with {best} workers       {_spread(pairs)}\n")


def grow(folder: Path, runs: int) -> None:
    """Time an image and memory for more and more images on disk."""
    print(
        "images of 1×28×28 in a file, a tenth held out, the rest shuffled into batches: median (lowest to highest)"
    )
    answers: dict[int, list[dict[str, Any]]] = {count: [] for count in GROWTH}
    for _ in range(runs):
        for count in GROWTH:
            answers[count].append(run("growth", folder, count, folder / "cache"))
    for count, each in answers.items():
        columns = {name: _spread([one[name] for one in each]) for name in each[0]}
        print(
            f"  {count:>7,}: {columns['us_an_image']} µs an image, RssAnon {columns['anonymous_mb']} MB,"
            f" RssFile {columns['of_files_mb']} MB"
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
