"""Operations over the compiled kernels: each one pass over memory, with its gradient.

Every tensor of maps (N, C, H, W) lies pixel by pixel ("channels last"), float32 or bfloat16, on the CPU. Parameters
are float32 and stay so; their gradients are float32 too. Nothing here knows of modules: `engine.fast` does.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

Pair = tuple[int, int]
# As in kernels.cpp: most numbers under a window, most under a row of windows, and how many filters go together.
FEW_TAPS, FEW_ROWS, FEW_WIDTH = 64, 8192, 32
LANES = 64  # and how many channels are handled together


class _Window(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "channels", "out_height", "out_width", "size_y", "size_x", "stride_y", "stride_x",
        "pad_y", "pad_x",
    )]  # fmt: skip


class Few(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "in_channels", "out_height", "out_width", "out_channels", "size_y", "size_x",
        "stride_y", "stride_x", "pad_y", "pad_x",
    )]  # fmt: skip


class _Dropout(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_void_p),
        ("by_bytes", ctypes.c_int32),
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
    ]


@dataclass(frozen=True, eq=False)
class Drop:
    """Inverted dropout of this step: the hash of each sample (N,), int32, and the rate; see `Draw.keep`."""

    rows: Tensor
    rate: float

    def structure(self) -> _Dropout:
        """As the kernels take it."""
        by_bytes = (self.rate * 256).is_integer()
        threshold = round(self.rate * (256 if by_bytes else 2**32))
        return _Dropout(self.rows.data_ptr(), by_bytes, threshold, 1.0 / (1.0 - self.rate))


def dropout_structure(drop: Drop | None) -> _Dropout:
    return drop.structure() if drop else no_dropout()


def no_dropout() -> _Dropout:
    """As the kernels take it where nothing is dropped."""
    return _Dropout(None, 0, 0, 1.0)


class Kernels:
    """Compiled libraries, called with tensors; what the first does not know is asked of the next."""

    def __init__(self, *libraries: ctypes.CDLL) -> None:
        self._libraries = libraries
        self._known: dict[str, Any] = {}

    def call(self, name: str, like: Tensor, *arguments: Any) -> None:
        """Run a kernel in the numbers of `like`; tensors go as pointers, None as null."""
        function = self._function(f"{name}_{str(like.dtype).removeprefix('torch.')}")
        function(*(_passed(argument) for argument in arguments))

    def _function(self, name: str) -> Any:
        if name not in self._known:
            having = (library for library in self._libraries if hasattr(library, name))
            self._known[name] = getattr(next(having, self._libraries[0]), name)
        return self._known[name]

    @staticmethod
    def take(tensor: Tensor) -> bool:
        """Whether the kernels know numbers and device of this tensor."""
        return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.bfloat16)


def _passed(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)


def by_pixel(tensor: Tensor) -> Tensor:
    """The same numbers pixel by pixel: maps as channels last, anything else plainly contiguous."""
    if tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.contiguous()


def maps_like(tensor: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Unwritten maps, pixel by pixel, even where a size of 1 would let torch choose."""
    shape = (tensor.shape[0], height, width, channels)
    return tensor.new_empty(shape).permute(0, 3, 1, 2)


def _extents(tensor: Tensor) -> tuple[int, int, int]:
    """(images, pixels, channels) of maps (N, C, H, W) or vectors (N, D)."""
    return tensor.shape[0], tensor.shape[2:].numel(), tensor.shape[1]


# ---- pool -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooling:
    """A max-pool's window (rows, columns), its step and its border, and its output's size."""

    size: Pair
    stride: Pair
    padding: Pair
    out: Pair


