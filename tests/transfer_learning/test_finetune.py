"""Fine-tuning: what is frozen stays, bit for bit; the others move, the deeper the slower; and the lecture's counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convscope import nets
from convscope.data import ImageData
from convscope.errors import RecipeError, RunError
from convscope.evaluation import evaluate
from convscope.model_file import load_model, save_model
from convscope.net import Net
from convscope.training import Recipe, train
from convscope.training.rates import Rate
from convscope.training.thawing import Thaw, Thawing, layers_from_top
from convscope.transfer_learning import finetune
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.layerwise import frozen_and_trained

from .conftest import Transfer

NET = "conv(3, 3), batchnorm, relu, conv(4, 3), batchnorm, relu, conv(5, 3), globalpool, dense(3)"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs of small batches."""
    for name in ("FINETUNE", "FINETUNE_SMALL", "SCRATCH"):
        monkeypatch.setattr(finetune, name, replace(getattr(finetune, name), epochs=3, batch_size=8))
    monkeypatch.setattr(finetune, "LEAST_STEPS", 1)


def test_finetune_leaves_a_normal_run(run_transfer: Transfer, few: ImageData) -> None:
    run = run_transfer(mode="finetune")
    assert run.result["mode"] == "finetune"
    assert run.result["net"] == "run"  # the backbone's folder
    assert run.result["epochs"] == 3
    assert run.result["features_s"] > 0
    assert evaluate(run.folder, few, split="test").accuracy == run.result["test_accuracy"]
    assert [line["event"] for line in run.history].count("epoch_end") == 3
    model = run.model()
    assert model.card["transfer"]["mode"] == "finetune"
    assert model.unknown is not None


def test_what_is_frozen_stays_with_its_norms(run_transfer: Transfer) -> None:
    run = run_transfer(mode="finetune", freeze_until="conv2")
    start = load_model(run.folder / finetune.START).module.state_dict()
    after = run.model().module.state_dict()
    frozen = ("conv1.", "conv2.", "batchnorm1.", "batchnorm2.")
    for name, tensor in after.items():
        if name.startswith(frozen):
            assert torch.equal(tensor, start[name]), name
    assert any(not torch.equal(after[name], start[name]) for name in after if not name.startswith(frozen))


def test_finetune_starts_from_the_extracted_head(run_transfer: Transfer, few: ImageData) -> None:
    run = run_transfer(mode="finetune", epochs=1)
    extracted = run_transfer(out=run.folder.parent / "extracted").model().module.state_dict()
    start = load_model(run.folder / finetune.START).module.state_dict()
    for name, tensor in start.items():
        torch.testing.assert_close(tensor, extracted[name], atol=1e-5, rtol=1e-4)


