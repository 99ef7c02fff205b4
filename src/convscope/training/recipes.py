"""Recipes: everything that fixes an optimisation, as one value. A recipe does not fix the precision or the machine.

    lecture   the notebook's training, exactly
    fast      the default: the lecture's accuracy as soon as we can
    lenet5    for LeNet-5 with its output of distances: the loss and the starting weights of 1998
    mnist99, mnist995, cifar90, cifar94   for the clock: 0.99 and 0.995 on MNIST, 0.90 and 0.94 on CIFAR-10, each with
              the net it was made for

A recipe of your own is `dataclasses.replace(recipes.get("fast"), name="mine", optimizer=Adam(rate=2e-3))`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from convscope.data.preprocessing import VIEWS, Views
from convscope.errors import RecipeError, did_you_mean
from convscope.training.augmentation import Augmentation
from convscope.training.averaging import Averaging, Lookahead
from convscope.training.initialisation import POLICIES
from convscope.training.objective import LOSSES, Target, objective
from convscope.training.optimizers import OPTIMIZERS, SGD, Adadelta, Adam, Muon, Optimizer
from convscope.training.rates import RateFactors
from convscope.training.schedules import SCHEDULES, Constant, OneCycle, Schedule
from convscope.training.settings import (
    ABOVE_ZERO,
    BELOW_ONE,
    Problem,
    Setting,
    from_json,
    number,
    one_of,
    refuse,
    whole,
)
from convscope.training.stopping import EarlyStopping
from convscope.training.thawing import Thawing
from convscope.training.turns import BALANCES
from convscope.training.whitening import Whitening

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Recipe(Setting):
    """How a network is trained.

    Attributes:
        name: what the output calls it.
        optimizer: one of `optimizers`; its rate is the peak rate.
        schedule: one of `schedules`, over all steps of the training.
        batch_size: images per step.
        epochs, steps: how long; exactly one of the two is set.
        partial_batch: whether the last, smaller batch of an epoch is used too; if not, it is left out (the order of
            the next epoch is another, so no image is left out for good). A single image is never a batch of its own
            beside larger ones: it joins the batch before, as a norm cannot measure the spread of one.
        initialisation: a policy of `initialisation`.
        loss: one of `objective.LOSSES`.
        map_constant: the constant j of the loss "map"; nothing else uses it.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        averaging: the moving average of the weights that becomes the model, or None.
        early_stopping: when to end early and keep the best weights, or None.
        scaling: "standard" (the data's mean and deviation) or "unscaled" (pixel / 255 and nothing else).
        validation: "hold_out" (the data's validation split, else a part of the training split) or "test".
        hold_out: the fraction of the training split held out where the data brings no validation split; 0 for none.
        evaluations: evaluate at about so many epoch ends, evenly; None for every epoch. The last is always evaluated.
        limit_per_class: at most so many training images of each class, after the holding out; None for all.
        balance: what is done about classes of unequal size: "none"; "weights", an image counts in the loss as much as
            its class is rare; or "sampler", every class has equally many turns in an epoch of as many turns as there
            are images.
        augmentation: what happens to the training images, or None.
        identity_filters: whether the 3×3 convolutions start by handing on their maps; see `set_identities`.
        whitening: the first convolution made from the training images and frozen, or None.
        head_gain: a factor of the last layer's starting weights.
        rate_factors: rates of norms, biases and the last layer beside the optimizer's, or None.
        views: as how many pictures the model sees one it judges; see `Preprocessing.views`. Stored with the model.
        thawing: for a network that starts from trained weights, what stays frozen and what moves how fast, or None.
        net, data: what it was made for, taken where no other is named; None for "lecture" and handwritten digits.
    """

    name: str
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Constant)
    batch_size: int = 128
    epochs: int | None = None
    steps: int | None = None
    partial_batch: bool = True
    initialisation: str = "glorot_uniform"
    loss: str = "cross_entropy"
    map_constant: float = 1.0
    label_smoothing: float = 0.0
    averaging: Averaging | Lookahead | None = None
    early_stopping: EarlyStopping | None = None
    scaling: str = "standard"
    validation: str = "hold_out"
    hold_out: float = 0.1
    evaluations: int | None = None
    augmentation: Augmentation | None = None
    identity_filters: bool = False
    whitening: Whitening | None = None
    head_gain: float = 1.0
    rate_factors: RateFactors | None = None
    views: Views = "one"
    thawing: Thawing | None = None
    net: str | None = None
    data: str | None = None
    limit_per_class: int | None = None
    balance: str = "none"
    added: ClassVar[tuple[str, ...]] = (
        "limit_per_class",
        "balance",
        "augmentation",
        "identity_filters",
        "whitening",
        "head_gain",
        "rate_factors",
        "views",
        "thawing",
        "net",
        "data",
    )

    def problems(self) -> list[Problem]:
        found = _length_problems(self.epochs, self.steps) + whole("batch size", self.batch_size)
        found += number("label smoothing", self.label_smoothing, BELOW_ONE)
        found += number("hold_out", self.hold_out, BELOW_ONE)
        found += one_of("initialisation", self.initialisation, POLICIES)
        found += one_of("loss", self.loss, LOSSES) + number("map_constant", self.map_constant, ABOVE_ZERO)
        found += self._loss_problems()
        found += one_of("scaling", self.scaling, ("standard", "unscaled"))
        found += one_of("validation", self.validation, ("hold_out", "test"))
        found += one_of("balance", self.balance, BALANCES) + _limit_problems(self.limit_per_class)
        found += whole("evaluations", self.evaluations) if self.evaluations is not None else []
        found += one_of("views", self.views, VIEWS) + number("head_gain", self.head_gain, ABOVE_ZERO)
        return found + self._stopping_problems()

    def _loss_problems(self) -> list[Problem]:
        if self.loss == "map" and self.label_smoothing:
            return [Problem("label smoothing with loss='map'", "one of the two", "Set label_smoothing=0")]
        if self.loss == "map" and self.augmentation and self.augmentation.is_mixed:
            return [
                Problem(
                    f"mixed images with the recipe {self.name}, whose loss 'map' knows one class an image",
                    "the loss 'cross_entropy'",
                    "Leave mixup and cutmix out, or take another recipe",
                )
            ]
        return []

    def _stopping_problems(self) -> list[Problem]:
        if self.early_stopping and self.validation == "test":
            return [
                Problem(
                    "early stopping with validation='test'",
                    "validation='hold_out'",
                    "Stopping where the test split looks best would select on the test split",
                )
            ]
        return []

    def adjusted(
        self,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        rate: float | None = None,
        hold_out: float | None = None,
        limit_per_class: int | None = None,
        balance: str | None = None,
    ) -> Recipe:
        """The same recipe with the values given; a length in epochs replaces one in steps, and the other way round.

        Raises:
            RecipeError: naming every value that is not possible.
        """
        refuse(
            _adjustment_problems(epochs, steps, batch_size, rate)
            + self._hold_out_problems(hold_out)
            + _limit_problems(limit_per_class)
            + (one_of("balance", balance, BALANCES) if balance is not None else [])
        )
        length = (epochs, steps) if epochs or steps else (self.epochs, self.steps)
        return dataclasses.replace(
            self,
            optimizer=dataclasses.replace(self.optimizer, rate=rate) if rate else self.optimizer,
            epochs=length[0],
            steps=length[1],
            batch_size=batch_size or self.batch_size,
            hold_out=self.hold_out if hold_out is None else hold_out,
            limit_per_class=limit_per_class or self.limit_per_class,
            balance=balance or self.balance,
        )

    def _hold_out_problems(self, hold_out: float | None) -> list[Problem]:
        if hold_out is None:
            return []
        if self.validation == "test":
            return [
                Problem(
                    f"a share of {hold_out!r} held out with the recipe {self.name}, which validates on the test split",
                    "a recipe that holds images out",
                    "Leave the share out, or try --recipe fast",
                )
            ]
        return number("held-out share", hold_out, BELOW_ONE, "Try --holdout 0.2, or 0 for none")

    def objective(
        self, scores: Tensor, extra: Iterable[tuple[float, Tensor]], target: Tensor | Target
    ) -> Tensor:
        """What its training makes small; see `objective.objective`."""
        return objective(
            scores, extra, target, self.label_smoothing, loss=self.loss, map_constant=self.map_constant
        )

    @classmethod
    def from_json(cls, document: object) -> Recipe:
        """The recipe that `to_json` wrote.

        Raises:
            RecipeError: a setting is unknown, missing or not possible.
        """
        if not isinstance(document, Mapping):
            raise RecipeError(f"recipe {document!r:.80}", "a JSON object")
        parts: dict[str, Any] = dict(document)
        for key, kinds in _PARTS.items():
            if parts.get(key) is not None or key in ("optimizer", "schedule"):
                parts[key] = from_json(parts.get(key), kinds, key)
        return cls.from_fields(parts)


@dataclass(frozen=True)
class Course:
    """A recipe laid over a number of training images: how many steps, of which size, and where the epochs end.

    >>> course = Course.of(get("lecture"), 60_000)
    >>> course.steps_per_epoch, course.steps, course.epochs
    (469, 2345, 5)
    """

    images: int
    batch_size: int
    steps_per_epoch: int
    steps: int
    evaluate_every_epochs: int
    images_per_epoch: int

    @classmethod
    def of(cls, recipe: Recipe, images: int) -> Course:
        """Lay `recipe` over `images` training images.

        Raises:
            RecipeError: one batch is larger than the training split.
        """
        if recipe.batch_size > images:
            raise RecipeError(
                f"batch size {recipe.batch_size:,}",
                f"at most the {images:,} images of the training split",
                f"Try --batch-size {max(1, min(32, images // 4))}",
            )
        whole_batches, rest = divmod(images, recipe.batch_size)
        per_epoch = whole_batches + (recipe.partial_batch and rest > 1)
        steps = recipe.steps or per_epoch * (recipe.epochs or 1)
        every = math.ceil(math.ceil(steps / per_epoch) / recipe.evaluations) if recipe.evaluations else 1
        used = images if recipe.partial_batch else whole_batches * recipe.batch_size
        return cls(images, recipe.batch_size, per_epoch, steps, every, used)

    @property
    def epochs(self) -> float:
        """The length in epochs: a whole number where it is one."""
        return self.epochs_at(self.steps)

    def epochs_at(self, step: int) -> float:
        """How many epochs `step` steps make."""
        return (
            step // self.steps_per_epoch
            if step % self.steps_per_epoch == 0
            else round(step / self.steps_per_epoch, 4)
        )

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 1, that made step number `step` (counted from 1)."""
        return (step - 1) // self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the training, ends with step number `step`."""
        return step > 0 and (step % self.steps_per_epoch == 0 or step == self.steps)

    def evaluates(self, step: int) -> bool:
        """Whether the epoch that ends with step number `step` is evaluated."""
        return step == self.steps or self.epoch_of(step) % self.evaluate_every_epochs == 0

    def images_at(self, step: int) -> int:
        """How many training images the first `step` steps process."""
        whole_epochs, rest = divmod(step, self.steps_per_epoch)
        return whole_epochs * self.images_per_epoch + rest * self.batch_size

    def batch_at(self, position: int) -> slice:
        """Where the batch number `position` (from 0) of an epoch lies in the epoch's order; the last takes the rest.

        >>> Course.of(get("lecture"), 257).batch_at(1)
        slice(128, 257, None)
        """
        first = position * self.batch_size
        is_last = position == self.steps_per_epoch - 1
        return slice(first, self.images_per_epoch if is_last else first + self.batch_size)


def get(name: str | Recipe) -> Recipe:
    """The recipe of that name; a recipe passes through.

    Raises:
        RecipeError: there is none of that name.

    >>> get("lecture").optimizer
    Adadelta(rate=1.0, rho=0.95, eps=1e-07, weight_decay=0.0)
    """
    if isinstance(name, Recipe):
        return name
    if name not in _RECIPES:
        raise RecipeError(
            f"unknown recipe {name!r}", f"one of {', '.join(names())}", did_you_mean(str(name), names())
        )
    return _RECIPES[name]


def names() -> list[str]:
    """The names of the ready recipes, the default first."""
    return list(_RECIPES)


_PARTS: dict[str, Mapping[str, type[Any]]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": {Averaging.kind: Averaging, Lookahead.kind: Lookahead},
    "early_stopping": {EarlyStopping.kind: EarlyStopping},
    "augmentation": {Augmentation.kind: Augmentation},
    "whitening": {Whitening.kind: Whitening},
    "rate_factors": {RateFactors.kind: RateFactors},
    "thawing": {Thawing.kind: Thawing},
}


def _length_problems(epochs: int | None, steps: int | None) -> list[Problem]:
    found = whole("epochs", epochs, fix="Try --epochs 5") if epochs is not None else []
    found += whole("steps", steps, fix="Try --steps 800") if steps is not None else []
    if (epochs is None) == (steps is None):
        problem = Problem(
            f"epochs {epochs} and steps {steps}", "exactly one of the two", "Leave the other out"
        )
        found.append(problem)
    return found


def _limit_problems(limit: int | None) -> list[Problem]:
    fix = "Try --limit-per-class 50, or leave it out to use all"
    return whole("images of each class", limit, fix=fix) if limit is not None else []


def _adjustment_problems(
    epochs: int | None, steps: int | None, batch_size: int | None, rate: float | None
) -> list[Problem]:
    found = _length_problems(epochs, steps) if (epochs, steps) != (None, None) else []
    found += whole("batch size", batch_size, fix="Try --batch-size 128") if batch_size is not None else []
    fix = "Try --rate 0.001, or leave it out for the recipe's own"
    return found + (number("rate", rate, ABOVE_ZERO, fix) if rate is not None else [])


# Found by a search over optimizers, rates, batch sizes, lengths, smoothing and averaging (docs/log.md): the fewest
# images after which the lecture's network is safely past the lecture's accuracy.
FAST = Recipe(
    name="fast",
    optimizer=Adam(rate=4e-3, beta1=0.9, beta2=0.99),
    schedule=OneCycle(start=0.01, peak_at=0.2, final=0.0),
    batch_size=128,
    steps=800,
    partial_batch=False,
    initialisation="glorot_uniform",
    label_smoothing=0.05,
    hold_out=0.05,
    evaluations=5,
)

LECTURE = Recipe(
    name="lecture",
    optimizer=Adadelta(rate=1.0, rho=0.95, eps=1e-7),
    batch_size=128,
    epochs=5,
    scaling="unscaled",
    validation="test",
)

# LeCun et al. 1998: the MAP loss, weights uniform in ±2.4/fan in, 20 passes. Its optimizer, stochastic diagonal
# Levenberg–Marquardt, gives each weight a step of its own from estimated second derivatives, one picture at a time;
# Adam does so from the gradients it has seen, and takes batches, which today's machines need to be fast.
LENET5 = Recipe(
    name="lenet5",
    optimizer=Adam(rate=2e-3),
    schedule=OneCycle(start=0.05, peak_at=0.2, final=0.0),
    batch_size=64,
    epochs=20,
    initialisation="lenet",
    loss="map",
    map_constant=5.0,
    hold_out=0.05,
)

# The fewest images after which a small net of ours is past 0.99 on MNIST, and past 0.995 (docs/log.md). Nothing is held
# out: these run for the clock, and whoever chooses by them has the test split for it once.
MNIST99 = Recipe(
    name="mnist99",
    optimizer=Muon(rate=0.24, momentum=0.6, other_rate=0.1),
    schedule=OneCycle(start=0.2, peak_at=0.2, final=0.0),
    batch_size=128,
    steps=240,
    partial_batch=False,
    initialisation="he",
    label_smoothing=0.1,
    hold_out=0.0,
    augmentation=Augmentation(crop_px=1),
    net="speed_digits",
    data="mnist",
)
MNIST995 = dataclasses.replace(
    MNIST99,
    name="mnist995",
    steps=None,
    epochs=3,
    augmentation=Augmentation(crop_px=2),
    net="speed_digits_wide",
)

# K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024. There the loss is a sum over the batch and the
# settings are per 1,024 images and before momentum adds up: rate 11.5 and decay 0.0153, over 1,024·(1 + 1/(1 − 0.85)).
# With our mean over the batch the rate is 1,024 times that and the decay 1,024 times less. The last layer's factor 1/9
# is its gain here, and its rate so 1/81. Norms and biases do not decay here.
CIFAR94 = Recipe(
    name="cifar94",
    optimizer=SGD(rate=1.5, momentum=0.85, weight_decay=1.33e-3),
    schedule=OneCycle(start=0.2, peak_at=0.23, final=0.07),
    batch_size=1024,
    epochs=10,
    partial_batch=False,
    initialisation="torch",
    label_smoothing=0.2,
    averaging=Lookahead(decay=0.95**5, every=5, power=3.0),
    hold_out=0.0,
    augmentation=Augmentation(flip="alternating", crop_px=2),
    identity_filters=True,
    whitening=Whitening(images=5000, eps=5e-4, bias_share=0.3),
    head_gain=1 / 9,
    rate_factors=RateFactors(norms=64.0, head=1 / 81),
    views="mirror_shift",
    net="speed_cifar",
    data="cifar10",
)
CIFAR90 = dataclasses.replace(
    CIFAR94,
    name="cifar90",
    optimizer=SGD(rate=0.75, momentum=0.85, weight_decay=1.33e-3),
    batch_size=512,
    epochs=6,
    net="speed_cifar_narrow",
)

_RECIPES = {recipe.name: recipe for recipe in (FAST, LECTURE, LENET5, MNIST99, MNIST995, CIFAR90, CIFAR94)}
