"""Published weights: torchvision's own networks against ours, number by number, and files that are not what they say.

No published file is fetched: torchvision's networks with random weights stand in for them.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision.models
from PIL import Image

from convscope import nets
from convscope.data import from_arrays
from convscope.data.data_set import Download
from convscope.errors import DataError, ModelFileError, RunError
from convscope.model_file import load_model, read_card
from convscope.nets import weights
from convscope.nets.weights import published, tensors
from convscope.training import Adam, recipes, train
from convscope.training.events import Event, Note

SIZES = {
    "alexnet": (224, 160),
    "vgg11_bn": (224, 96),
    "googlenet_torchvision": (224, 128),
    "resnet18": (224, 97),
}
SLOW = ("alexnet", "vgg11_bn")
TORCHVISION = [name for name in weights.names() if nets.get(name).torchvision]


def theirs(name: str) -> Any:
    """torchvision's network with random weights and random statistics of its norms, in evaluation mode."""
    builder = nets.get(name).torchvision
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        options = {"init_weights": False} if builder == "googlenet" else {}
        model = torchvision.models.get_model(builder, weights=None, **options).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.weight.device.type == "cpu":
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_both_ways(name: str) -> None:
    entry = nets.get(name)
    assert entry.torchvision is not None
    with torch.device("meta"):
        model, ours = theirs(name), entry.net.build((3, 224, 224), 1000)
    back = weights.torchvision_names(ours, name)
    assert model.load_state_dict(back, strict=True, assign=True)
    there = tensors.renamed(model.state_dict(), entry.torchvision, ours.state_dict(), "a file")
    assert {key: t.shape for key, t in there.items()} == {
        key: t.shape for key, t in ours.state_dict().items()
    }


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_those_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        model = theirs(name)
    inference = nets.get(name).net.infer((3, 224, 224), 1000)
    counted = sum(p.numel() for p in model.parameters())
    assert counted == inference.parameters + inference.parameters_training_only


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SIZES])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "pixels"])
def test_scores_are_those_of_torchvision(name: str, layout: torch.memory_format) -> None:
    model = theirs(name).to(memory_format=layout)
    for side in SIZES[name]:
        ours = nets.get(name).net.build((3, side, side), 1000).eval()
        ours.load_state_dict(
            tensors.renamed(model.state_dict(), nets.get(name).torchvision or "", ours.state_dict(), "a file")
        )
        ours = ours.to(memory_format=layout)
        images = torch.randn(2, 3, side, side).contiguous(memory_format=layout)
        with torch.no_grad():
            expected, scores = model(images), ours(images)
        assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_exported_weights_give_torchvision_our_scores() -> None:
    ours = nets.get("resnet18").net.build((3, 64, 64), 1000).eval()
    model = theirs("resnet18")
    model.load_state_dict(weights.torchvision_names(ours, "resnet18"), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), ours(images), rtol=1e-5, atol=1e-5)


def test_other_channels_keep_what_a_gray_picture_gives() -> None:
    filters = torch.randn(8, 3, 7, 7)
    gray = torch.rand(2, 1, 16, 16)
    expected = torch.nn.functional.conv2d(gray.expand(-1, 3, -1, -1), filters)
    for channels in (1, 2, 4, 6):
        given = gray.expand(-1, channels, -1, -1)
        scores = torch.nn.functional.conv2d(given, tensors.other_channels(filters, channels))
        if channels in (1, 6):
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
        assert scores.shape == expected.shape


def test_preprocessing_is_torchvisions() -> None:
    prepared = weights.preprocessing("resnet18")
    assert (prepared.mean, prepared.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (prepared.size_px, prepared.fit, prepared.crop_share) == ((224, 224), "crop", 224 / 256)
    assert weights.preprocessing("googlenet_torchvision").mean == (0.5, 0.5, 0.5)
    noise = torch.randint(0, 256, (8, 10, 3), dtype=torch.uint8).numpy()
    picture = Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC)
    expected = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()(picture)
    ours = prepared.scale(torch.from_numpy(prepared.pixels(picture))[None])[0]
    assert (
        ours - expected
    ).abs().mean() < 0.03  # it resamples and rounds once where torchvision does so twice


# Files ----------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served as the place where weights are published, and empty caches."""
    served = tmp_path / "served"
    served.mkdir()
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("CONVSCOPE_DATA", raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = published.Published.of

    def of(builder: str) -> published.Published:
        file = next(served.iterdir(), Path("resnet18-00000000.pth"))
        download = Download(file.name, 0, f"sha256:{file.stem.rpartition('-')[2]}")
        return published.Published(
            builder, f"http://127.0.0.1:{server.server_port}/", download, own(builder).class_names
        )

    monkeypatch.setattr(published.Published, "of", staticmethod(of))
    yield served
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


def publish(folder: Path, digest: str | None = None) -> Path:
    """Random weights of resnet18 as torchvision would publish them, under the digest of their name."""
    path = folder / "new"
    torch.save(theirs("resnet18").state_dict(), path)
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"resnet18-{digest}.pth")


