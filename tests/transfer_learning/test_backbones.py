"""What a backbone is made of, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from convscope import nets
from convscope.data import Preprocessing
from convscope.errors import MissingExtraError, ModelFileError, ShapeError
from convscope.net import Net
from convscope.nets import weights
from convscope.nets.weights import published
from convscope.transfer_learning import backbones
from convscope.transfer_learning.backbones import Backbone, find, head_place

from .conftest import saved


def of(name: str) -> Backbone:
    """A backbone of the zoo without numbers."""
    entry = nets.get(name)
    net = backbones.without_training_only(entry.net.bind(entry.classes))
    prepared = Preprocessing(entry.input_shape[1:], entry.input_shape[0])
    return Backbone(name, name, net, {}, prepared, "")


def test_body_and_head_are_the_whole(backbone: Backbone) -> None:
    images = torch.rand(2, *backbone.preprocessing.input_shape)
    whole = backbone.net.build(backbone.preprocessing.input_shape).eval()
    whole.load_state_dict(backbone.weights)
    head = whole.get_submodule(backbone.head_name)
    with torch.no_grad():
        features = backbone.features(backbone.preprocessing.input_shape, twice=False)(images)
        torch.testing.assert_close(head(features), whole(images))


def test_features_of_the_middle_come_first(backbone: Backbone) -> None:
    shape = backbone.preprocessing.input_shape
    images = torch.rand(2, *shape)
    assert backbone.middle == 7  # `late` brings 32 pixels to 2
    with torch.no_grad():
        both = backbone.features(shape, twice=True)(images)
        once = backbone.features(shape, twice=False)
        late = once.activations(images, ["late"])["late"]
        torch.testing.assert_close(both[:, late.shape[1] :], once(images))
        torch.testing.assert_close(both[:, : late.shape[1]], late.mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "behind", "maps"),
    [
        ("efficientnet-lite0", "stage4", 80),
        ("resnet18", "layer3", 256),
        ("resnet50", "layer3", 1024),
        ("vgg16", "maxpool4", 512),
    ],
)
def test_where_the_middle_is(name: str, behind: str, maps: int) -> None:
    backbone = of(name)
    assert backbone.middle is not None
    before = Net(*backbone.net.layers[: backbone.middle]).infer(nets.get(name).input_shape)
    assert before.nodes[-1].name == behind
    assert before.output_shape == (maps, 14, 14)


@pytest.mark.parametrize("name", ["lecture", "chapter_cifar"])
def test_a_small_net_with_a_dense_layer_behind_its_maps_is_seen_once(name: str) -> None:
    backbone = of(name)
    assert backbone.middle is backbone.last_maps is None
    assert backbone.with_classes(True) == backbone.with_classes(False)


@pytest.mark.parametrize("side", [32, 20])
def test_parts_of_the_last_maps_come_first_where_there_is_no_middle(side: int) -> None:
    backbone = of("cifar_resnet20")
    assert backbone.middle is None
    torch.manual_seed(0)
    once = backbone.body(twice=False).build((3, side, side)).eval()
    both = backbone.body(twice=True).build((3, side, side)).eval()
    both.load_state_dict(once.state_dict())
    images = torch.rand(2, 3, side, side)
    maps = Net(*backbone.net.layers[: backbone.last_maps]).build((3, side, side)).eval()
    maps.load_state_dict(once.state_dict())
    with torch.no_grad():
        seen, features, last = both(images), once(images), maps(images)
    part = math.ceil(last.shape[2] / 4)
    torch.testing.assert_close(seen[:, 16 * 64 :], features)
    torch.testing.assert_close(seen[:, : 16 * 64 : 16], last[:, :, :part, :part].mean((2, 3)))


@pytest.mark.parametrize("name", ["vgg16", "googlenet_torchvision", "efficientnet-lite0", "alexnet"])
@pytest.mark.parametrize("twice", [False, True])
def test_the_new_net_has_the_datas_classes(name: str, twice: bool) -> None:
    entry = nets.get(name)
    net = of(name).with_classes(twice)
    assert net.output_classes(entry.input_shape, 6) == 6
    assert Net.parse(str(net)) == net


def test_a_softmax_behind_the_head_stays() -> None:
    net = Net.parse("conv(4, 3), globalpool, dense(10), softmax")
    new = Backbone("m", "m", net, {}, Preprocessing((8, 8), 1), "").with_classes(False)
    assert [layer.word for layer in new.layers] == ["conv", "globalpool", "dense", "softmax"]


def test_a_net_without_a_dense_head(tmp_path: Path) -> None:
    path = saved(
        "conv(2, 3), relu, conv(3, 1), globalpool", (1, 8, 8), ("a", "b", "c"), tmp_path / "m.safetensors"
    )
    with pytest.raises(
        ModelFileError, match=r"m.safetensors ends in globalpool, so there is no telling .*dense"
    ):
        find(path)
    with pytest.raises(ModelFileError, match="one ends in dense"):
        head_place(Net.parse("dense(3)"), "one")


def test_a_backbone_that_is_no_model(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no network at all")
    with pytest.raises(ModelFileError, match=r"notes.txt is not a safetensors file"):
        find(text)
    pickle = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, pickle)
    with pytest.raises(ModelFileError, match="weights.pth is not a safetensors file.*PyTorch or pickle"):
        find(pickle)


def test_an_unknown_name() -> None:
    with pytest.raises(
        ModelFileError, match=r"no backbone 'efficientnet'.*Did you mean 'efficientnet-lite0'"
    ):
        find("efficientnet")
    with pytest.raises(ModelFileError, match="there is no model 'runs/absent'"):
        find("runs/absent")


def test_other_channels_keep_what_a_gray_picture_gives(backbone: Backbone) -> None:
    side = backbone.preprocessing.size_px[0]
    gray = torch.rand(2, 1, side, side)
    with torch.no_grad():
        expected = backbone.features((3, side, side), twice=False)(gray.expand(-1, 3, -1, -1))
        for channels in (1, 6):
            module = backbone.features((channels, side, side), twice=False)
            torch.testing.assert_close(
                module(gray.expand(-1, channels, -1, -1)), expected, atol=1e-5, rtol=1e-4
            )


def test_mean_and_deviation_for_other_channels(backbone: Backbone) -> None:
    own = backbone.preprocessing
    assert backbone.preprocessing_for(3).mean == own.mean
    assert backbone.preprocessing_for(1).mean == (pytest.approx(sum(own.mean) / 3, abs=1e-6),)
    assert backbone.preprocessing_for(5).std == (*own.std, *own.std[:2])


def test_a_size_that_the_dense_layers_cannot_take(tmp_path: Path) -> None:
    net = "conv(4, 3), relu, flatten, dense(8), relu, dense(2)"
    found = find(saved(net, (1, 8, 8), ("a", "b"), tmp_path / "m.safetensors"))
    with pytest.raises(
        ModelFileError, match=r"has dense1.weight of shape \(8, 144\), and images of \(1, 10, 10\)"
    ):
        found.features((1, 10, 10), twice=False)
    with pytest.raises(ShapeError):
        found.features((1, 2, 2), twice=False)


def test_the_digest_is_of_text_and_numbers(backbone: Backbone) -> None:
    other = Backbone.of(backbones.load_model(backbone.name), "other name", "x", "")
    assert other.digest == backbone.digest
    other.weights["conv1.weight"] = other.weights["conv1.weight"] + 1
    changed = Backbone("x", "x", other.net, other.weights, other.preprocessing, "")
    assert changed.digest != backbone.digest


def test_the_best_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(published, "packaged", lambda package: [])
    monkeypatch.setattr(published, "folders", lambda data_dir=None: [tmp_path / "weights"])
    with pytest.raises(
        MissingExtraError, match=r"efficientnet-lite0-57934424.pth is not at hand.*convscope\[transfer\]"
    ):
        find(None)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / published.Published.of("resnet18").download.name).write_bytes(b"")
    assert backbones.best_at_hand() == "resnet18"
    assert not weights.is_at_hand("efficientnet-lite0")
