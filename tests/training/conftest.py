"""Tiny data, tiny nets, one thread: everything that training tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convscope.data import ImageData, from_arrays
from convscope.training import Event, Recipe, Run, train

NET = "conv(3, 3, stride=2), batchnorm, relu, flatten, dropout(0.25), dense(classes)"
Trainer = Callable[..., Run]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans of one thread, and torch's settings put back after."""
    monkeypatch.setattr("convscope.engine.plan.available_cores", lambda: 1)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def stripes(n: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures (n, 1, 6, 6) with a bright row that says the class."""
    noise = np.random.default_rng(seed).integers(0, 120, (n, 1, 6, 6))
    labels = np.arange(n) % classes
    noise[np.arange(n), 0, labels * 2] += 120
    return noise.astype(np.uint8), labels


@pytest.fixture(scope="session")
def data() -> ImageData:
    """63 images to learn from, 30 to validate on, 30 to test on; three classes."""
    return from_arrays(*stripes(63), validation=stripes(30, seed=1), test=stripes(30, seed=2), name="stripes")


@pytest.fixture
def run_train(data: ImageData, tmp_path: Path) -> Trainer:
    """`train` on the tiny data and net, into tmp_path/run unless told otherwise."""

    def call(**given: Any) -> Run:
        return train(**{"data": data, "net": NET, "out": tmp_path / "run", "batch_size": 16, **given})

    return call


@pytest.fixture
def fast_recipe() -> Recipe:
    """Recipe `fast` with a batch and a length that suit the tiny data."""
    from dataclasses import replace

    from convscope.training import recipes

    return replace(recipes.get("fast"), name="tiny", batch_size=16, steps=12)


class Stopper:
    """A listener that presses Ctrl-C once `at` steps are made, and remembers every event."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.events = at, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self.at is not None and event.kind == "step" and event.step >= self.at:
            raise KeyboardInterrupt

    def of(self, kind: str) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def stopper() -> type[Stopper]:
    return Stopper
