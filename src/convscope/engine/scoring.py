"""Scores of a whole split, and what they are worth. Training and evaluation both come here, so they agree exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.data.mapped import as_tensor
from convscope.engine.folding import Folded
from convscope.reference import Network

if TYPE_CHECKING:
    from convscope.data import Preprocessing
    from convscope.engine.plan import Plan

Pixels = Tensor | npt.NDArray[np.uint8]

LARGEST_MAPS_BYTES = 16 << 20
SKEWED = 2.0
"""Classes are of unequal size where the largest has at least so many times the images of the smallest."""
FEWEST_AT_ONCE = 8  # below that, reading the weights costs more than the caches save


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores (N, K) float32 on the CPU; mean cross-entropy; how many of n were right; `balanced_accuracy`."""

    scores: Tensor
    loss: float
    correct: int
    n: int
    balanced_accuracy: float | None = None

    @property
    def accuracy(self) -> float:
        """The share that was right, in [0, 1]."""
        return self.correct / self.n


def measure(
    module: nn.Module,
    images: Pixels,
    labels: Tensor | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    plan: Plan,
) -> Scoring:
    """Score uint8 images (N, C, H, W) in evaluation mode and compare with labels (N,). The mode is put back after."""
    scores = score(module, images, preprocessing, plan)
    truth = torch.as_tensor(labels)
    loss = F.cross_entropy(scores.double(), truth.cpu()).item()
    correct = int((scores.argmax(1) == truth.cpu()).sum())
    return Scoring(scores, loss, correct, len(scores), balanced_accuracy(scores.argmax(1), truth.cpu()))


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float | None:
    """The mean over the classes of the share that was right, in [0, 1]; None where the classes are of about equal size,
    for then it says what the accuracy says.

    Args:
        predicted: (N,), int64.
        labels: (N,), int64, likewise on the CPU. Classes without an image do not count.

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
    0.5
    """
    counts = torch.bincount(labels)
    right = torch.bincount(labels[predicted == labels], minlength=len(counts))
    present = counts > 0
    if int(counts.max()) < SKEWED * int(counts[present].min()):
        return None
    return float((right[present].double() / counts[present]).mean())


def score(module: nn.Module, images: Pixels, preprocessing: Preprocessing, plan: Plan) -> Tensor:
    """Evaluation scores (N, K), float32, on the CPU, of uint8 images (N, C, H, W).

    A network, or its fast form, is folded first (see `engine.folding`); any other module runs as it is, in evaluation
    mode. Each CPU thread scores a batch of its own, so that none waits for another between two layers, and the scores
    do not depend on how many threads there are.
    """
    pixels = as_tensor(images)
    with scoring_form(module, plan) as form, workers(plan) as pool:
        at_once = images_at_once(module, plan)
        starts = range(0, len(pixels), at_once)
        scored = pool.map(lambda at: _scored(form, pixels[at : at + at_once], preprocessing, plan), starts)
        return torch.cat(list(scored))


@contextmanager
def scoring_form(module: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """What scores for `module`, on the plan's device: its folded form where it is a network; its own mode stays."""
    network = _network(module)
    if network is not None:
        yield Folded(network, plan.device)
        return
    was_training = module.training
    try:
        yield module.eval()
    finally:
        module.train(was_training)


@contextmanager
def workers(plan: Plan) -> Iterator[ThreadPoolExecutor]:
    """Threads that score side by side, each with torch to itself; torch's own threads are as before afterwards."""
    threads_before = torch.get_num_threads()
    count = plan.threads if plan.device == "cpu" else 1
    pool = ThreadPoolExecutor(count, "scoring", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads_before)


def images_at_once(module: nn.Module, plan: Plan) -> int:
    """How many images make a batch: the plan's number, on the CPU fewer where their largest maps leave the caches."""
    network = _network(module)
    if network is None or plan.device != "cpu":
        return plan.evaluation_batch
    steps = network.net.infer(network.input_shape).steps
    largest_bytes = 4 * max(
        math.prod(shape) for step in steps for shape in (step.input_shape, step.output_shape)
    )
    return min(plan.evaluation_batch, max(FEWEST_AT_ONCE, LARGEST_MAPS_BYTES // largest_bytes))


def _network(module: nn.Module) -> Network | None:
    """The network that `module` is, or is the fast form of."""
    reference = getattr(module, "reference", module)
    return reference if isinstance(reference, Network) else None


@torch.inference_mode()
def _scored(form: nn.Module, batch: Tensor, preprocessing: Preprocessing, plan: Plan) -> Tensor:
    return scored_views(form, batch.to(plan.device), preprocessing).cpu()


def scored_views(form: nn.Module, pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Scores (N, K), float32, of uint8 images (N, C, H, W) on the form's device: the mean over the views that the
    preprocessing names, each with its share."""
    views = preprocessing.seen(pixels)
    scores: Tensor = sum(share * form(preprocessing.scale(view)).float() for share, view in views)
    return scores
