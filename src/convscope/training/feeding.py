"""What each step is fed: the images of its turns as the network takes them, and what their scores should say."""

from __future__ import annotations

from torch import Tensor

from convscope.data.batches import Chooser
from convscope.engine.plan import Plan
from convscope.training.augmentation import Augmenter
from convscope.training.material import Material, resident, scaler
from convscope.training.mixing import Mixer
from convscope.training.objective import Target
from convscope.training.recipe import Recipe
from convscope.training.turns import Turns, class_weights, turns_of


class Feed:
    """The training images of one run, augmented, mixed and scaled, a batch at a time.

    Everything it gives is a pure function of the seed, the epoch and the turns asked for.
    """

    def __init__(self, material: Material, recipe: Recipe, seed: int, plan: Plan) -> None:
        self.recipe, self.seed, self.plan = recipe, seed, plan
        images, self.labels = resident(material.data.train, plan)
        self.choose, self.choose_partners = Chooser(images), Chooser(images)
        self.scale = scaler(material.data.preprocessing, plan)
        augmentation = recipe.augmentation
        self.augment = Augmenter(augmentation, seed, material.data.preprocessing)
        is_mixed = augmentation is not None and augmentation.is_mixed
        self.mix = Mixer(augmentation.mixup, augmentation.cutmix, seed) if augmentation and is_mixed else None
        classes = len(material.data.class_names)
        weights = class_weights(self.labels, classes).to(plan.device)
        self.weights = weights if recipe.balance == "weights" else None
        self.epoch, self.turns = -1, Turns(*[self.labels[:0]] * 3)

    def begin(self, epoch: int) -> None:
        """Know the turns of `epoch` (counted from 0)."""
        if epoch != self.epoch:
            turns = turns_of(self.labels.cpu(), self.recipe.balance, self.seed, epoch)
            self.epoch, self.turns = epoch, turns.to(self.plan.device)

    def __call__(self, turns: Turns) -> tuple[Tensor, Target]:
        """What the turns of a batch see, float32 (B, C, H, W) on the device, until the next call; and their target."""
        pixels, labels = self.seen(turns, self.choose), self.labels[turns.image]
        if self.mix is None:
            return self.scale(pixels), Target(labels, weights=self.weights)
        partners = self.turns[turns.partner]
        pixels, share = self.mix(pixels, self.seen(partners, self.choose_partners), self.epoch, turns.number)
        return self.scale(pixels), Target(labels, self.labels[partners.image], share, self.weights)

    def seen(self, turns: Turns, choose: Chooser) -> Tensor:
        """The augmented images, uint8 (B, C, H, W), on the device."""
        pixels = choose(turns.image).to(self.plan.device)
        return self.augment(pixels, self.epoch, turns.number)
