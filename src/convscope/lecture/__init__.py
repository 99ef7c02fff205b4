"""The lecture's own work, done again and set beside what it printed.

run(data, seeds=(0,)) -> LectureRun       trains recipe `lecture`; `render` makes the text that is shown
"""

from __future__ import annotations

from convscope.lecture.run import LectureRun, render, run

__all__ = ["LectureRun", "render", "run"]