def test_what_lies_before_the_middle_stays_unless_told_otherwise(
    backbone: Backbone, run_transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finetune.freezing(backbone, (3, 32, 32), None) == "late"
    assert finetune.freezing(backbone, (3, 32, 32), "none") is None
    assert finetune.freezing(backbone, (3, 32, 32), "conv1") == "conv1"
    last_weights = replace(finetune.FINETUNE_SMALL, early_stopping=None)
    monkeypatch.setattr(finetune, "FINETUNE_SMALL", last_weights)
    run = run_transfer(mode="finetune", freeze_until="none")
    start = load_model(run.folder / finetune.START).module.state_dict()
    after = run.model().module.state_dict()
    for moved in ("conv1.weight", "batchnorm1.running_mean"):  # 32 px: norms learn too
        assert not torch.equal(after[moved], start[moved])


def test_scratch_starts_from_nothing(run_transfer: Transfer) -> None:
    run = run_transfer(mode="scratch")
    assert (run.result["backbone"], run.result["features_s"]) == (None, None)
    assert run.model().class_names == ("0", "1", "2")
    assert run.model().unknown is None


def test_few_pictures_are_gone_through_more_often() -> None:
    recipe = replace(finetune.FINETUNE, batch_size=32, epochs=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "LEAST_STEPS", 150)
        few = finetune.fitting(recipe, 100)
        assert (few.batch_size, few.epochs) == (25, 38)
        assert finetune.fitting(recipe, 600).epochs == 10
        assert (
            finetune.fitting(recipe, 100, epochs=4).epochs == 10
        )  # what was asked for is in the recipe already
        assert finetune.fitting(replace(recipe, thawing=None), 100).epochs == 75


def test_a_layer_that_does_not_exist(run_transfer: Transfer, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"freeze until 'conv9', which is no layer .*Expected one of .*conv1.*Did you mean"
    ):
        run_transfer(mode="finetune", freeze_until="conv9")
    with pytest.raises(RecipeError, match="freeze until 'dense1', which is the head, which is what learns"):
        run_transfer(mode="finetune", freeze_until="dense1")
    assert not (tmp_path / "run").exists()


# Thawing by itself ------------------------------------------------------------------------------------


def test_layers_thaw_from_the_top() -> None:
    module = Net.parse(NET).build((1, 12, 12)).train()
    thaw = Thaw(Thawing(thawed_at=0.5), module)

    def moving(share: float) -> list[str]:
        thaw.at(share)
        return [name for name, parameter in module.named_parameters() if parameter.requires_grad]

    assert {name.partition(".")[0] for name in moving(0.0)} == {"dense1"}
    assert {name.partition(".")[0] for name in moving(0.2)} == {"dense1", "conv3"}
    assert {name.partition(".")[0] for name in moving(0.4)} == {"dense1", "conv3", "conv2", "batchnorm2"}
    assert len(moving(0.5)) == len(list(module.parameters()))


def test_norms_keep_their_statistics_unless_told_otherwise() -> None:
    images = torch.randn(8, 1, 12, 12)
    for learn in (False, True):
        module = Net.parse(NET).build((1, 12, 12)).train()
        Thaw(Thawing(freeze_until="conv1", thawed_at=0.0, norms_learn=learn), module).at(1.0)
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        module(images).sum().backward()
        after = dict(module.named_buffers())
        assert torch.equal(after["batchnorm1.running_mean"], before["batchnorm1.running_mean"])
        moved = not torch.equal(after["batchnorm2.running_mean"], before["batchnorm2.running_mean"])
        assert moved == learn
        assert module.get_parameter("conv1.weight").grad is None


def test_deeper_layers_move_slower() -> None:
    module = Net.parse(NET).build((1, 12, 12))
    found = Thaw(Thawing(decay=0.5), module).rates({"conv1.weight": Rate(factor=3.0)})
    factors = {name: rate.factor for name, rate in found.items()}
    assert factors["dense1.weight"] == 1.0
    assert factors["conv3.bias"] == 0.5
    assert factors["conv2.weight"] == factors["batchnorm2.weight"] == 0.25
    assert factors["conv1.weight"] == 3 * 0.125


def test_branches_are_taken_apart() -> None:
    text = 'conv(4, 3), branches([globalpool], [conv(4, 3), batchnorm, globalpool], name="b"), dense(2)'
    names = [layer.names for layer in layers_from_top(Net.parse(text).build((1, 8, 8)))]
    assert names == [("dense1",), ("b.conv1", "b.batchnorm1"), ("conv1",)]


def test_without_a_thawing_nothing_changes() -> None:
    module = Net.parse(NET).build((1, 12, 12)).train()
    thaw = Thaw(None, module)
    thaw.at(0.0)
    assert thaw.rates({}) == {}
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_recipe_comes_back_from_its_text() -> None:
    recipe = finetune.finetune_recipe((224, 224), "stage4", 7)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.thawing is not None
    assert (recipe.thawing.freeze_until, recipe.epochs) == ("stage4", 7)


@pytest.mark.parametrize(("field", "value"), [("decay", 0.0), ("decay", 1.5), ("thawed_at", 2.0)])
def test_impossible_thawings(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=rf"{field} {value}. Expected a"):
        replace(Thawing(), **{field: value})


def test_the_lectures_counts() -> None:
    vgg, shape = nets.get("vgg16").net, (3, 224, 224)
    assert frozen_and_trained(vgg.bind(1000), shape, "conv2_2") == (260_160, 138_097_384)
    for classes in (10, 1000):
        assert frozen_and_trained(vgg.bind(classes), shape, "fc7")[1] == 4_097 * classes
    assert frozen_and_trained(vgg.bind(1000), shape, None) == (0, 138_357_544)


# Starting from a model, in training -------------------------------------------------------------------


def test_training_starts_from_a_model_file(few: ImageData, trained_run: Path, tmp_path: Path) -> None:
    model = load_model(trained_run)
    save_model(replace(model, class_names=model.class_names), tmp_path / "start.safetensors")
    four = replace(few, class_names=("0", "1", "2", "3"))
    run = train(
        four, model.net, steps=1, rate=1e-9, batch_size=8, weights=str(trained_run), out=tmp_path / "run"
    )
    started = model.module.state_dict()["conv1.weight"]
    torch.testing.assert_close(run.model().module.state_dict()["conv1.weight"], started, atol=1e-5, rtol=1e-4)
    with pytest.raises(RunError, match="whose net is not the one to be trained"):
        train(
            four,
            "flatten, dense(classes)",
            steps=1,
            batch_size=8,
            weights=str(trained_run),
            out=tmp_path / "b",
        )
