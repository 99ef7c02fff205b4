"""What the peers' scripts share: their options, the window of steps that counts, and the one JSON line they print.

Nothing here imports a library of a peer, so that each script pays for its own.
"""

from __future__ import annotations

import argparse
import json
import time

BATCH_SIZE = 128


def arguments(*more: str) -> argparse.Namespace:
    """--data --warm-steps --steps --seconds, and an option for each of `more`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="an .npz with x_train, y_train, x_test, y_test, as Keras has MNIST")
    parser.add_argument("--warm-steps", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0)
    for name in more:
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args()


class Window:
    """The steps that count: after the warm ones, until there were enough of them or enough time has passed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._warm_steps, self._steps, self._seconds = options.warm_steps, options.steps, options.seconds
        self._made = 0
        self._began_at = 0.0
        self._over: tuple[int, float] | None = None

    def is_over_after_step(self) -> bool:
        """To be called at the end of every step, when its work is done."""
        self._made += 1
        now = time.perf_counter()
        if self._made == self._warm_steps:
            self._began_at = now
        counted = self._made - self._warm_steps
        if counted >= self._steps or (counted > 0 and now - self._began_at >= self._seconds):
            self._over = self._over or (counted, now - self._began_at)
        return self._over is not None

    def print_images_per_s(self, **more: object) -> None:
        """The script's answer."""
        if self._over is None:
            raise SystemExit("training ended before enough steps were made; allow more epochs")
        steps, seconds = self._over
        answer({"images_per_s": steps * BATCH_SIZE / seconds, "steps": steps, **more})


def answer(values: dict[str, object]) -> None:
    """Print the one line that the runner reads, the last of stdout."""
    print("\n" + json.dumps(values), flush=True)
