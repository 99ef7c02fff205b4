"""What a trained model sees in picture files, prepared exactly as its training images were."""

from __future__ import annotations

from convscope.prediction.files import picture_files
from convscope.prediction.outcomes import Failure, Prediction, predict

__all__ = ["Failure", "Prediction", "picture_files", "predict"]
