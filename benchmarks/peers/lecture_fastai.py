"""The lecture's network in fastai: DataLoaders and a Learner around a PyTorch optimizer.

python lecture_fastai.py --data mnist.npz [--workers 2]
"""

from __future__ import annotations

import fastai
import torch
from common import Window, arguments
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from lecture_torch import LectureNet, adadelta, loader


class Stop(Callback):
    def __init__(self, window: Window) -> None:
        self.window = window

    def after_batch(self) -> None:
        if self.window.is_over_after_step():
            raise CancelFitException


def optimizer(parameters, lr, **_):
    """fastai hands over its parameter groups and a rate that the recipe does not need."""
    flat = [
        parameter for group in parameters for parameter in (group if isinstance(group, list) else [group])
    ]
    return OptimWrapper(opt=adadelta(iter(flat)))


def main() -> None:
    options = arguments("workers")
    window = Window(options)
    feed = loader(options)
    learner = Learner(
        DataLoaders(feed, feed, device=torch.device("cpu")),
        LectureNet(),
        loss_func=CrossEntropyLossFlat(),
        opt_func=optimizer,
        lr=1.0,
    )
    learner.remove_cbs(learner.cbs.filter(lambda callback: isinstance(callback, ProgressCallback)))
    with learner.no_logging():
        learner.fit(1000, lr=1.0, cbs=[Stop(window)])
    window.print_images_per_s(version=f"fastai {fastai.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
