"""Whitening: the first convolution made from the training images' own patches, so that what leaves it has no scale
and no correlation. Its weights are found once and stay; nothing of it has to be stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from convscope.errors import RecipeError
from convscope.reference import Network
from convscope.training.settings import ABOVE_ZERO, UP_TO_ONE, Problem, Setting, number, whole


@dataclass(frozen=True)
class Whitening(Setting):
    """The first convolution as whitening filters and their negatives, 2·F·F·D of them, frozen; its bias is trained.

    Attributes:
        images: from how many training images the patches are taken.
        eps: added to the variance of each direction before dividing by its root, so that noise is not blown up; in
            units of the scaled images.
        bias_share: the share of the training in which the bias is trained too.

    Source: D. Page, "How to train your ResNet", 2019; the negatives and the frozen weights: hlb-CIFAR10, 2023, and
    K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024. Taking off the mean of the patches is ours.
    """

    images: int = 5000
    eps: float = 5e-4
    bias_share: float = 0.3
    kind: ClassVar[str] = "patches"

    def problems(self) -> list[Problem]:
        return (
            whole("images", self.images)
            + number("eps", self.eps, ABOVE_ZERO)
            + number("bias_share", self.bias_share, UP_TO_ONE)
        )


def whiten(module: Network, setting: Whitening, images: Tensor) -> None:
    """Set and freeze the weights of `module`'s first convolution, in place.

    Args:
        module: a network whose first convolution has 2·F·F·D filters.
        setting: how.
        images: (N, D, H, W), float32, scaled as the network gets them.

    Raises:
        RecipeError: the first convolution has another number of filters, or groups, or there is none.
    """
    name, convolution = first_convolution(module)
    _require_filters(name, convolution)
    filters = whitening_filters(images, convolution, setting.eps)
    with torch.no_grad():
        convolution.weight.copy_(torch.cat([filters, -filters]))
    convolution.weight.requires_grad_(False)


def whitening_filters(images: Tensor, convolution: nn.Conv2d, eps: float) -> Tensor:
    """Eigenvectors of the covariance of the images' patches over √(eigenvalue + eps), (F·F·D, D, F, F), float32.

    The direction with the largest variance comes first.
    """
    window = convolution.weight.shape[1:]  # (D, F, F)
    size, count = window.numel(), 0
    total, products = torch.zeros(size).double(), torch.zeros(size, size).double()
    for at in range(0, len(images), 500):  # the patches of all images are never in memory together
        part = images[at : at + 500].cpu()
        patches = nn.functional.unfold(
            part, convolution.kernel_size, convolution.dilation
        )  # (n, size, places)
        numbers = patches.transpose(1, 2).flatten(0, 1).double()  # (n·places, size)
        total, products, count = total + numbers.sum(0), products + numbers.T @ numbers, count + len(numbers)
    mean = total / count
    variances, directions = torch.linalg.eigh(products / count - torch.outer(mean, mean))  # smallest first
    scaled: Tensor = directions / (variances.clamp_min(0.0) + eps).sqrt()  # one direction a column
    return scaled.T.flip(0).reshape(-1, *window).float()


def first_convolution(module: Network) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that the images reach first.

    Raises:
        RecipeError: the network has none.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            return name, part
    raise RecipeError(
        "whitening of a network without a convolution",
        "a convolution first",
        "Set whitening=None, or name another net",
    )


def _require_filters(name: str, convolution: nn.Conv2d) -> None:
    rows, columns = convolution.kernel_size
    wanted = 2 * rows * columns * convolution.in_channels
    if convolution.groups == 1 and convolution.out_channels == wanted:
        return
    raise RecipeError(
        f"whitening of {name}, which has {convolution.out_channels} filters"
        + (f" in {convolution.groups} groups" if convolution.groups > 1 else ""),
        f"2·{rows}·{columns}·{convolution.in_channels} = {wanted} filters that see every channel: a filter for each "
        "direction of its patches, and the negatives",
        f"Write {wanted} filters, name another net, or set whitening=None",
    )
