"""Contestants in alternation: each in a process of its own, got ready once, then one short turn after another.

Whatever else the machine does meanwhile falls on all of them alike, and no contestant lives with the threads, the
allocator or the caches of another.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from convscope.benchmark.contestants import Task

LAST_WORDS = 2000
LEAVES_WITHIN_S = 10.0


@dataclass(frozen=True)
class Rates:
    """Images a second, one number a round."""

    each: tuple[float, ...]

    @property
    def median(self) -> float:
        """The number to compare."""
        return statistics.median(self.each)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "images_per_s": self.median,
            "least_images_per_s": min(self.each),
            "most_images_per_s": max(self.each),
            "rounds": len(self.each),
        }


@dataclass(frozen=True)
class Entry:
    """A contestant's name in `CONTESTANTS` and its task."""

    contestant: str
    task: Task


def alternate(
    entries: Mapping[str, Entry], rounds: int, warm_s: float, turn_s: Callable[[], float]
) -> dict[str, Rates]:
    """Let every entry measure once a round.

    Args:
        entries: by the name that the answer has them under.
        rounds: turns of each.
        warm_s: the first turn of each, which does not count.
        turn_s: asked for the seconds of each turn, so that it can look at the clock.
    """
    measured: dict[str, list[float]] = {name: [] for name in entries}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(entry)) for name, entry in entries.items()}
        for worker in workers.values():
            worker.measure(warm_s)
        for _ in range(rounds):
            for name, worker in workers.items():
                measured[name].append(worker.measure(turn_s()))
    return {name: Rates(tuple(each)) for name, each in measured.items()}


class _Worker:
    """A process that serves one entry; leaving the block ends it."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __enter__(self) -> _Worker:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "convscope.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._send({"contestant": self._entry.contestant, "task": self._entry.task.to_json()})
        return self

    def measure(self, seconds: float) -> float:
        """Images a second of a turn of about so many seconds."""
        self._send({"seconds": seconds})
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the measurement of {self._entry.contestant!r} ended: {self._last_words()}")
        images_per_s: float = json.loads(answer)["images_per_s"]
        return images_per_s

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(
                f"the measurement of {self._entry.contestant!r} ended: {self._last_words()}"
            ) from None

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return self._errors.read()[-LAST_WORDS:]

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # the end of the requests: it removes its files and leaves
        try:
            self._process.wait(LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
