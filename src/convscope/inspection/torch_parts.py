"""Small modules that torch has not, as `inspect --as torch` prints them. Each class needs torch, nn and F, no more.

The emitter copies a class's source out of this file when a net needs it; here they can be imported, typed and tested.
All work on images (N, C, H, W); padding is (left, right, top, bottom).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sides = tuple[int, int, int, int]


class Residual(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.body(x) + self.shortcut(x)
        return added


class ZeroPadShortcut(nn.Module):
    """Every `stride`-th pixel, and `new_maps` maps of zeros behind the others."""

    def __init__(self, stride: int, new_maps: int) -> None:
        super().__init__()
        self.stride, self.new_maps = stride, new_maps

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_maps))


class Branches(nn.ModuleList):
    """Every branch from the same input, their maps stacked."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class Auxiliary(nn.Module):
    """Passes its input on. In training `scores` then has those of its head; add weight * their loss to the main one."""

    scores: Tensor | None = None

    def __init__(self, head: nn.Module, weight: float) -> None:
        super().__init__()
        self.head, self.weight = head, weight

    def forward(self, x: Tensor) -> Tensor:
        self.scores = self.head(x) if self.training else None
        return x


class TableConv2d(nn.Module):
    """A convolution whose filters see only the maps in their row of `table`; one kernel for each of these links."""

    links: Tensor

    def __init__(
        self,
        table: tuple[tuple[int, ...], ...],
        in_maps: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Sides,
        dilation: tuple[int, int],
        bias: bool,
    ) -> None:
        super().__init__()
        links = [(filter_number, link) for filter_number, row in enumerate(table) for link in row]
        self.full_shape, self.padding = (len(table), in_maps, *kernel), padding
        self.stride, self.dilation = stride, dilation
        self.weight = nn.Parameter(torch.empty(len(links), *kernel).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.zeros(len(table))) if bias else None
        self.register_buffer("links", torch.tensor(links).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        filters, maps = self.links
        weight = self.weight.new_zeros(self.full_shape).index_put((filters, maps), self.weight)
        return F.conv2d(F.pad(x, self.padding), weight, self.bias, self.stride, 0, self.dilation)


class PaddedAvgPool2d(nn.Module):
    """The mean of each window over zeros around the map that do not count."""

    def __init__(self, window: tuple[int, int], stride: tuple[int, int], padding: Sides) -> None:
        super().__init__()
        self.window, self.stride, self.padding = window, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        ones = F.pad(torch.ones_like(x[:1, :1]), self.padding)
        means = F.avg_pool2d(F.pad(x, self.padding), self.window, self.stride)
        return means / F.avg_pool2d(ones, self.window, self.stride)


class LpPool2d(nn.Module):
    """(Σ |x|^p)^(1/p) of each window, its largest number taken out first so that no power overflows."""

    def __init__(self, p: float, window: tuple[int, int], stride: tuple[int, int], padding: Sides) -> None:
        super().__init__()
        self.p, self.window, self.stride, self.padding = p, window, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.padding)
        scale = F.max_pool2d(x.detach().abs(), self.window, self.stride).clamp_min(torch.finfo(x.dtype).tiny)
        windows = x.unfold(2, self.window[0], self.stride[0]).unfold(3, self.window[1], self.stride[1])
        scaled = (windows / scale[..., None, None]).flatten(4)
        norms: Tensor = torch.linalg.vector_norm(scaled, ord=self.p, dim=-1) * scale
        return norms


class Subsample(nn.Module):
    """LeNet-5's S layers: the sum of each window times a coefficient plus a bias, one of each a map."""

    def __init__(self, maps: int, window: tuple[int, int], stride: tuple[int, int], padding: Sides) -> None:
        super().__init__()
        self.window, self.stride, self.padding = window, stride, padding
        self.weight = nn.Parameter(torch.full((maps,), 1 / (window[0] * window[1])))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(F.pad(x, self.padding), self.window, self.stride, divisor_override=1)
        return sums * self.weight[:, None, None] + self.bias[:, None, None]


class ScaledTanh(nn.Module):
    """amplitude * tanh(slope * x)."""

    def __init__(self, amplitude: float, slope: float) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, x: Tensor) -> Tensor:
        return self.amplitude * torch.tanh(self.slope * x)


class GroupedResponseNorm(nn.Module):
    """A response normalisation in which maps of different groups are no neighbours."""

    def __init__(self, groups: int, norm: nn.Module) -> None:
        super().__init__()
        self.groups, self.norm = groups, norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in x.chunk(self.groups, dim=1)], dim=1)


class RadialBasis(nn.Module):
    """Scores -sum((x - code)**2), one fixed code of +1 (#) and -1 (.) a class."""

    codes: Tensor

    def __init__(self, codes: list[str]) -> None:
        super().__init__()
        bits = [[1.0 if bit == "#" else -1.0 for bit in code] for code in codes]
        self.register_buffer("codes", torch.tensor(bits))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None, :] - self.codes).square().sum(2)


class UnscaledBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose scale stays 1 and is no parameter; only its shift is trained."""

    def __init__(self, maps: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(maps, eps, momentum)
        del self.weight
        self.register_buffer("weight", torch.ones(maps), persistent=False)


class UnscaledBatchNorm1d(nn.BatchNorm1d):
    """The same for vectors."""

    def __init__(self, numbers: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(numbers, eps, momentum)
        del self.weight
        self.register_buffer("weight", torch.ones(numbers), persistent=False)
