"""Scores of a whole split, and what they are worth. Training and evaluation both come here, so they agree exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from convscope.data import Preprocessing
    from convscope.engine.plan import Plan

Pixels = Tensor | npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores (N, K) float32 on the CPU; mean cross-entropy; how many of n were right."""

    scores: Tensor
    loss: float
    correct: int
    n: int

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
    return Scoring(scores, loss, correct, len(scores))


def score(module: nn.Module, images: Pixels, preprocessing: Preprocessing, plan: Plan) -> Tensor:
    """Scores (N, K), float32, on the CPU, of uint8 images (N, C, H, W), a batch of the plan's size at a time."""
    was_training = module.training
    module.eval()
    pixels = torch.as_tensor(images)
    starts = range(0, len(pixels), plan.evaluation_batch)
    with torch.inference_mode():
        scores = [
            _scored(module, pixels[at : at + plan.evaluation_batch], preprocessing, plan) for at in starts
        ]
    module.train(was_training)
    return torch.cat(scores)


def _scored(module: nn.Module, batch: Tensor, preprocessing: Preprocessing, plan: Plan) -> Tensor:
    scores: Tensor = module(preprocessing.scale(batch.to(plan.device)))
    return scores.float().cpu()
