"""Ours beside the peers: the same work, in alternation, a fresh process a run.

    python benchmarks/compare.py                          everything, five runs each; README.md says how long
    python benchmarks/compare.py lecture --runs 3         one benchmark: lecture, limit, to_accuracy or small_nets
    python benchmarks/compare.py lecture --only Keras     ours and the peers with that word in their name
    python benchmarks/compare.py --json results.json      with every single number

The environments of the peers are made on the first call, in the user's cache or under --cache: one each for Keras on
TensorFlow, Keras on JAX, and the libraries on PyTorch, which share this Python's own torch. Nothing is installed here.
Digits come from a real MNIST where `convscope train mnist` finds one, else from the bundled 10,000.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import platformdirs
from running import (
    ACCURACY,
    Benchmark,
    Contestant,
    Environments,
    Found,
    Ratio,
    Runner,
    document,
    most,
    remarks,
    table,
)

from convscope.benchmark.machine import machine
from convscope.data import ImageData, datasets, load_data
from convscope.errors import ConvscopeError

# The benchmarks -----------------------------------------------------------------------------------


def lecture(data: Path, window: tuple[str, ...]) -> Benchmark:
    """The lecture's network with the lecture's recipe: training images a second, once it runs steadily."""
    given = ("--data", str(data), *window)

    def ours(name: str, *more: str) -> Contestant:
        return Contestant(name, "ours", ("ours.py", "--net", "lecture", *given, *more), True)

    def peer(
        name: str, script: str, environment: str, precision: str, *more: str, choice: str = ""
    ) -> Contestant:
        narrow = ("--precision", precision) if precision == "bfloat16" else ()
        return Contestant(name, environment, (script, *given, *narrow, *more), False, precision, choice)

    def with_workers(name: str, script: str, precision: str, *more: str) -> Iterator[Contestant]:
        for workers in ("0", "2"):
            yield peer(
                f"{name}, {workers} workers",
                script,
                "torch",
                precision,
                *more,
                "--workers",
                workers,
                choice=name,
            )

    memory = ("--feed", "memory")
    contestants = (
        ours("convscope"),
        ours("convscope, float32", "--precision", "float32"),
        *with_workers("PyTorch, DataLoader", "lecture_torch.py", "float32", "--feed", "loader"),
        peer("PyTorch, in memory", "lecture_torch.py", "torch", "float32", *memory),
        peer(
            "PyTorch, in memory, compiled",
            "lecture_torch.py",
            "torch",
            "float32",
            *memory,
            "--compile",
            "yes",
        ),
        peer("PyTorch bf16, in memory", "lecture_torch.py", "torch", "bfloat16", *memory),
        peer(
            "PyTorch bf16, in memory, compiled",
            "lecture_torch.py",
            "torch",
            "bfloat16",
            *memory,
            "--compile",
            "yes",
        ),
        *with_workers("Lightning", "lecture_lightning.py", "float32"),
        *with_workers("Lightning bf16", "lecture_lightning.py", "bfloat16"),
        *with_workers("fastai", "lecture_fastai.py", "float32"),
        peer("Keras, TensorFlow", "lecture_keras.py", "keras-tensorflow", "float32"),
        peer("Keras bf16, TensorFlow", "lecture_keras.py", "keras-tensorflow", "bfloat16"),
        peer("Keras, JAX", "lecture_keras.py", "keras-jax", "float32"),
    )

    def ratios(found: list[Found]) -> Iterator[Ratio]:
        mine, narrow = found[0].median, found[1].median
        yield Ratio("best peer at its best precision", mine / most(found), 2.5)
        yield Ratio("plain PyTorch float32, DataLoader", mine / most(found, named="PyTorch, DataLoader"), 5.0)
        yield Ratio("plain PyTorch float32, in memory", mine / most(found, named="PyTorch, in memory"), 5.0)
        yield Ratio("float32 against the best float32 peer", narrow / most(found, precision="float32"), 1.3)

    return Benchmark("lecture", "images/s", contestants, ratios)


def limit(data: Path, window: tuple[str, ...]) -> Benchmark:
    """The lecture's network beside the measured limit of its training step, in the plan's precision and in float32."""
    steady = ("ours.py", "--net", "lecture", "--data", str(data), *window)
    alone = ("ours.py", "--net", "lecture", "--limit", "yes")
    contestants = (
        Contestant("convscope", "ours", steady, True),
        Contestant("convscope, float32", "ours", (*steady, "--precision", "float32"), True),
        Contestant("limit", "ours", alone),
        Contestant("limit, float32", "ours", (*alone, "--precision", "float32")),
    )

    def ratios(found: list[Found]) -> Iterator[Ratio]:
        yield Ratio("share of the limit", found[0].median / found[2].median, 0.65)
        yield Ratio("share of the limit, float32", found[1].median / found[3].median, 0.65)

    return Benchmark("limit", "images/s", contestants, ratios)


def to_accuracy(data: Path, window: tuple[str, ...]) -> Benchmark:
    """Seconds from the command to a model of the lecture's test accuracy, with all start-up."""

    def ours(recipe: str, caches: str) -> Contestant:
        command = ("-m", "convscope", "train", "mnist", "--recipe", recipe, "--json", "--quiet", "--offline")
        name = f"convscope train --recipe {recipe}, {caches} caches"
        return Contestant(name, "ours", command, True, caches=caches, rehearses=caches == "warm")

    keras = ("lecture_keras.py", "--data", str(data), "--until", str(ACCURACY))
    notebook = Contestant(
        "the notebook in Keras, TensorFlow, float32", "keras-tensorflow", keras, precision="float32"
    )
    kinds = [(recipe, caches) for recipe in ("fast", "mnist9893", "mnist99") for caches in ("cold", "warm")]

    def ratios(found: list[Found]) -> Iterator[Ratio]:
        for (recipe, caches), each in zip(kinds, found, strict=False):
            yield Ratio(
                f"{recipe}, {caches} caches",
                found[-1].median / each.median,
                10.0 if caches == "cold" else 15.0,
            )

    return Benchmark("to_accuracy", "s", (*(ours(*kind) for kind in kinds), notebook), ratios)


