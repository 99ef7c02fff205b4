"""Models with random weights and the pictures they look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import Preprocessing
from convscope.model_file import Model
from convscope.net import Net

MakeModel = Callable[..., Model]


def random_model(net: Net | str, input_shape: tuple[int, int, int] = (1, 12, 12), classes: int = 4) -> Model:
    """A network with random weights, and batch normalisations that do something."""
    torch.manual_seed(0)
    described = Net.parse(net) if isinstance(net, str) else net
    module = described.build(input_shape, classes).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            for numbers in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                assert numbers is not None
                numbers.uniform_(0.2, 1.5)
    names = tuple(f"class <b>{k}</b>" for k in range(classes))
    preprocessing = Preprocessing(input_shape[1:], input_shape[0], mean=(0.3,) * input_shape[0])
    return Model(described.bind(classes), module, input_shape, names, preprocessing, {})


def noise(path: Path, input_shape: tuple[int, int, int]) -> Path:
    """A picture of noise, in colour where the input has three channels."""
    channels, rows, columns = input_shape
    pixels = np.random.default_rng(1).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0].copy()).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """12×12 gray noise."""
    return noise(tmp_path / "noise.png", (1, 12, 12))
