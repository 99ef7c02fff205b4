"""A step is fed the images of its turns and of their partners, each where it belongs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from convscope.data import from_arrays
from convscope.engine.plan import make_plan
from convscope.training import recipes
from convscope.training.augmentation import Augmentation
from convscope.training.feeding import Feed
from convscope.training.material import make_material
from convscope.training.mixing import Mixer

CPU = make_plan("cpu")


@pytest.mark.parametrize("setting", [None, Augmentation(mixup=0.4), Augmentation(cutmix=1.0)])
def test_images_and_partners_are_those_of_the_turns(setting: Augmentation | None) -> None:
    images = torch.randint(
        0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(40) % 4
    data = from_arrays(images.numpy(), labels.numpy())
    recipe = replace(recipes.get("fast"), hold_out=0.0, augmentation=setting)
    material = make_material(data, recipe, 0)
    feed = Feed(material, recipe, 0, CPU)
    feed.begin(2)
    source = torch.from_numpy(material.data.train.images)
    for batch in torch.arange(40).split(16):  # the last is smaller
        turns = feed.turns[batch]
        found, target = feed(turns)
        expected = source[turns.image]
        if setting:
            partners = source[feed.turns[turns.partner].image]
            mixer = Mixer(setting.mixup, setting.cutmix, 0)
            expected, share = mixer(expected, partners, 2, turns.number)
            assert not torch.equal(expected, source[turns.image])
            assert torch.equal(target.share, share)
        assert torch.equal(found, material.data.preprocessing.scale(expected))
        assert torch.equal(target.labels, labels[turns.image])