def small_nets(data: Path, window: tuple[str, ...]) -> Benchmark:
    """resnet18_small and cifar_resnet20 at 32 px on noise: training images a second."""
    codes = {"resnet18_small": ("torchvision", "timm"), "cifar_resnet20": ("plain",)}
    contestants: list[Contestant] = []
    for net, sources in codes.items():
        contestants.append(
            Contestant(f"{net}, convscope", "ours", ("ours.py", "--net", net, *window), True, work=net)
        )
        for code in sources:
            for precision, label in (("bfloat16", "bf16 autocast"), ("float32", "float32")):
                script = (
                    "small_nets_torch.py",
                    "--net",
                    net,
                    "--code",
                    code,
                    "--precision",
                    precision,
                    *window,
                )
                contestants.append(
                    Contestant(
                        f"{net}, {code}, channels_last, {label}", "torch", script, False, precision, work=net
                    )
                )

    def ratios(found: list[Found]) -> Iterator[Ratio]:
        for net in codes:
            here = [each for each in found if each.contestant.work == net]
            _require_equal_parameters(here)
            yield Ratio(f"{net}, bf16 autocast", here[0].median / most(here, precision="bfloat16"), 1.3)
            yield Ratio(f"{net}, best peer", here[0].median / most(here), 1.3)

    return Benchmark("small_nets", "images/s", tuple(contestants), ratios)


BENCHMARKS: dict[str, Callable[[Path, tuple[str, ...]], Benchmark]] = {
    "lecture": lecture,
    "limit": limit,
    "to_accuracy": to_accuracy,
    "small_nets": small_nets,
}


def _require_equal_parameters(found: list[Found]) -> None:
    counts = {each.contestant.name: each.answers[0]["parameters"] for each in found if each.answers}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"these are not the same network: {counts}")


