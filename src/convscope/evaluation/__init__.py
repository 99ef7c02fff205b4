"""What a model does on images it was not trained on."""

from __future__ import annotations

from convscope.evaluation.interval import wilson_interval
from convscope.evaluation.judging import evaluate
from convscope.evaluation.report import ClassScore, Mistake, Report

__all__ = ["ClassScore", "Mistake", "Report", "evaluate", "wilson_interval"]
