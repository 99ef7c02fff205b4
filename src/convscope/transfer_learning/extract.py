"""extract: the lecture's first regime. Freeze everything but the last layer, which is logistic regression on z.

pictures → features, once, kept → a head fitted to convergence → one net, one model file
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope.data.image_data import ImageData
from convscope.engine.plan import Plan
from convscope.engine.scoring import balanced_accuracy
from convscope.model_file import Model
from convscope.training.events import Listener
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.events import FeaturesMade, HeadFitted, Progress
from convscope.transfer_learning.familiarity import axes_of, calibrated, unseen_distances
from convscope.transfer_learning.features import Store, features_of
from convscope.transfer_learning.head import Fitting, Head, balanced

CLASS_WEIGHTS = ("equal", "balanced")


@dataclass(frozen=True)
class Judged:
    """Mean cross-entropy in nats and the number of right answers over n images; `balanced_accuracy`."""

    loss: float
    correct: int
    n: int
    balanced_accuracy: float | None

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> Judged:
        """Scores (N, K) against labels (N,)."""
        loss = torch.nn.functional.cross_entropy(scores.double(), labels).item()
        predicted = scores.argmax(1)
        right = int((predicted == labels).sum())
        return cls(loss, right, len(labels), balanced_accuracy(predicted, labels))

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


@dataclass(frozen=True, eq=False)
class SplitFeatures:
    """Features (N, D) and labels (N,) of each split by name; the first `middle` columns are not those of the end."""

    values: dict[str, Tensor]
    labels: dict[str, Tensor]
    middle: int
    made: FeaturesMade


@dataclass(frozen=True, eq=False)
class Extracted:
    """What came out: the model, its head, how it was judged, and the events in order."""

    model: Model
    head: Head
    twice: bool
    judged: dict[str, Judged]
    made: FeaturesMade
    fitted: HeadFitted


def split_features(
    data: ImageData,
    backbone: Backbone,
    plan: Plan,
    *,
    tell: Listener = lambda event: None,
    cache: Path | None = None,
) -> SplitFeatures:
    """The features of every split, at the end and beside it; what was computed before is taken from the cache.

    Raises:
        ModelFileError: the backbone's weights do not fit the pictures' size.
        ShapeError: its layers do not.
    """
    plan.apply()
    once = backbone.width(data.input_shape)
    store = Store.of(backbone.digest, data.preprocessing, cache)
    store.read()

    @functools.cache
    def network() -> nn.Module:
        return backbone.features(data.input_shape, twice=True).to(plan.device)

    images = sum(len(split) for split in data.splits.values())
    done_before, kept, seconds = 0, 0, 0.0
    values: dict[str, Tensor] = {}
    for name, split in data.splits.items():

        def moved(done: int, total: int, so_far_s: float, before: int = done_before) -> None:
            rate = done / max(so_far_s, 1e-9)
            tell(
                Progress(
                    f"features {before + done:,}/{images:,}  {rate:,.0f} images/s", before + done, images
                )
            )

        made = features_of(split.images, network, data.preprocessing, plan, store, moved)
        values[name] = made.values
        done_before, kept, seconds = done_before + len(split), kept + made.from_cache, seconds + made.seconds
    width = next(iter(values.values())).shape[1]
    labels = {name: torch.from_numpy(split.labels.copy()) for name, split in data.splits.items()}
    return SplitFeatures(values, labels, width - once, FeaturesMade(images, kept, width, seconds))


@contextmanager
def small_work() -> Iterator[ThreadPoolExecutor]:
    """Two threads with torch to themselves; torch's own threads are as before afterwards.

    Small products gain nothing from more, and wait for each other where the machine is busy.
    """
    threads_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(2, "head", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads_before)


def chosen_fitting(
    values: Tensor,
    labels: Tensor,
    middle: int,
    num_classes: int,
    pool: Executor,
    *,
    class_weights: str = "equal",
    penalty: float | None = None,
    seed: int = 0,
) -> tuple[Fitting, bool]:
    """The fitting on the features at the end, or on those and the others', whichever unseen images fit better.

    Args:
        values: (N, middle + D), float32.
        labels: (N,), int64.
        middle: how many of the features are not of the end.
        num_classes: K.
        pool: where the fitting is done.
        class_weights: "equal", or "balanced" for every class to count the same.
        penalty: λ, or None to choose it.
        seed: of the folds.
    """
    weights = balanced(labels, num_classes) if class_weights == "balanced" else None
    wanted: dict[str, Any] = {"class_weights": weights, "penalty": penalty, "seed": seed}
    groups = [middle, values.shape[1] - middle]
    if middle == 0:
        return pool.submit(Fitting.of, values, labels, num_classes, **wanted).result(), False
    at_the_end = pool.submit(Fitting.of, values[:, middle:], labels, num_classes, **wanted)
    in_both = pool.submit(Fitting.of, values, labels, num_classes, groups=groups, **wanted)
    once, both = at_the_end.result(), in_both.result()
    twice = once.loss is not None and both.loss is not None and both.loss < once.loss
    return (both if twice else once), twice


def extract(
    data: ImageData,
    backbone: Backbone,
    plan: Plan,
    *,
    class_weights: str = "equal",
    penalty: float | None = None,
    false_alarms: float = 0.05,
    seed: int = 0,
    card: dict[str, Any] | None = None,
    tell: Listener = lambda event: None,
    cache: Path | None = None,
) -> Extracted:
    """A classifier of `data` from a backbone and a head fitted to its features.

    Args:
        data: at the backbone's size; a validation or test split is judged, and not learned from.
        backbone: where the features come from.
        plan: where and how to compute.
        class_weights, penalty, seed: as `chosen_head` has them.
        false_alarms: the share of pictures of known classes that may be called unknown, in (0, 1).
        card: what the model's card holds besides.
        tell: receives the events.
        cache: where features are kept; None for the user's cache.

    Returns:
        The model and what is known of it.
    """
    made = split_features(data, backbone, plan, tell=tell, cache=cache)
    tell(made.made)
    began_at = time.perf_counter()
    with small_work() as pool:
        labels = made.labels["train"]
        fitting, twice = chosen_fitting(
            made.values["train"],
            labels,
            made.middle,
            len(data.class_names),
            pool,
            class_weights=class_weights,
            penalty=penalty,
            seed=seed,
        )
        columns = slice(0 if twice else made.middle, None)
        known = made.values["train"][:, columns]
        fitted_to_all, axes = pool.submit(fitting.head), pool.submit(axes_of, known)
        apart = unseen_distances(known, labels, seed, pool.map)
        unknown = calibrated(axes.result(), apart, fitting.tried.scores, false_alarms)
        head = fitted_to_all.result()
    scores = {name: head.scores(values[:, columns]) for name, values in made.values.items()}
    judged = {name: Judged.of(scores[name], made.labels[name]) for name in scores}
    fitted = _fitted(head, backbone.seen(twice), judged, labels, time.perf_counter() - began_at)
    tell(fitted)
    model = backbone.assembled(data, head, twice, dict(card or {}))
    model.unknown = unknown
    return Extracted(model, head, twice, judged, made.made, fitted)


def _fitted(head: Head, seen: str, judged: dict[str, Judged], labels: Tensor, head_s: float) -> HeadFitted:
    return HeadFitted(
        penalty=head.penalty,
        features=seen,
        cross_validated_accuracy=head.accuracy_unseen(labels),
        validation_accuracy=judged["validation"].accuracy if "validation" in judged else None,
        test_accuracy=judged["test"].accuracy if "test" in judged else None,
        head_s=head_s,
    )