# The command --------------------------------------------------------------------------------------


def digits(data_dir: str | None) -> ImageData:
    """MNIST where it is at hand, else the digits that ship with convscope."""
    try:
        return load_data("mnist", data_dir=data_dir, offline=True)
    except ConvscopeError:
        return load_data("mnist-10k")


def data_folder(given: str | None) -> str | None:
    """The folder that holds mnist/: the one given, else where `convscope data list` finds it. Cold caches need it."""
    if given:
        return str(Path(given).resolve())
    where = next(row["where"] for row in datasets() if row["name"] == "mnist")
    return str(Path(where).parent) if where else None


def write_npz(data: ImageData, path: Path) -> None:
    """The digits as Keras keeps MNIST: x (N, 28, 28) uint8, y (N,)."""
    assert data.test is not None
    np.savez(
        path,
        x_train=data.train.images[:, 0],
        y_train=data.train.labels,
        x_test=data.test.images[:, 0],
        y_test=data.test.labels,
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Ours beside the peers, in alternation, a fresh process a run."
    )
    parser.add_argument(
        "benchmarks", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}; default: all"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each contestant (default 5)")
    parser.add_argument(
        "--only",
        default="",
        help="ours, and only the peers with one of these words in their name: Keras,Lightning",
    )
    parser.add_argument(
        "--cache", type=Path, help="where the environments are kept; default: the user's cache"
    )
    parser.add_argument("--data-dir", help="a folder with mnist/ in it, as convscope takes it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to FILE")
    parser.add_argument(
        "--warm-steps", type=int, default=20, help="steps before the clock starts (default 20)"
    )
    parser.add_argument("--steps", type=int, default=300, help="steps that count (default 300)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="at most so long a run counts (default 10)"
    )
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.benchmarks if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; expected one of {', '.join(BENCHMARKS)}")
    if min(chosen.runs, chosen.warm_steps, chosen.steps) < 1 or not chosen.seconds > 0:
        parser.error("--runs, --warm-steps and --steps must be at least 1, --seconds above 0")
    return chosen


def main() -> int:
    chosen = options()
    cache = chosen.cache or Path(platformdirs.user_cache_dir("convscope")) / "benchmarks"
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    data_dir = data_folder(chosen.data_dir)
    runner = Runner(Environments(cache), cache, data_dir)
    window = (
        "--warm-steps",
        str(chosen.warm_steps),
        "--steps",
        str(chosen.steps),
        "--seconds",
        str(chosen.seconds),
    )
    found_digits = digits(data_dir)
    write_npz(found_digits, cache / "digits.npz")
    documents = []
    names = list(chosen.benchmarks or BENCHMARKS)
    if "to_accuracy" in names and found_digits.name != "mnist":
        names.remove("to_accuracy")
        print("to_accuracy is left out: it needs the whole of MNIST; give --data-dir or set CONVSCOPE_DATA")
    for name in names:
        benchmark = BENCHMARKS[name](cache / "digits.npz", window).only(chosen.only)
        found = runner.compare(benchmark, chosen.runs)
        ratios = list(benchmark.ratios(found)) if len(found) == len(benchmark.contestants) else []
        documents.append(document(benchmark, found, ratios))
        print(f"\n{name}, digits: {found_digits.origin}\n\n{table(benchmark, found)}\n")
        for ratio in ratios:
            print(f"against {ratio.text}: {ratio.value:.2f} (asked: {ratio.asked})")
        print("\n".join(remarks(found)), flush=True)
    if chosen.json:
        head = {
            "date": datetime.date.today().isoformat(),
            "machine": machine().to_json(),
            "runs": chosen.runs,
        }
        chosen.json.write_text(json.dumps({**head, "benchmarks": documents}, indent=1), encoding="utf-8")
    return int(any(row["failure"] for each in documents for row in each["rows"]))


if __name__ == "__main__":
    sys.exit(main())
