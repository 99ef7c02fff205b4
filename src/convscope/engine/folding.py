"""`folded(network)`: a copy of a network for inference, in which batch norms have gone into the weights before them.

Nothing of the original is touched or shared: training goes on with its own weights and norms. The copy's scores are
the original's in evaluation mode, up to the last bits of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.engine.winograd import Winograd, joined
from convscope.layers import lrn
from convscope.reference import Network
from convscope.reference.modules import (
    Auxiliary,
    Branches,
    Dropout,
    PaddedMaxPool2d,
    Residual,
    ResponseNorm,
    Row,
    Subsample,
    TableConv2d,
)

Weighted = nn.Conv2d | nn.Linear | TableConv2d | Subsample
Norm = nn.BatchNorm1d | nn.BatchNorm2d
MaxPool = nn.MaxPool2d | PaddedMaxPool2d
Writing = Weighted | Norm | MaxPool | nn.AvgPool2d | Winograd  # what they return is memory of its own


def folded(network: Network) -> Network:
    """A copy of `network`, in evaluation mode and without gradients, with fewer layers and the same scores.

    A batch norm that stands right behind a convolution, a dense layer or a `subsample` becomes part of its weights;
    dropout and identity are left out. A norm behind anything else (a pool, branches, the end of a block) stays. Taken
    once: later changes of `network` do not reach the copy.

    Source: B. Jacob et al., Quantization and Training of Neural Networks (2018), section 3.2, for the arithmetic.

    >>> from convscope.net import Net
    >>> network = Net.parse("conv(4, 3), batchnorm, relu, dropout(0.5), flatten, dense(classes)").build((1, 6, 6))
    >>> folded(network).scored
    ['conv1', 'relu1', 'flatten1', 'dense1']
    """
    copy = deepcopy(network, {id(network.net): network.net}).eval().requires_grad_(False)
    for row in [module for module in copy.modules() if isinstance(module, Row)]:
        row.paths = [_folded_path(row, names) for names in row.paths]
        if isinstance(row, Residual) and row.kind == "projection":
            _fold(row.projection, row.projection_norm)
            row.projection_norm = nn.Identity()  # type: ignore[assignment]  # a norm that is no longer needed
    copy.scored = [name for name in copy.paths[0] if name in copy.scored]
    return copy


def _folded_path(row: Row, names: list[str]) -> list[str]:
    """The names that are still needed; what is not is taken out of the row."""
    kept: list[str] = []
    for name in names:
        module = row.get_submodule(name)
        before = row.get_submodule(kept[-1]) if kept else None
        if isinstance(module, Norm) and isinstance(before, Weighted):
            _fold(before, module)
        elif not isinstance(module, Dropout | nn.Identity):
            kept.append(name)
            continue
        delattr(row, name)
    return kept


@torch.no_grad()
def _fold(layer: Weighted, norm: Norm) -> None:
    """Let `layer` do what `norm` does behind it: scale·(w·x + b − mean) + shift, with new Parameters of its own.

    The products are taken in float64, so that they are rounded once.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt() * norm.weight.double()  # (C,)
    bias = norm.running_mean.new_zeros(len(scale)) if layer.bias is None else layer.bias
    shifted = (bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    layer.weight = _parameter(layer.weight.double() * _for_each_filter(scale, layer), layer.weight)
    layer.bias = _parameter(shifted, layer.weight)


def _for_each_filter(scale: Tensor, layer: Weighted) -> Tensor:
    """The scale (C,) of each filter, beside the layer's own weight."""
    if isinstance(layer, TableConv2d):
        scale = scale[layer.get_buffer("links")[0]]  # a kernel a link, and the filter it belongs to
    return scale.view(-1, *[1] * (layer.weight.ndim - 1))


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(like.dtype), requires_grad=False)


# ---- the form that scores -------------------------------------------------------------------------------------------

Operation = Callable[[Tensor], Tensor]


