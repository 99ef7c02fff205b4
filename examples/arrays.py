"""Train on NumPy arrays: small pictures with a bright bar that lies or stands.

python examples/arrays.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import convscope


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 1, 12, 12) of a bar on noise, and labels (N,): 0 lying, 1 standing."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 90, (n, 1, 12, 12), dtype=np.uint8)
    labels, places = random.integers(0, 2, n), random.integers(1, 11, n)
    for image, label, place in zip(images, labels, places, strict=True):
        picture = image[0].T if label else image[0]  # (H, W), seen from the side for a standing bar
        picture[place, 2:10] = 230
    return images, labels


def main() -> None:
    """512 pictures to learn from, 256 others to be judged on."""
    data = convscope.from_arrays(
        *bars(512, 0), test=bars(256, 1), class_names=("lying", "standing"), name="bars"
    )
    with tempfile.TemporaryDirectory() as folder:
        net = 'conv(8, 5), relu, globalpool("max"), dense(classes)'
        run = convscope.train(data, net=net, steps=120, batch_size=64, out=Path(folder) / "bars")
        report = convscope.evaluate(run.model(), data)
    print(report.render())

    assert report.accuracy >= 0.95, "a bar that lies is told from one that stands"


if __name__ == "__main__":
    main()