class _Pool(Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, pooling: Pooling, relu: bool, drop: Drop | None, kernels: Kernels
    ) -> Tensor:
        maps = by_pixel(maps)
        images, channels, height, width = maps.shape
        window = _Window(
            images, height, width, channels, *pooling.out, *pooling.size, *pooling.stride, *pooling.padding
        )
        out = maps_like(maps, channels, *pooling.out)
        winner = torch.empty(out.numel(), dtype=torch.uint8)
        kernels.call("pool", maps, maps, out, winner, window, relu, dropout_structure(drop))
        ctx.save_for_backward(winner)
        ctx.window, ctx.shape, ctx.scale, ctx.kernels = (
            window,
            maps.shape,
            dropout_structure(drop).scale,
            kernels,
        )
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (winner,) = ctx.saved_tensors
        out_gradient = by_pixel(out_gradient)
        gradient = maps_like(out_gradient, *ctx.shape[1:])
        ctx.kernels.call(
            "pool_gradient", out_gradient, out_gradient, winner, gradient, ctx.window, float(ctx.scale)
        )
        return gradient, None, None, None, None


def pool(maps: Tensor, pooling: Pooling, relu: bool, drop: Drop | None, kernels: Kernels) -> Tensor:
    """Dropout of relu of the max-pool of maps (N, C, H, W); the window has at most 254 places."""
    return _Pool.apply(maps, pooling, relu, drop, kernels)  # type: ignore[no-any-return]


# ---- relu and dropout -------------------------------------------------------------------------------------


class _ReluDropout(Function):
    @staticmethod
    def forward(ctx: Any, numbers: Tensor, relu: bool, drop: Drop | None, kernels: Kernels) -> Tensor:
        numbers = by_pixel(numbers)
        out = torch.empty_like(numbers)
        kernels.call("relu_dropout", numbers, numbers, out, *_extents(numbers), relu, dropout_structure(drop))
        ctx.save_for_backward(*((out,) if relu else ()))
        ctx.relu, ctx.drop, ctx.kernels = relu, drop, kernels
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (out,) = ctx.saved_tensors or (None,)
        out_gradient = by_pixel(out_gradient)
        gradient = torch.empty_like(out_gradient)
        extents = _extents(out_gradient)
        ctx.kernels.call(
            "relu_dropout_gradient",
            gradient,
            out_gradient,
            out,
            gradient,
            *extents,
            ctx.relu,
            dropout_structure(ctx.drop),
        )
        return gradient, None, None, None


def relu_dropout(numbers: Tensor, relu: bool, drop: Drop | None, kernels: Kernels) -> Tensor:
    """Dropout of relu of maps (N, C, H, W) or vectors (N, D); at least one of the two."""
    return _ReluDropout.apply(numbers, relu, drop, kernels)  # type: ignore[no-any-return]


# ---- convolution ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolving:
    """A convolution's window: step, border and gaps as (rows, columns), and its groups."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def out(self, maps: Tensor, weight: Tensor) -> Pair:
        """(rows, columns) of the output."""
        rows, columns = (
            (maps.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (weight.shape[2 + i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return rows, columns


def is_few(maps: Tensor, weight: Tensor, by: Convolving) -> bool:
    """Whether a convolution has so few input numbers a window that our own kernel is faster than any library's."""
    return (
        by.groups == 1
        and by.dilation == (1, 1)
        and weight.shape[1:].numel() <= FEW_TAPS
        and weight.shape[1] * weight.shape[2] * (maps.shape[3] + 2 * by.padding[1]) <= FEW_ROWS
        and weight.shape[0] % FEW_WIDTH == 0
        and not maps.requires_grad
    )


def few_sizes(images: Tensor, weight: Tensor, by: Convolving) -> tuple[Few, Tensor]:
    """The sizes, and the weight as the kernels take it: (rows, columns, C, filters)."""
    filters, in_channels, *size = weight.shape
    sizes = (len(images), *images.shape[2:], in_channels, *by.out(images, weight), filters)
    return Few(*sizes, *size, *by.stride, *by.padding), weight.permute(2, 3, 1, 0).contiguous()


