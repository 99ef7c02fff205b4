"""The rule for pictures of something else: what it says, where it is kept, and files that are wrong about it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.data import Preprocessing
from convscope.errors import ModelFileError
from convscope.model_file import Model, load_model, save_model, write_container
from convscope.net import Net
from convscope.transfer_learning.familiarity import axes_of, calibrated, unseen_distances
from convscope.unknown import Unknown, Watcher, distance


def clouds(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, 20) of two classes, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    features = 0.1 * torch.randn(n, 20, generator=generator)
    features[:, 0] += 4.0 * labels - 2
    return features, labels


def scores_of(features: torch.Tensor) -> torch.Tensor:
    return torch.stack([-3 * features[:, 0], 3 * features[:, 0]], dim=1)


@pytest.fixture
def rule() -> Unknown:
    features, labels = clouds(300, 0)
    found = calibrated(axes_of(features), unseen_distances(features, labels, 0), scores_of(features), 0.1)
    assert found is not None
    return found


def test_the_rate_holds_on_new_pictures_and_far_ones_are_caught(rule: Unknown) -> None:
    new, _ = clouds(2000, 1)
    assert 0.05 < float(rule.is_unknown(new, scores_of(new)).float().mean()) < 0.16
    far = torch.randn(200, 20, generator=torch.Generator().manual_seed(2))
    assert bool(rule.is_unknown(far, scores_of(far)).all())
    between = new.clone()
    between[:, 0] = 0  # near the axes, but no class is likely
    assert float(rule.is_unknown(between, scores_of(between)).float().mean()) > 0.9


def test_too_few_pictures_make_no_rule() -> None:
    features, labels = clouds(10, 0)
    assert (
        calibrated(axes_of(features), unseen_distances(features, labels, 0), scores_of(features), 0.1) is None
    )
    alone = unseen_distances(features[:2], labels[:2], 0)
    assert bool(alone.isnan().all())


def test_axes_are_those_along_which_the_features_vary_most() -> None:
    features, _ = clouds(60, 3)
    mean, axes = axes_of(features)
    torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes)), atol=1e-5, rtol=0)
    left = torch.linalg.svd(features - mean, full_matrices=False).S[len(axes) :].square().sum()
    torch.testing.assert_close(distance(features, mean, axes).square().sum(), left, atol=1e-4, rtol=1e-3)


# Kept in the model file ---------------------------------------------------------------------------------


def model_with(rule: Unknown | None) -> Model:
    torch.manual_seed(0)
    net = Net.parse("flatten, dense(20), relu, dense(2)")
    module = net.build((1, 5, 4)).eval()
    return Model(net, module, (1, 5, 4), ("a", "b"), Preprocessing((5, 4), 1), {}, rule)


def test_a_model_file_keeps_it(rule: Unknown, tmp_path: Path) -> None:
    save_model(model_with(rule), tmp_path / "m.safetensors")
    back = load_model(tmp_path / "m.safetensors").unknown
    assert back is not None
    assert back.to_json() == rule.to_json()
    features, _ = clouds(50, 5)
    assert torch.equal(
        back.is_unknown(features, scores_of(features)), rule.is_unknown(features, scores_of(features))
    )
    save_model(model_with(None), tmp_path / "n.safetensors")
    assert load_model(tmp_path / "n.safetensors").unknown is None


def write(path: Path, model: Model, unknown: Any, tensors: dict[str, torch.Tensor]) -> None:
    """A model file whose rule is not as it must be, with a right digest."""
    from convscope.model_file import FORMAT_VERSION, KIND
    from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION

    document = {
        "net": {"text": str(model.net), "format_version": NET_FORMAT_VERSION},
        "class_names": list(model.class_names),
        "input_shape": list(model.input_shape),
        "preprocessing": model.preprocessing.to_json(),
        "card": {},
        **({"unknown": unknown} if unknown is not None else {}),
    }
    write_container(path, KIND, FORMAT_VERSION, document, {**model.module.state_dict(), **tensors})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": "low"}, "an unknown rule whose threshold is 'low'. Expected a finite number"),
        ({"energy_std": None}, "an unknown rule whose energy_std is None"),
        ({"false_alarms": True}, "an unknown rule whose false_alarms is True"),
    ],
)
def test_a_rule_with_wrong_numbers(
    rule: Unknown, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    write(path, model_with(None), {**rule.to_json(), **change}, rule.tensors())
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


def test_a_rule_with_wrong_tensors(rule: Unknown, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write(path, model_with(None), rule.to_json(), {"unknown.mean": rule.mean})
    with pytest.raises(ModelFileError, match="an unknown rule without its tensors"):
        load_model(path)
    write(path, model_with(None), rule.to_json(), replace(rule, axes=rule.axes[:, :3]).tensors())
    with pytest.raises(
        ModelFileError, match=r"without its tensors. Expected a mean \(D,\) and axes \(R, D\)"
    ):
        load_model(path)
    write(path, model_with(None), None, rule.tensors())
    with pytest.raises(
        ModelFileError, match="the tensor 'unknown.(mean|axes)', which its network does not have"
    ):
        load_model(path)
    other = replace(rule, mean=rule.mean[:7], axes=rule.axes[:, :7])
    write(path, model_with(None), rule.to_json(), other.tensors())
    with pytest.raises(ModelFileError, match="an unknown rule for 7 features and a head that takes 20"):
        load_model(path)
    write(path, model_with(None), rule.to_json(), {})
    with pytest.raises(ModelFileError, match="an unknown rule without its tensors"):
        load_model(path)


# While a network scores ---------------------------------------------------------------------------------


def test_threads_do_not_mix_their_pictures_up(rule: Unknown) -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(20, 2)
            with torch.no_grad():
                self.fc.weight.zero_()[:, 0] = torch.tensor([-3.0, 3.0])
                self.fc.bias.zero_()

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.fc(features)

    head = Head()
    watcher = Watcher(rule, head, "cpu")
    near, _ = clouds(40, 7)
    far = torch.randn(30, 20, generator=torch.Generator().manual_seed(8))
    found: dict[str, list[bool]] = {}

    def judge(name: str, features: torch.Tensor) -> None:
        with torch.inference_mode():
            for _ in range(20):
                found[name] = watcher.unknown(head(features))

    threads = [threading.Thread(target=judge, args=each) for each in (("near", near), ("far", far))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found["near"]), len(found["far"])) == (40, 30)
    assert all(found["far"])
    assert sum(found["near"]) < 20
    assert Watcher(None, head, "cpu").unknown(torch.zeros(3, 2)) == [False] * 3


def test_several_views_of_a_picture_count_as_one(rule: Unknown) -> None:
    head = torch.nn.Sequential(torch.nn.Linear(20, 2))
    watcher = Watcher(rule, head, "cpu")
    near, _ = clouds(6, 9)
    with torch.inference_mode():
        head(near)
        scores = head(near)
        assert len(watcher.unknown(scores)) == 6
