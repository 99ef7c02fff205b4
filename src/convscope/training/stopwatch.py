"""A clock that can be paused and goes on from where an earlier sitting left it."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds while running. `perf_counter` is monotonic, so a changed wall clock does no harm."""

    def __init__(self, already_s: float = 0.0) -> None:
        self._before_s = already_s
        self._started_at: float | None = None

    @property
    def total_s(self) -> float:
        """Seconds so far, earlier sittings included."""
        running_s = time.perf_counter() - self._started_at if self._started_at is not None else 0.0
        return self._before_s + running_s

    def start(self) -> None:
        """Run, from here on."""
        if self._started_at is None:
            self._started_at = time.perf_counter()

    def pause(self) -> None:
        """Stand still."""
        self._before_s, self._started_at = self.total_s, None
