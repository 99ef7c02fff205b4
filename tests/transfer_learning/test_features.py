"""Features are computed once, kept by the pixels they are of, and never mixed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convscope.data import ImageData
from convscope.engine.plan import Plan
from convscope.transfer_learning import features as module
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.features import Store, features_of

from .conftest import gratings


@pytest.fixture
def store(backbone: Backbone, few: ImageData, tmp_path: Path) -> Store:
    return Store.of(backbone.digest, backbone.preprocessing, tmp_path)


def made(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store, moved: list[int] | None = None
) -> module.Features:
    network = backbone.features(few.input_shape, twice=True)
    told = moved if moved is not None else []
    return features_of(
        few.train.images,
        lambda: network,
        backbone.preprocessing,
        plan,
        store,
        lambda done, *_: told.append(done),
    )


def test_they_are_what_the_network_gives(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store
) -> None:
    network = backbone.features(few.input_shape, twice=True)
    with torch.no_grad():
        expected = network(backbone.preprocessing.scale(torch.from_numpy(few.train.images.copy())))
    torch.testing.assert_close(made(few, backbone, plan, store).values, expected, atol=1e-4, rtol=1e-4)


def test_the_second_time_nothing_is_computed(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store
) -> None:
    first = made(few, backbone, plan, store)
    again = Store(store.folder)
    again.read()
    told: list[int] = []
    second = made(few, backbone, plan, again, told)
    assert (first.from_cache, second.from_cache, told) == (0, len(few.train), [])
    assert torch.equal(first.values, second.values)


def test_an_interrupted_pass_goes_on_where_it_stopped(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 8)
    network = backbone.features(few.input_shape, twice=True)

    def stop(done: int, total: int, seconds: float) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features_of(few.train.images, lambda: network, backbone.preprocessing, plan, store, stop)
    again = Store(store.folder)
    again.read()
    told: list[int] = []
    result = made(few, backbone, plan, again, told)
    assert result.from_cache == 16
    assert told == [8, 14]
    fresh = made(few, backbone, plan, Store(store.folder / "other"))
    torch.testing.assert_close(result.values, fresh.values)


def test_one_more_picture_costs_only_itself(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store
) -> None:
    made(few, backbone, plan, store)
    more = np.concatenate([gratings(2, 3, seed=99)[0], few.train.images])
    network = backbone.features(few.input_shape, twice=True)
    result = features_of(more, lambda: network, backbone.preprocessing, plan, store)
    assert result.from_cache == len(few.train)


def test_the_same_picture_twice_is_computed_once(
    few: ImageData, backbone: Backbone, plan: Plan, store: Store
) -> None:
    network = backbone.features(few.input_shape, twice=True)
    images = few.train.images[[0, 1, 0]]
    told: list[int] = []
    result = features_of(
        images,
        lambda: network,
        backbone.preprocessing,
        plan,
        store,
        lambda done, total, _: told.append(total),
    )
    assert told == [2]
    assert torch.equal(result.values[0], result.values[2])


def test_a_damaged_part_is_made_again(few: ImageData, backbone: Backbone, plan: Plan, store: Store) -> None:
    first = made(few, backbone, plan, store)
    part = next(store.folder.glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:-4] + b"\x00\x01\x02\x03")
    again = Store(store.folder)
    again.read()
    assert not part.exists()
    torch.testing.assert_close(made(few, backbone, plan, again).values, first.values)


def test_another_preparation_is_another_store(backbone: Backbone, tmp_path: Path) -> None:
    own = backbone.preprocessing
    stores = {
        Store.of(backbone.digest, own, tmp_path).folder,
        Store.of("another backbone", own, tmp_path).folder,
        Store.of(backbone.digest, replace(own, mean=(0.1, 0.1, 0.1)), tmp_path).folder,
        Store.of(backbone.digest, replace(own, size_px=(40, 40)), tmp_path).folder,
    }
    assert len(stores) == 4
