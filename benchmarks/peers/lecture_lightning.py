"""The lecture's network in Lightning: a LightningModule and a Trainer.

python lecture_lightning.py --data mnist.npz [--workers 2] [--precision bfloat16]
"""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
import torch.nn.functional as F
from common import Window, arguments
from lecture_torch import LectureNet, adadelta, loader


class Lecture(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = LectureNet()

    def training_step(self, batch, batch_index):
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    def configure_optimizers(self):
        return adadelta(self.parameters())


class Stop(lightning.Callback):
    def __init__(self, window: Window) -> None:
        self.window = window

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index) -> None:
        trainer.should_stop = self.window.is_over_after_step()


def main() -> None:
    options = arguments("workers", "precision")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    window = Window(options)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1000,
        precision="bf16-mixed" if options.precision == "bfloat16" else "32-true",
        callbacks=[Stop(window)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Lecture(), loader(options))
    window.print_images_per_s(version=f"lightning {lightning.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
