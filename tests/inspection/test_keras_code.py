"""`--as keras`: the printed source is run with Keras on its torch backend, gets our weights, and gives our scores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from convscope import nets as zoo
from convscope.errors import ConvscopeError
from convscope.inspection.keras_code import copy_weights, keras_source
from convscope.net import Net

sys.path.insert(0, str(Path(__file__).parent.parent))
from strategies import nets

pytestmark = pytest.mark.slow

NAMES = ["lecture", "vgg16", "resnet18_small", "googlenet"]


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Keras on its torch backend and on the CPU, with a home of its own."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    found = pytest.importorskip("keras", reason="keras is not installed: pip install 'convscope[dev]'")
    if found.backend.backend() != "torch":
        pytest.skip(f"keras has the backend {found.backend.backend()}, and the comparison is made in torch")
    with found.device("cpu"):
        yield found


def scope_of(source: str) -> dict[str, Any]:
    """What the printed source defines, when nothing but the source is there."""
    scope: dict[str, Any] = {"__name__": "printed"}
    exec(compile(source, "printed.py", "exec"), scope)
    return scope


def lively(network: nn.Module) -> None:
    """Statistics and biases unlike the initial ones, so that a mix-up would show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)


def scores_of(model: Any, images: Tensor) -> Tensor:
    outputs = model(images.permute(0, 2, 3, 1).contiguous(), training=False)
    return torch.as_tensor(outputs)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert torch.isfinite(ours).all()
    assert (ours - theirs).abs().max() <= 1e-4 * ours.abs().max().clamp_min(1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_nets_that_matter_give_our_scores(name: str, keras: Any) -> None:
    entry = zoo.get(name)
    side = entry.net.smallest_input(entry.input_shape[0], entry.classes)
    assert side is not None
    shape = (entry.input_shape[0], side, side)
    network = entry.net.build(shape, entry.classes).eval()
    lively(network)
    scope = scope_of(keras_source(entry.net, shape, entry.classes))
    copy_weights(network, scope["model"])
    images = torch.rand(2, *shape)
    with torch.no_grad():
        assert_same(network(images), scores_of(scope["model"], images))
    trainable = sum(int(w.value.numel()) for w in scope["model"].trainable_weights)
    assert trainable == entry.net.infer(shape, entry.classes).parameters


def test_the_training_model_of_googlenet_has_its_three_outputs(keras: Any) -> None:
    net = Net.parse("conv(4, 3), lrn, aux(globalpool, dense(classes), weight=0.3), flatten, dense(classes)")
    network = net.build((2, 6, 6), 3).eval()
    scope = scope_of(keras_source(net, (2, 6, 6), 3))
    copy_weights(network, scope["training_model"])
    images = torch.rand(2, 2, 6, 6)
    with torch.no_grad():
        scores, [(_, side)] = network.training_forward(images)
        ours = scope["training_model"](images.permute(0, 2, 3, 1).contiguous())
    assert_same(scores, ours[0])
    assert_same(side, ours[1])


@pytest.mark.filterwarnings(
    "ignore:You are using a softmax over axis"
)  # of one map, which is as it should be here
@settings(max_examples=60, deadline=None)
@given(nets())
def test_random_nets_give_our_scores_or_are_refused(
    keras: Any, drawn: tuple[Net, tuple[int, int, int]]
) -> None:
    net, shape = drawn
    try:
        source = keras_source(net, shape)
    except ConvscopeError as error:
        assert "has no equal in Keras" in str(error)
        return
    network = net.build(shape).eval()
    lively(network)
    scope = scope_of(source)
    copy_weights(network, scope["model"])
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert_same(network(images), scores_of(scope["model"], images))


def test_the_source_reads_like_keras() -> None:
    assert keras_source(Net.parse("conv(6, 5), relu, maxpool(2), flatten, dense(classes)"), (3, 28, 28)) == (
        "# 28×28×3 → 10: 9,106 trainable parameters.\n"
        "# Pictures (N, H, W, C) come in, scores leave. The comments are Convscope's names and the shapes that leave.\n"
        "import keras\n"
        "from keras import layers\n"
        "\n\n"
        "model = keras.Sequential(\n"
        "    [\n"
        "        keras.Input((28, 28, 3)),\n"
        '        layers.Conv2D(6, 5, name="conv1"),  # 24×24×6\n'
        "        layers.ReLU(),  # relu1: 24×24×6\n"
        "        layers.MaxPooling2D(2),  # maxpool1: 12×12×6\n"
        "        layers.Permute((3, 1, 2)),  # maps first, as Convscope flattens\n"
        "        layers.Flatten(),  # flatten1: 864\n"
        '        layers.Dense(10, name="dense1"),  # 10\n'
        "    ]\n"
        ")\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "conv(2, 1, table=((0,), (1, 2))), flatten, dense(3)",
            "conv1, .* see only the maps that a table names",
        ),
        ("flatten, rbf(3)", "rbf1, rbf\\(3\\), has no equal in Keras: .* fixed codes"),
        ("subsample(2), flatten, dense(3)", "subsample1, .* trainable coefficient"),
        ("lppool(2), flatten, dense(3)", "lppool1, .* Lp norm"),
        (
            "avgpool(3, padding=1, stride=1), avgpool(3, padding=(1, 2, 1, 2), stride=1), flatten, dense(3)",
            "avgpool2, .* padding out of a mean",
        ),
        ("avgpool(2, ceil=True), flatten, dense(3)", "avgpool1, .* the same on both sides"),
        ("conv(2, 3, stride=2, dilation=2), flatten, dense(3)", "conv1, .* both a stride and a dilation"),
    ],
)
def test_what_keras_has_not_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConvscopeError, match=f"{reason}.*--as torch"):
        keras_source(Net.parse(text), (3, 9, 9))