class _FirstConvolution(Function):
    """The first convolution: its images need no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        relu: bool,
        kernels: Kernels,
    ) -> Tensor:
        images = by_pixel(images)
        few, turned = few_sizes(images, weight.detach(), by)
        out = maps_like(images, few.out_channels, few.out_height, few.out_width)
        kernels.call("few", images, images, turned, bias, out, few, relu)
        ctx.save_for_backward(images, out if relu else None)
        ctx.few, ctx.relu, ctx.kernels, ctx.shape = few, relu, kernels, turned.shape
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[None, Tensor, Tensor | None, None, None, None]:
        images, out = ctx.saved_tensors
        out_gradient = by_pixel(out_gradient)
        *taps, filters = ctx.shape
        rows = torch.Size(taps).numel() + 1
        parts = torch.empty(len(images), rows, filters)
        total = torch.empty(rows, filters)
        ctx.kernels.call("few_gradient", images, images, out_gradient, out, parts, total, ctx.few, ctx.relu)
        weight = total[:-1].view(ctx.shape).permute(3, 2, 0, 1)
        return None, weight, total[-1] if ctx.needs_input_grad[2] else None, None, None, None


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        by: Convolving,
        relu: bool,
        kernels: Kernels,
    ) -> Tensor:
        maps = by_pixel(maps)
        cast = weight.detach().to(maps.dtype, memory_format=torch.channels_last)
        shift = None if bias is None else bias.detach().to(maps.dtype)
        out = by_pixel(_convolved(maps, cast, shift, by, relu))
        ctx.save_for_backward(maps, cast, out if relu else None)
        ctx.by, ctx.relu, ctx.kernels = by, relu, kernels
        return out

    @staticmethod
    def backward(
        ctx: Any, out_gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        maps, weight, out = ctx.saved_tensors
        by: Convolving = ctx.by
        through, bias = _entering(by_pixel(out_gradient), out, ctx.relu, ctx.needs_input_grad[2], ctx.kernels)
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        maps_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            through, maps, weight, None, by.stride, by.padding, by.dilation, False, (0, 0), by.groups, wanted
        )
        return (
            maps_gradient,
            None if weight_gradient is None else weight_gradient.float(),
            bias,
            None,
            None,
            None,
        )


def has_bfloat16() -> bool:
    """Whether the library has instructions for bfloat16 on this processor; elsewhere torch does it slowly."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _convolved(maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, relu: bool) -> Tensor:
    """With the relu inside the library's own pass where it can do so."""
    if relu and torch._C._has_mkldnn and by.groups == 1 and (maps.dtype == torch.float32 or has_bfloat16()):
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, weight, bias, by.padding, by.stride, by.dilation, by.groups, "relu", [], ""
        )
        return made
    out = functional.conv2d(maps, weight, bias, by.stride, by.padding, by.dilation, by.groups)
    return out.relu_() if relu else out


def _entering(
    out_gradient: Tensor, out: Tensor | None, relu: bool, with_bias: bool, kernels: Kernels
) -> tuple[Tensor, Tensor | None]:
    """The gradient through the relu, and its sum over images and pixels for the bias."""
    if not relu and not with_bias:
        return out_gradient, None
    images, pixels, channels = _extents(out_gradient)
    through = torch.empty_like(out_gradient) if relu else out_gradient
    parts, bias = torch.empty(images, max(channels, LANES)), torch.empty(channels)
    kernels.call(
        "bias_gradient", out_gradient, out_gradient, out, through, parts, bias, images, pixels, channels, relu
    )
    return through, bias if with_bias else None


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor | None, by: Convolving, relu: bool, kernels: Kernels
) -> Tensor:
    """relu of the convolution of maps (N, C, H, W) with float32 weight (filters, C / groups, rows, columns)."""
    kind = _FirstConvolution if is_few(maps, weight, by) else _Convolution
    return kind.apply(maps, weight, bias, by, relu, kernels)  # type: ignore[no-any-return]


# ---- batch norm -------------------------------------------------------------------------------------------


