"""What every test shares: no network, no user cache, the shared data where it lies, a GPU only where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from convscope.model_file import Model

REPOSITORY = Path(__file__).parent.parent

# A busy machine makes any example slow once; how long something takes is no matter of a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder, so that no test reads or writes the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are laid out for 120 columns, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets: CONVSCOPE_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("CONVSCOPE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no data sets in {folder}; set CONVSCOPE_DATA to a folder with mnist/ in it")
    return folder.resolve()


@pytest.fixture(scope="session")
def digit_model() -> Model:
    """A model of digits that needs no training: one dense layer that names the nearest class mean.

    The scores are w·x − |w|²/2 with w the mean picture of a class; the largest one belongs to the nearest mean.
    """
    import torch

    from convscope.data import load_data
    from convscope.model_file import Model
    from convscope.net import Net

    data = load_data("mnist-10k")
    net = Net.parse("flatten, dense(10)")
    module = net.build(data.input_shape).eval()
    pixels = data.preprocessing.scale(torch.from_numpy(data.train.images)).flatten(1)  # (N, 784)
    labels = torch.from_numpy(data.train.labels)
    means = torch.stack([pixels[labels == k].mean(dim=0) for k in range(10)])  # (10, 784)
    weight, bias = module.parameters()
    with torch.no_grad():
        weight.copy_(means)
        bias.copy_(-means.square().sum(dim=1) / 2)
    card = {"data": {"name": "mnist-10k", "source": "mnist-10k", "digest": data.digest}}
    return Model(net, module, data.input_shape, data.class_names, data.preprocessing, card)


@pytest.fixture(scope="session")
def digit_file(digit_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a file."""
    from convscope.model_file import save_model

    path = tmp_path_factory.mktemp("digits") / "model.safetensors"
    save_model(digit_model, path)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, with the reason, where there is none."""
    waiting = [item for item in items if item.get_closest_marker("gpu")]
    if waiting and not _has_gpu():
        for item in waiting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