class Folded(nn.Module):
    """A network ready to score many images: folded, on `device`, maps pixel by pixel, nothing written twice.

    Called with images (N, C, H, W), float32, it returns the network's evaluation scores (N, K), whatever its mode. relu
    moves behind a max-pool and writes over its input where nobody else reads that; a residual sum writes over its
    first term. Needs `torch.inference_mode()` around it, for it keeps nothing that a gradient would need. With `names`
    it returns what these, the network's first layers, make of the images.

    >>> from convscope.net import Net
    >>> network = Net.parse("conv(4, 3), relu, maxpool(2), flatten, dense(2)").build((1, 6, 6)).eval()
    >>> with torch.inference_mode():
    ...     images = torch.rand(3, 1, 6, 6)
    ...     torch.allclose(Folded(network)(images), network(images), atol=1e-5)
    True
    """

    def __init__(self, network: Network, device: str = "cpu", names: Collection[str] | None = None) -> None:
        super().__init__()
        self.network = folded(network).to(device).to(memory_format=torch.channels_last)
        scored = [name for name in self.network.scored if names is None or name in names]
        self._run, _ = _in_a_row(self.network, scored)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) of float images (N, C, H, W)."""
        return self._run(images.contiguous(memory_format=torch.channels_last))


def _in_a_row(row: Row, names: Sequence[str]) -> tuple[Operation, bool]:
    """One operation for the named modules of a row, and whether what it returns is memory of its own."""
    operations: list[Operation] = []
    is_own = False
    for module in _pool_first(_joined([row.get_submodule(name) for name in names])):
        operation, is_own = _operation(module, is_own)
        operations.append(operation)

    def run(images: Tensor) -> Tensor:
        for operation in operations:
            images = operation(images)
        return images

    return run, is_own


def _joined(modules: list[nn.Module]) -> list[nn.Module]:
    """On the CPU, convolutions that suit are done by Winograd's method, with the relu and the pool behind them."""
    on_cpu = all(parameter.device.type == "cpu" for module in modules for parameter in module.parameters())
    return joined(modules) if on_cpu else modules


def _pool_first(modules: list[nn.Module]) -> list[nn.Module]:
    """Every relu that stands right before a max-pool moved behind it, where it has less to do."""
    ordered = list(modules)
    for i in range(len(ordered) - 1):
        if isinstance(ordered[i], nn.ReLU | nn.ReLU6) and isinstance(ordered[i + 1], MaxPool):
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return ordered


def _operation(module: nn.Module, is_own: bool) -> tuple[Operation, bool]:
    """How to run `module` on an input that is, or is not, memory which nobody else reads."""
    if isinstance(module, nn.ReLU):
        return (torch.relu_ if is_own else torch.relu), True
    if isinstance(module, nn.ReLU6):
        return (lambda images: functional.relu6(images, inplace=is_own)), True
    if isinstance(module, ResponseNorm):
        return _response_norm(module.layer), True
    if isinstance(module, Residual):
        return _residual(module)
    if isinstance(module, Branches):
        paths = [_in_a_row(module, names)[0] for names in module.paths]
        return (lambda images: torch.cat([path(images) for path in paths], dim=1)), True
    if isinstance(module, Auxiliary):
        return (lambda images: images), is_own
    if isinstance(module, Row):
        return _in_a_row(module, module.paths[0])
    return module, is_own if isinstance(module, nn.Flatten) else isinstance(module, Writing)


def _residual(module: Residual) -> tuple[Operation, bool]:
    """Both terms read the input, so the path must not write over it; what it returns it may write over."""
    path, path_is_own = _in_a_row(module, module.paths[0])

    def run(images: Tensor) -> Tensor:
        term = path(images)
        return term.add_(module.shortcut(images)) if path_is_own else term + module.shortcut(images)

    return run, True


def _response_norm(layer: lrn) -> Operation:
    """a / (k + alpha·Σ a²)^beta, its sum over neighbouring maps as one convolution."""

    def run(images: Tensor) -> Tensor:
        maps = images.shape[1]
        place = torch.arange(maps, device=images.device)
        distance = place[None, :] - place[:, None]  # (C, C), from each map to each other
        group = place // (maps // layer.groups)
        near = (distance >= -(layer.size // 2)) & (distance <= (layer.size - 1) // 2)
        band = (near & (group[None, :] == group[:, None])).to(images.dtype) * layer.alpha
        sums = functional.conv2d(images.square(), band[:, :, None, None], images.new_full((maps,), layer.k))
        return sums.pow_(-layer.beta).mul_(images)

    return run
