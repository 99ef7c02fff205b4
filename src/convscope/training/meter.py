"""What the steps add up to, kept on the device; and how fast they go."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from convscope.training.stopwatch import Stopwatch

LIVE_EVERY_S = 0.5
Totals = tuple[float, float, float]  # loss sum, right answers, images


class Meter:
    """The epoch's totals. Adding a batch never waits for the device; reading does, and notices what is no number."""

    def __init__(self, device: str) -> None:
        precise = torch.float32 if device == "mps" else torch.float64  # Apple GPUs have no float64
        self.totals = torch.zeros(3, dtype=precise, device=device)

    def reset(self) -> None:
        """A new epoch begins."""
        self.totals.zero_()

    @torch.no_grad()
    def add(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Add one batch: its mean loss, its scores (B, K) and labels (B,)."""
        right = (scores.argmax(1) == labels).sum()
        images = torch.full_like(self.totals[0], len(labels))
        self.totals += torch.stack([loss.to(self.totals) * images, right.to(self.totals), images])

    def read(self) -> Totals | None:
        """The totals on the host, or None if the loss is no longer a finite number."""
        loss, right, images = self.totals.tolist()
        return (loss, right, images) if math.isfinite(loss) else None


class Speedometer:
    """Steps and images a second, from the clock of training; nothing that depends on it reaches the weights."""

    def __init__(self, watch: Stopwatch, step: int, images: int) -> None:
        self.watch = watch
        self.first_step, self.first_s = step, watch.total_s
        self.last_images, self.last_s, self.last_at = images, watch.total_s, time.perf_counter()

    @property
    def is_due(self) -> bool:
        """Whether those who watch should hear something again."""
        return time.perf_counter() - self.last_at >= LIVE_EVERY_S

    def images_per_s(self, images: int) -> float:
        """Since the last time it was asked; `images` counts all so far."""
        seconds, done = self.watch.total_s - self.last_s, images - self.last_images
        self.last_images, self.last_s, self.last_at = images, self.watch.total_s, time.perf_counter()
        return done / max(seconds, 1e-9)

    def seconds_left(self, step: int, steps: int) -> float:
        """From the steps of this sitting."""
        made = max(step - self.first_step, 1)
        return (self.watch.total_s - self.first_s) / made * (steps - step)
