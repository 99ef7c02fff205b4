"""The lecture's network in plain PyTorch, as the tutorials of PyTorch write a network and a training loop.

    python lecture_torch.py --data mnist.npz [--feed loader] [--workers 2] [--precision bfloat16] [--compile yes]

--feed loader   torchvision's way: every image a PIL picture, ToTensor, a shuffling DataLoader
--feed memory   the fastest form: all images as float32 in memory, a batch is one indexing
--precision bfloat16 is autocast with channels_last. The module and the data below are used by other scripts too.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from common import BATCH_SIZE, Window, arguments
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor


class LectureNet(nn.Module):
    """Two convolutions, a pool, two dense layers, two dropouts: scores (N, 10) of images (N, 1, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(9216, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(self.dropout2(x))


class Pictures(Dataset):
    """Images one by one, as torchvision.datasets.MNIST hands them out."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels, self.transform = images, labels, ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def pictures(options: argparse.Namespace) -> Pictures:
    """The training images of the .npz."""
    with np.load(options.data) as data:
        return Pictures(data["x_train"], data["y_train"])


def loader(options: argparse.Namespace) -> DataLoader:
    """The tutorials' DataLoader over them; the last, smaller batch is left out, so that every step is the same."""
    workers = int(options.workers or 0)
    return DataLoader(
        pictures(options),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
    )


def adadelta(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """The lecture's optimizer."""
    return torch.optim.Adadelta(parameters, lr=1.0, rho=0.95, eps=1e-7)


def batches(options: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end."""
    if options.feed == "memory":
        yield from in_memory(options)
    batched = loader(options)
    while True:
        yield from batched


def in_memory(options: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches indexed from float32 tensors."""
    data = pictures(options)
    images = torch.from_numpy(data.images[:, None]).float() / 255  # (N, 1, 28, 28)
    labels = torch.from_numpy(data.labels.astype(np.int64))
    while True:
        for chosen in torch.randperm(len(labels)).split(BATCH_SIZE):
            if len(chosen) == BATCH_SIZE:
                yield images[chosen], labels[chosen]


def main() -> None:
    options = arguments("feed", "workers", "precision", "compile")
    narrow = options.precision == "bfloat16"
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if narrow else contextlib.nullcontext()
    layout = torch.channels_last if narrow else torch.contiguous_format
    model = LectureNet().to(memory_format=layout).train()
    run = torch.compile(model) if options.compile else model
    optimizer = adadelta(model.parameters())
    window = Window(options)
    for images, labels in batches(options):
        optimizer.zero_grad()
        with autocast:
            loss = F.cross_entropy(run(images.contiguous(memory_format=layout)), labels)
        loss.backward()
        optimizer.step()
        if window.is_over_after_step():
            break
    window.print_images_per_s(version=f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
