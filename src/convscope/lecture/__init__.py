"""The lecture's own work, done again and set beside what it printed.

run(data, seeds=(0,)) -> LectureRun       trains recipe `lecture`; `render` makes the text that is shown
check(ids=()) -> list[Claim]              the lecture's arithmetic, claim by claim, without torch
shift(data) -> ShiftStudy                 what three networks answer when the picture moves
"""

from __future__ import annotations

from convscope.lecture.check_claim import Claim
from convscope.lecture.checks import NEEDS_TRAINING, check
from convscope.lecture.run import LectureRun, render, run
from convscope.lecture.shift_study import ShiftStudy
from convscope.lecture.shifts import shift

__all__ = ["NEEDS_TRAINING", "Claim", "LectureRun", "ShiftStudy", "check", "render", "run", "shift"]
