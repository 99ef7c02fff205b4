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
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

from convscope.benchmark.machine import machine
from convscope.data import ImageData, datasets, load_data
from convscope.errors import ConvscopeError

SCRIPTS = Path(__file__).resolve().parent / "peers"
LONGEST_RUN_S = 1800
ACCURACY = 0.9893  # the lecture's

# An environment's packages; where the first choice cannot be installed, the next is tried.
PACKAGES = {
    "keras-tensorflow": (("keras", "tensorflow-cpu"), ("keras", "tensorflow")),
    "keras-jax": (("keras", "jax"),),
    "torch": (("lightning", "fastai", "timm"),),
}
SHARES_TORCH = "torch"


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Args:
        name: in the table.
        environment: whose Python runs it; "ours" is this one.
        command: the script and its options.
        ours: whether it is ours; the others are the peers.
        precision: "float32" where it computes in that, for the comparison of like with like.
        choice: of contestants with the same choice only the fastest goes on after the first round.
        work: contestants with the same work are compared; a benchmark may have several.
        caches: "warm" where what earlier runs left behind may be used, "cold" where every run has new, empty ones.
        rehearses: whether it runs once before anything counts, so that its caches are warm from the first run on.
    """

    name: str
    environment: str
    command: tuple[str, ...]
    ours: bool = False
    precision: str = ""
    choice: str = ""
    work: str = ""
    caches: str = "warm"
    rehearses: bool = False


@dataclass
class Found:
    """What the runs of one contestant gave; `failure` is why there are none."""

    contestant: Contestant
    values: list[float] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values) if self.values else float("nan")


@dataclass(frozen=True)
class Ratio:
    """One ratio of medians that is asked for, above 1 where ours is better."""

    text: str
    value: float
    asked: float


Ratios = Callable[[list[Found]], Iterator[Ratio]]


@dataclass(frozen=True)
class Benchmark:
    """What is compared: the contestants, the unit, and which ratios are asked for."""

    name: str
    unit: str
    contestants: tuple[Contestant, ...]
    ratios: Ratios


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
        yield Ratio("best peer at its best precision", mine / _most(found, "peer"), 2.5)
        yield Ratio(
            "plain PyTorch float32, DataLoader", mine / _most(found, "peer", named="PyTorch, DataLoader"), 5.0
        )
        yield Ratio(
            "plain PyTorch float32, in memory", mine / _most(found, "peer", named="PyTorch, in memory"), 5.0
        )
        yield Ratio(
            "float32 against the best float32 peer", narrow / _most(found, "peer", precision="float32"), 1.3
        )

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
    kinds = [(recipe, caches) for recipe in ("fast", "mnist99") for caches in ("cold", "warm")]

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
            yield Ratio(
                f"{net}, bf16 autocast", here[0].median / _most(here, "peer", precision="bfloat16"), 1.3
            )
            yield Ratio(f"{net}, best peer", here[0].median / _most(here, "peer"), 1.3)

    return Benchmark("small_nets", "images/s", tuple(contestants), ratios)


BENCHMARKS: dict[str, Callable[[Path, tuple[str, ...]], Benchmark]] = {
    "lecture": lecture,
    "limit": limit,
    "to_accuracy": to_accuracy,
    "small_nets": small_nets,
}


def _most(found: list[Found], who: str, *, precision: str = "", named: str = "") -> float:
    """The largest median among the peers that were measured; NaN where there is none."""
    medians = [
        each.median
        for each in found
        if each.values
        and not each.contestant.ours
        and (not precision or each.contestant.precision == precision)
        and (not named or each.contestant.name == named or each.contestant.choice == named)
    ]
    return max(medians, default=float("nan"))


def _require_equal_parameters(found: list[Found]) -> None:
    counts = {each.contestant.name: each.answers[0]["parameters"] for each in found if each.answers}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"these are not the same network: {counts}")


# The environments ---------------------------------------------------------------------------------


class Environments:
    """The Pythons that run the contestants, made when they are first needed and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: dict[str, str] = {}

    def python(self, name: str) -> Path | None:
        """The Python of an environment, or None where it could not be made; `failures` says why."""
        if name == "ours":
            return Path(sys.executable)
        if name in self.failures:
            return None
        place = self.folder / name
        python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not (place / "ready").exists() and not self._made(name, place, python):
            return None
        return python

    def _made(self, name: str, place: Path, python: Path) -> bool:
        _say(f"Making the environment {name} in {place}; this takes some minutes, once.")
        venv.create(place, with_pip=True, clear=True)
        if name == SHARES_TORCH:
            _share_torch(python)
        for packages in PACKAGES[name]:
            command = [str(python), "-m", "pip", "install", "--quiet", *packages]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                (place / "ready").write_text("\n".join(packages), encoding="utf-8")
                return True
        self.failures[name] = f"pip could not install {' '.join(packages)}: {done.stderr.strip()[-300:]}"
        return False


