"""Tiny pictures, a tiny trained backbone, one thread, a feature cache of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from convscope.data import ImageData, from_arrays
from convscope.engine.plan import Plan, make_plan
from convscope.model_file import Model, save_model
from convscope.training import Run, train
from convscope.transfer_learning import transfer
from convscope.transfer_learning.backbones import Backbone, find

NET = """
    conv(8, 3, stride=2, padding=1, bias=False), batchnorm, relu,
    conv(16, 3, stride=2, padding=1, bias=False), batchnorm, relu,
    block("late", conv(16, 3, stride=2, padding=1), batchnorm, relu, conv(24, 3, stride=2, padding=1), relu),
    globalpool, dropout(0.1), dense(classes)
"""
SIDE = 32
Transfer = Callable[..., Run]
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans of one thread, and torch's settings put back after."""
    monkeypatch.setattr("convscope.engine.plan.available_cores", lambda: 1)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def gratings(
    n: int, classes: int, seed: int, channels: int = 3, side: int = SIDE
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Noisy gratings (n, C, side, side) whose direction says the class, n of them in turn."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    rows, columns = np.mgrid[0:side, 0:side] / side
    angle = np.pi * labels / classes
    wave = np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns
    phase = generator.uniform(0, 6, (n, 1, 1))
    light = 128 + 60 * np.sin(2 * np.pi * 4 * wave + phase)[:, None] * np.ones((1, channels, 1, 1))
    return np.clip(light + generator.normal(0, 15, light.shape), 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone of ours: a run on four kinds of gratings."""
    folder = tmp_path_factory.mktemp("backbone") / "run"
    data = from_arrays(*gratings(160, 4, seed=0), name="four")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.engine.plan.available_cores", lambda: 1)
        train(data, NET, epochs=6, batch_size=16, out=folder)
    return folder


@pytest.fixture
def backbone(trained_run: Path) -> Backbone:
    return find(trained_run)


@pytest.fixture(scope="session")
def few() -> ImageData:
    """Three new kinds of gratings: 30 to learn from, 30 to validate on, 30 to test on."""
    splits = [gratings(30, 3, seed) for seed in (11, 12, 13)]
    return from_arrays(*splits[0], validation=splits[1], test=splits[2], name="few")


@pytest.fixture
def plan() -> Plan:
    return make_plan("cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of class folders: 12 pictures of 40×48 in each of three."""
    images, labels = gratings(36, 3, seed=21, side=48)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "photos" / f"kind{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)[:40]).save(place / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def run_transfer(trained_run: Path, few: ImageData, tmp_path: Path) -> Transfer:
    """`transfer` of the tiny data from the tiny backbone, into tmp_path/run unless told otherwise."""

    def call(**given: Any) -> Run:
        wanted = {"data": few, "backbone": trained_run, "out": tmp_path / "run", "cache": tmp_path / "kept"}
        return transfer(**{**wanted, **given})

    return call


def saved(net: str, shape: tuple[int, int, int], names: tuple[str, ...], path: Path) -> Path:
    """A model file of a net with torch's starting weights."""
    from convscope.data import Preprocessing
    from convscope.net import Net

    torch.manual_seed(0)
    parsed = Net.parse(net)
    module = parsed.build(shape).eval()
    save_model(Model(parsed, module, shape, names, Preprocessing(shape[1:], shape[0]), {}), path)
    return path
