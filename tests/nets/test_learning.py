"""Each small-image form learns: a floor under its accuracy after a fixed short budget on Fashion-MNIST.

The floors stand well under the means that were measured (docs/log.md), so that a broken net falls through and an
unlucky rounding does not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from convscope import nets
from convscope.data import load_data
from convscope.training import train

# steps of 64 images, peak rate of recipe `fast`, floor, and the mean measured over the seeds
BUDGETS = {
    "alexnet_small": (150, 4e-3, 0.60),  # 0.727
    "zfnet_small": (150, 4e-3, 0.62),  # 0.744
    "vgg11_small": (150, 4e-3, 0.58),  # 0.694
    "vgg16_small": (200, 1e-3, 0.50),  # 0.643
    "googlenet_small": (100, 2e-3, 0.36),  # 0.527
    "resnet18_small": (100, 4e-3, 0.78),  # 0.843
    "resnet50_small": (100, 4e-3, 0.68),  # 0.767
}


def test_every_small_form_has_a_floor():
    assert set(BUDGETS) == {name for name in nets.names() if name.endswith("_small")}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_a_small_form_reaches_its_floor(name: str, shared_data: Path, tmp_path: Path) -> None:
    steps, rate, floor = BUDGETS[name]
    data = load_data("fashion-mnist", data_dir=shared_data)
    run = train(data, name, "fast", steps=steps, batch_size=64, rate=rate, out=tmp_path / "run")
    assert run.result["test_accuracy"] >= floor