def test_published_weights_come_once_and_stay(mirror: Path) -> None:
    file = publish(mirror)
    model = weights.load("resnet18")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), theirs("resnet18")(images), rtol=1e-5, atol=1e-5)
    assert len(model.class_names) == 1000
    assert model.class_names[0] == "tench"
    assert model.card["weights"]["source"].endswith(file.name)
    assert [path.name for path in published.cache().iterdir() if path.suffix] == ["resnet18.safetensors"]
    again = load_model("resnet18")
    assert torch.equal(again.module(images), model.module(images))
    assert read_card("resnet18")["input_shape"] == [3, 224, 224]
    said: list[str] = []
    gray = weights.load("resnet18", classes=5, channels=1, offline=True, say=said.append)
    assert gray.module(torch.rand(2, 1, 224, 224)).shape == (2, 5)
    assert gray.input_shape == gray.preprocessing.input_shape == (1, 224, 224)
    assert said == [
        "conv1 sees one channel: its filters are the sums of those for red, green and blue.",
        "fc starts anew: it has 5 classes and the published weights have 1000.",
    ]


@pytest.mark.slow
def test_training_starts_from_published_weights(mirror: Path, tmp_path: Path) -> None:
    publish(mirror)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1, 28, 28), dtype=np.uint8)
    data = from_arrays(images, np.arange(12) % 3, test=(images[:3], np.arange(3)))
    events: list[Event] = []
    recipe = replace(recipes.get("fast"), optimizer=Adam(rate=1e-9), steps=1, batch_size=3, hold_out=0.0)
    run = train(data, "resnet18", recipe, weights="imagenet", out=tmp_path / "run", listeners=[events.append])
    notes = "\n".join(event.text for event in events if isinstance(event, Note))
    assert "conv1 sees one channel" in notes
    assert "fc starts anew: it has 3 classes" in notes
    assert "resnet18 starts from its published ImageNet weights." in notes
    model = run.model()
    assert model.preprocessing.mean == weights.preprocessing("resnet18", 1).mean
    trained = model.module.state_dict()["layer1.residual1.conv1.weight"]
    torch.testing.assert_close(trained, theirs("resnet18").state_dict()["layer1.0.conv1.weight"])


def test_a_net_without_published_weights(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="weights imagenet for the net 'lecture', which has none"):
        train("mnist-10k", "lecture", weights="imagenet", out=tmp_path / "run")
    with pytest.raises(
        RunError,
        match="weights 'imagenett'. Expected imagenet, a model file or a run folder. Did you mean 'imagenet'",
    ):
        train("mnist-10k", "resnet18", weights="imagenett", out=tmp_path / "run")
    with pytest.raises(ModelFileError, match="no published weights for 'resnet19'.*Did you mean"):
        weights.load("resnet19")


def test_a_corrupt_download(mirror: Path) -> None:
    file = publish(mirror, digest="0123abcd")
    with pytest.raises(DataError, match=rf"sent a wrong {file.name}: sha256 .* instead of 0123abcd"):
        weights.load("resnet18")
    assert any(".wrong-" in path.name for path in published.cache().iterdir())


def test_nothing_is_fetched_offline(mirror: Path) -> None:
    publish(mirror)
    with pytest.raises(DataError, match="is not at hand, and --offline fetches nothing"):
        weights.load("resnet18", offline=True)


def test_a_damaged_file_at_hand(mirror: Path) -> None:
    file = publish(mirror)
    published.cache().mkdir(parents=True)
    (published.cache() / file.name).write_bytes(b"half")
    with pytest.raises(DataError, match="is damaged, or not the file of that name"):
        weights.load("resnet18")


def test_a_file_of_another_net(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    expected = r"has the tensor 'conv1.weight' of shape 64×3×3×3. Expected 'conv1.weight' of shape 64×3×7×7"
    with pytest.raises(ModelFileError, match=expected):
        weights.load("resnet18", file=path)
    safetensors.torch.save_file({"features.0.weight": torch.zeros(64, 3, 11, 11)}, path)
    expected = (
        r"no tensor 'conv1.weight'; its first is 'features.0.weight' of shape 64×3×11×11. "
        r"Expected 'conv1.weight' of shape 64×3×7×7, as resnet18 has it"
    )
    with pytest.raises(ModelFileError, match=expected):
        weights.load("resnet18", file=path)
    exported = {key: tensor.contiguous() for key, tensor in theirs("resnet18").state_dict().items()}
    safetensors.torch.save_file({**exported, "more": torch.zeros(2)}, path)
    with pytest.raises(
        ModelFileError, match=r"has the tensor 'more' of shape 2. Expected the tensors of resnet18"
    ):
        weights.load("resnet18", file=path)


def test_no_other_pickle_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match=r"is not torchvision's resnet18-f37072fd.pth: its SHA-256 is"):
        weights.load("resnet18", file=path)


def test_an_older_file_without_counters(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    state = theirs("resnet18").state_dict()
    safetensors.torch.save_file({k: t for k, t in state.items() if "num_batches" not in k}, path)
    assert weights.load("resnet18", file=path).module.training is False
