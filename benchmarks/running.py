"""What runs a comparison: contestants in environments of their own, in alternation, a fresh process a run; its table.

The environments of the peers are made on the first call and kept: one each for Keras on TensorFlow, Keras on JAX, and
the libraries on PyTorch, which share this Python's own torch.
"""

from __future__ import annotations

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

SCRIPTS = Path(__file__).resolve().parent / "peers"
LONGEST_RUN_S = 1800
ACCURACY = 0.9893  # the lecture's

# An environment's packages; where the first choice cannot be installed, the next is tried.
PACKAGES = {
    "keras-tensorflow": (("keras", "tensorflow-cpu"), ("keras", "tensorflow")),
    "keras-jax": (("keras", "jax"),),
    "torch": (("lightning", "fastai", "timm", "scikit-learn"),),
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

    def only(self, words: str) -> Benchmark:
        """Ours and the peers with one of the words, which stand between commas, in their name."""
        wanted = words.lower().split(",")
        kept = tuple(
            each
            for each in self.contestants
            if each.ours or any(word in each.name.lower() for word in wanted)
        )
        return replace(self, contestants=kept)


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


def most(found: list[Found], *, precision: str = "", named: str = "") -> float:
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
