"""Train the lecture's network on the bundled digits, judge it, and look at what it gets wrong.

python examples/train_digits.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import convscope


def main() -> None:
    """A short run: 100 steps of 128 images, about one and a half times through 9,000 digits."""
    with tempfile.TemporaryDirectory() as folder:
        run = convscope.train("mnist-10k", steps=100, out=Path(folder) / "digits")
        report = convscope.evaluate(run.model(), "mnist-10k")

    low, high = report.accuracy_interval
    print(
        f"{report.correct} of {report.n} right: {report.accuracy:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    )
    for mistake in report.worst[:3]:
        print(
            f"image {mistake.index}: a {mistake.true} called {mistake.predicted}, sure {mistake.probability:.2f}"
        )

    assert report.accuracy >= 0.90, "one hundred steps are enough for nine digits of ten"


if __name__ == "__main__":
    main()
