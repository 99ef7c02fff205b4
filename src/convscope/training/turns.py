"""Whose turn it is: the training images of an epoch in their order, each with a partner to be mixed with.

    order      every image once
    sampler    every class equally often: a class's images come round and round, whole passes one after the other

Everything is a pure function of the seed, the epoch and the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.engine.random import key, order

BALANCES = ("none", "weights", "sampler")


@dataclass(frozen=True)
class Turns:
    """Turns of an epoch or of a batch, one after the other.

    Attributes:
        image: (N,), int64, which image of the training split has its turn.
        number: (N,), int64, what its random numbers follow from: the image's number, and where the image has another
            turn in the same epoch, one that no other turn has.
        partner: (N,), int64, the position in the epoch of the turn that it is mixed with, where images are mixed.
    """

    image: Tensor
    number: Tensor
    partner: Tensor

    def __getitem__(self, part: slice | Tensor) -> Turns:
        return Turns(self.image[part], self.number[part], self.partner[part])

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: str) -> Turns:
        """The same on another device."""
        return Turns(self.image.to(device), self.number.to(device), self.partner.to(device))


def turns_of(labels: Tensor, balance: str, seed: int, epoch: int) -> Turns:
    """The turns of an epoch, on the CPU.

    Args:
        labels: (N,), int64, of the training split.
        balance: one of `BALANCES`; "sampler" gives every class equally many of the N turns.
        seed: the run's.
        epoch: counted from 0.

    >>> few, many = [0], [1] * 7
    >>> turns = turns_of(torch.tensor(few + many), "sampler", seed=0, epoch=0)
    >>> sorted(turns.image.tolist())[:5], len(set(turns.number.tolist()))
    ([0, 0, 0, 0, 3], 8)
    """
    n = len(labels)
    shuffled = order(seed, epoch, n)
    distance = 1 + key(seed, "partner", epoch) % max(1, n - 1)
    partner = (torch.arange(n) + distance) % n  # a fixed distance in a random order is a random image
    if balance != "sampler":
        return Turns(shuffled, shuffled, partner)
    image, repeat = _balanced(labels, seed, epoch)
    return Turns(image[shuffled], (image + n * repeat)[shuffled], partner)


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """What an image of each class counts in the loss, (K,) float32: as much as its class is rarer than the mean.

    The mean over the images is 1; a class without images has 0.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(labels.cpu(), minlength=classes).double()
    present = counts > 0
    weights = torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), 0.0)
    return weights.float()


def _balanced(labels: Tensor, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Images (N,) that make every class equally frequent, by class; and how often each came before in this epoch."""
    present = torch.unique(labels).tolist()
    images, repeats = [], []
    for place, label in enumerate(present):
        members = torch.nonzero(labels == label)[:, 0]
        first, last = (_turns_before(place, len(present), len(labels), at) for at in (epoch, epoch + 1))
        passes = range(first // len(members), -(-last // len(members)))
        rounds = [members[_pass(seed, label, number, len(members))] for number in passes]
        skipped = first - passes.start * len(members)
        chosen = torch.cat(rounds)[skipped : skipped + last - first] if rounds else members[:0]
        images.append(chosen)
        repeats.append(_times_before(chosen))
    return torch.cat(images), torch.cat(repeats)


def _turns_before(place: int, classes: int, n: int, epoch: int) -> int:
    """How many turns the class at this place has had before the epoch; what is left over goes round the classes."""
    each, rest = divmod(n, classes)
    return epoch * each + (epoch * rest - place + classes - 1) // classes


def _pass(seed: int, label: int, number: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(key(seed, "pass", label, number) >> 1)
    return torch.randperm(n, generator=generator)


def _times_before(images: Tensor) -> Tensor:
    """How often each image stands earlier in (N,)."""
    ordered, where = torch.sort(images, stable=True)
    _, counts = torch.unique_consecutive(ordered, return_counts=True)
    begins = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    before = torch.empty_like(images)
    before[where] = torch.arange(len(images)) - begins
    return before
