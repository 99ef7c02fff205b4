"""Pictures moved by whole pixels, and what a trained network answers to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data import Split
from convscope.engine import fast
from convscope.engine.plan import Plan
from convscope.engine.scoring import score
from convscope.lecture.shift_study import ShiftRow
from convscope.model_file import Model

DIRECTIONS = {"down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1)}  # rows, columns


def moved(images: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """Images (N, C, H, W) moved down and to the right by so many pixels, zeros where nothing comes from.

    >>> moved(np.array([[[[1, 2], [3, 4]]]]), 0, -1).tolist()
    [[[[2, 0], [4, 0]]]]
    """
    result = np.zeros_like(images)
    high, wide = images.shape[2:]
    to_rows, from_rows = _overlap(rows, high)
    to_columns, from_columns = _overlap(columns, wide)
    result[:, :, to_rows, to_columns] = images[:, :, from_rows, from_columns]
    return result


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    """Where the numbers go and where they come from, along one side."""
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size - max(by, 0))


def moves(px: int) -> dict[str, tuple[int, int]]:
    """By how many rows and columns, for each direction; one way only to stay in place."""
    return (
        {name: (px * rows, px * columns) for name, (rows, columns) in DIRECTIONS.items()}
        if px
        else {"": (0, 0)}
    )


def cut_off(images: npt.NDArray[np.uint8], most_px: int) -> tuple[float, ...]:
    """For 0 to `most_px` pixels: the share of images that lose a pixel other than zero over the edge."""
    ink = images > 0
    counts = ink.sum(axis=(1, 2, 3))
    shares = []
    for px in range(most_px + 1):
        lost = [moved(ink, *by).sum(axis=(1, 2, 3)) < counts for by in moves(px).values()]
        shares.append(float(sum(each.mean() for each in lost) / len(lost)))
    return tuple(shares)


def judged(model: Model, test: Split, plan: Plan, most_px: int, seed: int) -> tuple[ShiftRow, ...]:
    """One row for each shift from 0 to `most_px`: what a trained network answers on a split that is moved."""
    module = fast(model.module.to(plan.device).eval())
    at_rest = _answers(module, model, test.images, plan)
    rows = []
    for px in range(most_px + 1):
        answers = {
            name: _answers(module, model, moved(test.images, *by), plan) for name, by in moves(px).items()
        }
        accuracies = {name: float((given == test.labels).mean()) for name, given in answers.items()}
        kept = [float((given == at_rest).mean()) for given in answers.values()]
        rows.append(
            ShiftRow(seed, px, sum(accuracies.values()) / len(accuracies), sum(kept) / len(kept), accuracies)
        )
    return tuple(rows)


def _answers(module: Any, model: Model, images: npt.NDArray[np.uint8], plan: Plan) -> npt.NDArray[np.int64]:
    """The class of each image (N,)."""
    scores = score(module, np.require(images, requirements="W"), model.preprocessing, plan)  # (N, K)
    answers: npt.NDArray[np.int64] = scores.argmax(1).numpy()
    return answers