class _Norm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        eps: float,
        relu: bool,
        kernels: Kernels,
    ) -> tuple[Tensor, Tensor, Tensor]:
        maps = by_pixel(maps)
        shortcut = None if shortcut is None else by_pixel(shortcut)
        extents = _extents(maps)
        images, _, channels = extents
        normal = torch.empty(5, channels)  # mean, biased variance; 1/√(variance + eps), scale, shift
        parts = torch.empty(images, 2, max(channels, LANES))
        kernels.call("moments", maps, maps, weight, bias, float(eps), parts, normal, *extents)
        out = torch.empty_like(maps)
        kernels.call("normalise", maps, maps, normal, shortcut, out, *extents, relu)
        # With a shortcut the relu's zeros are seen in what was made, else they follow from the maps.
        ctx.save_for_backward(maps, out if relu and shortcut is not None else None, normal)
        ctx.relu, ctx.kernels, ctx.has_shortcut = relu, kernels, shortcut is not None
        mean, variance = normal[0], normal[1]
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor, *others: Any) -> tuple[Any, ...]:
        maps, out, normal = ctx.saved_tensors
        out_gradient, relu = by_pixel(out_gradient), ctx.relu
        extents = _extents(maps)
        images, _, channels = extents
        through = torch.empty_like(maps) if ctx.has_shortcut and relu else None
        sloped = torch.empty(4, channels)  # sums of g and of g · x̂; slope and offset
        parts = torch.empty(images, 2, max(channels, LANES))
        ctx.kernels.call(
            "norm_sums", maps, out_gradient, out, maps, normal, through, parts, sloped, *extents, relu
        )
        gradient = torch.empty_like(maps)
        entering, masks = (out_gradient, relu) if through is None else (through, False)
        ctx.kernels.call(
            "norm_gradient", maps, entering, out, maps, normal, sloped, gradient, *extents, masks
        )
        return gradient, sloped[1], sloped[0], entering if ctx.has_shortcut else None, None, None, None


def norm(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor,
    shortcut: Tensor | None,
    eps: float,
    relu: bool,
    kernels: Kernels,
) -> tuple[Tensor, Tensor, Tensor]:
    """relu of (batch norm of maps (N, C, H, W) + shortcut); and the mean and the biased variance (C,) of the batch."""
    return _Norm.apply(maps, weight, bias, shortcut, eps, relu, kernels)  # type: ignore[no-any-return]


# ---- layout -----------------------------------------------------------------------------------------------


class _Flatten(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernels: Kernels) -> Tensor:
        maps = by_pixel(maps)
        images, pixels, channels = _extents(maps)
        out = maps.new_empty(images, channels * pixels)
        kernels.call("turn", maps, maps, out, images, pixels, channels)
        ctx.shape, ctx.kernels = maps.shape, kernels
        return out

    @staticmethod
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor, None]:
        out_gradient = out_gradient.contiguous()
        images, channels, height, width = ctx.shape
        gradient = maps_like(out_gradient, channels, height, width)
        ctx.kernels.call("turn", gradient, out_gradient, gradient, images, channels, height * width)
        return gradient, None


def flatten(maps: Tensor, kernels: Kernels) -> Tensor:
    """Maps (N, C, H, W) as vectors (N, C·H·W), map after map."""
    return _Flatten.apply(maps, kernels)  # type: ignore[no-any-return]


# ---- optimizer --------------------------------------------------------------------------------------------


def adadelta(
    weight: Tensor,
    gradient: Tensor,
    square: Tensor,
    delta: Tensor,
    *,
    rate: float,
    rho: float,
    eps: float,
    decay: float,
    kernels: Kernels,
) -> None:
    """One step of Adadelta in place, float32; the four tensors lie alike in memory.

    Source: M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, with torch's place for the rate.
    """
    kernels.call(
        "adadelta",
        weight,
        weight,
        gradient,
        square,
        delta,
        weight.numel(),
        float(rate),
        float(rho),
        float(eps),
        float(decay),
    )
