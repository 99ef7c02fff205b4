"""A recipe: everything that fixes an optimisation, as one value. It does not fix the precision or the machine.

The ready ones are in `recipes`; how long one is over some data, `course` knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from convscope.data.preprocessing import VIEWS, Views
from convscope.errors import RecipeError
from convscope.training.augmentation import Augmentation
from convscope.training.averaging import Averaging, Lookahead, Midway
from convscope.training.initialisation import POLICIES
from convscope.training.objective import LOSSES, Target, objective
from convscope.training.optimizers import OPTIMIZERS, Optimizer
from convscope.training.rates import RateFactors
from convscope.training.schedules import SCHEDULES, Constant, Schedule
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
        averaging: which average of the weights becomes the model; None for the last weights themselves.
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
    averaging: Averaging | Lookahead | Midway | None = None
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


_PARTS: dict[str, Mapping[str, type[Any]]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": {Averaging.kind: Averaging, Lookahead.kind: Lookahead, Midway.kind: Midway},
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