def _share_torch(python: Path) -> None:
    """Let the environment see this Python's packages behind its own, so that torch is not downloaded again."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = Path(torch.__file__).parent.parent
    (Path(there) / "shared_torch.pth").write_text(f"{here}\n", encoding="utf-8")


# The runs -----------------------------------------------------------------------------------------


class Runner:
    """Runs contestants, each in a fresh process, and keeps what they answer."""

    def __init__(self, environments: Environments, cache: Path, data_dir: str | None) -> None:
        self.environments, self.cache, self.data_dir = environments, cache, data_dir

    def compare(self, benchmark: Benchmark, runs: int) -> list[Found]:
        """`runs` rounds; in each, every contestant that is still in once."""
        found = [Found(contestant) for contestant in benchmark.contestants]
        for contestant in benchmark.contestants:
            if contestant.rehearses:
                self._run(Found(contestant), benchmark.unit, f"{benchmark.name}, a rehearsal")
        for number in range(runs):
            for each in found:
                if not each.failure and self._is_chosen(each, found, number):
                    self._run(each, benchmark.unit, f"{benchmark.name} {number + 1}/{runs}")
        return found

    def _is_chosen(self, each: Found, found: list[Found], number: int) -> bool:
        """In the first round everyone; then only the fastest of each choice."""
        choice = each.contestant.choice
        rivals = [other for other in found if other.contestant.choice == choice and other.values]
        return number == 0 or not choice or each is max(rivals, key=lambda other: other.values[0])

    def _run(self, each: Found, unit: str, where: str) -> None:
        contestant = each.contestant
        python = self.environments.python(contestant.environment)
        if python is None:
            each.failure = self.environments.failures[contestant.environment]
            return
        with tempfile.TemporaryDirectory() as folder:
            command = [str(python), *self._command(contestant, Path(folder))]
            began_at = time.perf_counter()
            answer = _answer(command, self._variables(contestant, Path(folder)))
            wall_s = time.perf_counter() - began_at
        if isinstance(answer, str):
            each.failure = answer
        else:
            each.answers.append({**answer, "wall_s": wall_s})
            each.values.append(wall_s if unit == "s" else answer["images_per_s"])
        _say(
            f"{where}  {contestant.name}: {each.failure or f'{each.values[-1]:,.1f} {unit} ({wall_s:.0f} s)'}"
        )

    def _command(self, contestant: Contestant, folder: Path) -> list[str]:
        command = list(contestant.command)
        if command[0] == "-m":
            command += ["--out", str(folder / "run")] + (
                ["--data-dir", self.data_dir] if self.data_dir else []
            )
        return command

    def _variables(self, contestant: Contestant, folder: Path) -> dict[str, str]:
        """The user's own, less noise; cold caches are new ones, warm caches are ours and stay from run to run."""
        variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        if contestant.environment.startswith("keras-"):
            variables["KERAS_BACKEND"] = contestant.environment.removeprefix("keras-")
        caches = folder / "caches" if contestant.caches == "cold" else self.cache / "warm"
        variables |= {"XDG_CACHE_HOME": str(caches), "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor")}
        return variables


def _answer(command: list[str], variables: dict[str, str]) -> dict[str, Any] | str:
    """The JSON object on the last line that a command prints, or why there is none."""
    try:
        done = subprocess.run(
            command,
            env=variables,
            cwd=SCRIPTS,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_RUN_S,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {LONGEST_RUN_S} s"
    if done.returncode != 0:
        return f"status {done.returncode}: {done.stderr.strip()[-300:]}"
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


# The answer ---------------------------------------------------------------------------------------


def table(benchmark: Benchmark, found: list[Found]) -> str:
    """Medians with their spread, and each beside the best peer."""
    more_is_better = benchmark.unit != "s"
    choose = max if more_is_better else min
    rows = [("", benchmark.unit, "least – most", "n", "best peer = 1")]
    for each in found:
        if each.values:
            spread = f"{min(each.values):,.1f} – {max(each.values):,.1f}"
            work = each.contestant.work
            peers = [
                p.median for p in found if p.values and not p.contestant.ours and p.contestant.work == work
            ]
            best = choose(peers, default=float("nan"))
            relative = each.median / best if more_is_better else best / each.median
            rows.append(
                (
                    each.contestant.name,
                    f"{each.median:,.1f}",
                    spread,
                    str(len(each.values)),
                    f"{relative:.2f}",
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{row[0]:<{widths[0]}}  " + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in rows]
    lines += [f"{each.contestant.name}: {each.failure}" for each in found if each.failure]
    return "\n".join(lines)


def remarks(found: list[Found]) -> Iterator[str]:
    """Runs that did not reach the accuracy they were timed for: they must not be read as if they had."""
    for each in found:
        reached = [answer["test_accuracy"] for answer in each.answers if "test_accuracy" in answer]
        if reached:
            missed = sum(accuracy < ACCURACY for accuracy in reached)
            text = ", ".join(f"{accuracy:.4f}" for accuracy in reached)
            yield f"{each.contestant.name}: test accuracy {text}; {missed} of {len(reached)} below {ACCURACY}"


def document(benchmark: Benchmark, found: list[Found], ratios: list[Ratio]) -> dict[str, Any]:
    """Everything, as JSON."""
    return {
        "benchmark": benchmark.name,
        "unit": benchmark.unit,
        "rows": [
            {
                "name": each.contestant.name,
                "ours": each.contestant.ours,
                "median": each.median if each.values else None,
                "values": each.values,
                "answers": each.answers,
                "failure": each.failure or None,
            }
            for each in found
        ],
        "ratios": [
            {"against": ratio.text, "value": _finite(ratio.value), "asked": ratio.asked} for ratio in ratios
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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


def only(benchmark: Benchmark, words: str) -> Benchmark:
    """Ours and the peers with one of the words, which stand between commas, in their name."""
    wanted = words.lower().split(",")
    kept = tuple(
        each
        for each in benchmark.contestants
        if each.ours or any(word in each.name.lower() for word in wanted)
    )
    return Benchmark(benchmark.name, benchmark.unit, kept, benchmark.ratios)


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
        benchmark = only(BENCHMARKS[name](cache / "digits.npz", window), chosen.only)
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
