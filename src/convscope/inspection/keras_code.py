"""`inspect --as keras`: a net as Keras 3 source that defines `model`, where Keras has an equal for every word.

Keras has maps last: pictures (N, H, W, C). Before a flatten the maps are brought first, so that the weights behind it
mean the same. Layers with weights have our names, with - for the dot. What Keras has no equal for is refused with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any

from convscope.errors import ConvscopeError
from convscope.inference import Inference, Node, shortened
from convscope.layers import (
    Layer,
    adaptiveavgpool,
    avgpool,
    batchnorm,
    conv,
    dense,
    dropout,
    globalpool,
    lrn,
    maxpool,
    residual,
    tanh,
)
from convscope.layers._base import Shape, both, torch_pair
from convscope.layers._composite import Composite
from convscope.layers._pool import Pool
from convscope.layers._residual import shortcut_stride
from convscope.layers._window import Sides, sides
from convscope.net import DEFAULT_CLASSES, Net

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.reference import Network

RESPONSE_NORM = dedent(
    '''
    class LocalResponseNormalization(layers.Layer):
        """x / (k + alpha * sum of squares over `size` neighbouring maps) ** beta; groups are no neighbours."""

        def __init__(self, size, alpha, beta, k, groups=1, **kwargs):
            super().__init__(**kwargs)
            self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

        def call(self, x):
            parts = keras.ops.split(x, self.groups, axis=-1)
            return keras.ops.concatenate([self.normed(part) for part in parts], axis=-1)

        def normed(self, x):
            maps, before = x.shape[-1], self.size // 2
            border = (before, self.size - 1 - before)
            squares = keras.ops.pad(keras.ops.square(x), ((0, 0), (0, 0), (0, 0), border))
            neighbours = sum(squares[..., i : i + maps] for i in range(self.size))
            return x / (self.k + self.alpha * neighbours) ** self.beta
    '''
).strip()


@dataclass(frozen=True)
class Line:
    """One statement: a layer to call on `x`, or an expression of `x`; and what leaves, for the comment."""

    code: str
    is_layer: bool = True
    said: str = ""


@dataclass(frozen=True)
class Place:
    """A layer where it stands: its name and what comes and leaves, (C, H, W) or (D,)."""

    name: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape

    @property
    def named(self) -> str:
        """`, name="…"` in Keras' letters."""
        return f', name="{keras_name(self.name)}"'

    def refused(self, reason: str) -> ConvscopeError:
        """The error that Keras has no equal for this layer."""
        return ConvscopeError(
            f"{self.name}, {shortened(str(self.layer))}, has no equal in Keras: {reason}",
            fix="Print the net with --as torch, which has them all",
        )


def keras_name(name: str) -> str:
    """Our name as a Keras layer's: no dots, which its torch backend refuses.

    >>> keras_name("stage2.conv3")
    'stage2-conv3'
    """
    return name.replace(".", "-")


def keras_source(net: Net, input_shape: Shape, classes: int = DEFAULT_CLASSES) -> str:
    """Keras 3 source that defines `model`, from pictures (N, H, W, C) to scores (N, K).

    A softmax at the very end is left out: `model` returns scores (use a loss with from_logits=True). With training-only
    outputs it also defines `training_model`, which returns [scores, theirs …] and shares all layers. `copy_weights`
    fills it with the weights of `net.build(…)`.

    Raises ConvscopeError that names the first layer Keras has no equal for, and why; ShapeError where shapes do not
    fit.
    """
    inference = net.infer(input_shape, classes)
    ends_in_softmax = inference.nodes[-1].layer.word == "softmax"
    nodes = inference.nodes[:-1] if ends_in_softmax else inference.nodes
    writer = _Writer(inference)
    body = _sequential(nodes, inference) or writer.functional(nodes)
    head = _head(inference, ends_in_softmax)
    classes_needed = [RESPONSE_NORM] if "LocalResponseNormalization(" in body else []
    return "\n\n\n".join([head, *classes_needed, body]) + "\n"


def _head(inference: Inference, ends_in_softmax: bool) -> str:
    channels, rows, columns = inference.input_shape
    lines = [
        f"# {rows}×{columns}×{channels} → {inference.output_shape[0]}: {inference.parameters:,} trainable parameters.",
        "# Pictures (N, H, W, C) come in, scores leave. The comments are Convscope's names and the shapes that leave.",
    ]
    if ends_in_softmax:
        lines.append("# The scores' softmax are the probabilities: use a loss with from_logits=True.")
    return "\n".join([*lines, "import keras", "from keras import layers"])


def _sequential(nodes: Sequence[Node], inference: Inference) -> str:
    """keras.Sequential where every layer is a Keras layer and stands in one row; else the empty string."""
    lines = list(_row_lines(nodes, inference))
    if not all(isinstance(line, Line) and line.is_layer for line in lines):
        return ""
    inner = "".join(_argument(line) for line in lines if isinstance(line, Line))
    shape = _last(inference.input_shape)
    return (
        f"model = keras.Sequential(\n    [\n        keras.Input({shape}),\n{indent(inner, ' ' * 8)}    ]\n)"
    )


def _argument(line: Line) -> str:
    return f"{line.code},{line.said}\n"


def _row_lines(nodes: Sequence[Node], inference: Inference) -> Iterator[Line | Node]:
    """The lines of plain layers, blocks opened; a composite that joins paths comes as its node."""
    for node in nodes:
        if isinstance(node.layer, Composite):
            if node.layer.has_row:
                yield node
            else:
                yield from _row_lines(node.paths[0], inference)
        else:
            yield from _plain(node, inference)


def _plain(node: Node, inference: Inference) -> list[Line]:
    place = Place(node.name, node.layer, *inference.shapes[node.name])
    write = WORDS.get(node.layer.word)
    if write is None:
        raise place.refused(REASONS.get(node.layer.word, "no layer computes it"))
    *before, last = write(place) or [Line("layers.Identity()")]
    shape = "×".join(map(str, _last(place.output_shape)))
    said = shape if place.named in last.code else f"{node.name}: {shape}"
    return [*before, Line(last.code, last.is_layer, f"  # {said}")]


def _last(shape: Shape) -> Shape:
    """(C, H, W) with the maps last."""
    return (*shape[1:], shape[0])


# Functional form --------------------------------------------------------------------------------------


@dataclass
class _Writer:
    """Writes statements on `x`."""

    inference: Inference
    lines: list[str] = field(default_factory=list)
    outputs: list[tuple[str, float]] = field(default_factory=list)  # training-only: variable and weight

    def functional(self, nodes: Sequence[Node]) -> str:
        self.lines.append(f"images = x = keras.Input({_last(self.inference.input_shape)})")
        self.row(nodes)
        self.lines.append("model = keras.Model(images, x)")
        if self.outputs:
            names = ", ".join(name for name, _ in self.outputs)
            weights = ", ".join(f"{weight:g}" for _, weight in self.outputs)
            self.lines.append(
                f"training_model = keras.Model(images, [x, {names}])  # loss weights 1, {weights}"
            )
        return "\n".join(self.lines)

    def row(self, nodes: Sequence[Node]) -> None:
        for line in _row_lines(nodes, self.inference):
            if isinstance(line, Node):
                self.join(line)
            else:
                self.lines.append(f"x = {line.code}{'(x)' if line.is_layer else ''}{line.said}")

    def join(self, node: Node) -> None:
        variable = node.name.replace(".", "_")
        self.lines.append(f"{variable}_input = x")
        {"residual": self.residual, "branches": self.branches, "aux": self.aux}[node.layer.word](
            node, variable
        )

    def residual(self, node: Node, variable: str) -> None:
        came, left = self.inference.shapes[node.name]
        layer = node.layer
        assert isinstance(layer, residual)
        self.row(node.paths[0])
        shortcut = f"{variable}_input"
        if layer.shortcut != "identity":
            self.lines += _shortcut_lines(node, shortcut, came, left)
            shortcut = "shortcut"
        self.lines.append(
            f"x = layers.Add()([x, {shortcut}])  # {node.name}: {'×'.join(map(str, _last(left)))}"
        )

    def branches(self, node: Node, variable: str) -> None:
        ends = [f"{variable}_{number}" for number in range(1, len(node.paths) + 1)]
        for end, path in zip(ends, node.paths, strict=True):
            self.lines.append(f"x = {variable}_input")
            self.row(path)
            self.lines.append(f"{end} = x")
        shape = "×".join(map(str, _last(self.inference.shapes[node.name][1])))
        self.lines.append(f"x = layers.Concatenate()([{', '.join(ends)}])  # {node.name}: {shape}")

    def aux(self, node: Node, variable: str) -> None:
        self.row(node.paths[0])
        scores = f"training_scores_{len(self.outputs) + 1}"
        self.lines += [f"{scores} = x  # of {node.name}, only for training", f"x = {variable}_input"]
        self.outputs.append((scores, getattr(node.layer, "weight", 1.0)))


def _shortcut_lines(node: Node, variable: str, came: Shape, left: Shape) -> list[str]:
    stride = shortcut_stride(came, left) or 1
    kind = getattr(node.layer, "shortcut", "")
    if kind == "zeropad":
        pixels = variable if stride == 1 else f"{variable}[:, ::{stride}, ::{stride}, :]"
        return [f"shortcut = keras.ops.pad({pixels}, ((0, 0), (0, 0), (0, 0), (0, {left[0] - came[0]})))"]
    step = f", strides={stride}" if stride > 1 else ""
    name = keras_name(node.name)
    return [
        f'shortcut = layers.Conv2D({left[0]}, 1{step}, use_bias=False, name="{name}-projection")({variable})',
        f'shortcut = layers.BatchNormalization(epsilon=1e-05, momentum=0.9, name="{name}-projection_norm")(shortcut)',
    ]


# Words ------------------------------------------------------------------------------------------------


def _zeros(around: Sides) -> Line:
    left, right, top, bottom = around
    if left == right == top == bottom:
        return Line(f"layers.ZeroPadding2D({left})")
    return Line(f"layers.ZeroPadding2D((({top}, {bottom}), ({left}, {right})))")


def _conv(place: Place) -> list[Line]:
    layer = place.layer
    assert isinstance(layer, conv)
    if layer.table is not None:
        raise place.refused("no convolution there lets a filter see only the maps that a table names")
    if layer.stride != 1 and layer.dilation != 1:
        raise place.refused("its Conv2D cannot have both a stride and a dilation")
    around = layer.padded_sides(place.input_shape)
    same = any(around) and (layer.padding == "same" or (layer.stride == 1 and around == _same(layer, place)))
    options = "" if layer.stride == 1 else f", strides={torch_pair(both(layer.stride))}"
    options += ', padding="same"' if same else ""
    options += "" if layer.dilation == 1 else f", dilation_rate={torch_pair(both(layer.dilation))}"
    options += f", groups={layer.groups}" if layer.groups > 1 else ""
    options += "" if layer.bias else ", use_bias=False"
    line = Line(f"layers.Conv2D({layer.filters}, {torch_pair(both(layer.kernel))}{options}{place.named})")
    return [line] if same or not any(around) else [_zeros(around), line]


def _same(layer: conv | Pool, place: Place) -> Sides:
    """What padding "same" would put around the map."""
    window = layer.reach(place.input_shape)
    strides = (int(window.stride[0]), int(window.stride[1]))
    return sides("same", place.input_shape, window.extent, strides)


def _window(word: str, layer: Pool, same: bool) -> Line:
    stride = "" if layer.step == layer.extent else f", strides={torch_pair(layer.step)}"
    padding = ', padding="same"' if same else ""
    return Line(f"layers.{word}({torch_pair(layer.extent)}{stride}{padding})")


def _maxpool(place: Place) -> list[Line]:
    layer = place.layer
    assert isinstance(layer, maxpool)
    left, right, top, bottom = around = layer.filled_sides(place.input_shape)
    if not any(around) or around == _same(layer, place):
        return [_window("MaxPooling2D", layer, same=any(around))]
    ring = f"((0, 0), ({top}, {bottom}), ({left}, {right}), (0, 0))"
    border = Line(f'keras.ops.pad(x, {ring}, constant_values=float("-inf"))', is_layer=False)
    return [border, _window("MaxPooling2D", layer, same=False)]


def _avgpool(place: Place) -> list[Line]:
    layer = place.layer
    assert isinstance(layer, avgpool)
    around, filled = layer.padded_sides(place.input_shape), layer.filled_sides(place.input_shape)
    if not any(filled):
        return [_window("AveragePooling2D", layer, same=False)]
    if layer.count_padding and filled == around:
        return [_zeros(around), _window("AveragePooling2D", layer, same=False)]
    left, right, top, bottom = filled
    # Keras' torch backend fills a one-sided ring with copies of the border, and a mean then counts them.
    even = (left, top) == (right, bottom) and filled == _same(layer, place)
    if even and not (layer.count_padding and any(around)):
        return [_window("AveragePooling2D", layer, same=True)]
    raise place.refused('it leaves padding out of a mean only with padding="same", the same on both sides')


def _adaptiveavgpool(place: Place) -> list[Line]:
    assert isinstance(place.layer, adaptiveavgpool)
    came, left = place.input_shape[1:], place.output_shape[1:]
    if came == left:
        return []
    if not (came[0] % left[0] or came[1] % left[1]):
        window = torch_pair((came[0] // left[0], came[1] // left[1]))
        return [Line(f"layers.AveragePooling2D({window})")]
    if not (left[0] % came[0] or left[1] % came[1]):
        return [Line(f"layers.UpSampling2D({(left[0] // came[0], left[1] // came[1])})")]
    return [Line(f"layers.AdaptiveAveragePooling2D({left})")]  # Keras has it since 3.13


def _flatten(place: Place) -> list[Line]:
    shape = place.input_shape
    if len(shape) == 3 and shape[0] > 1 and shape[1:] != (1, 1):
        return [
            Line("layers.Permute((3, 1, 2))", said="  # maps first, as Convscope flattens"),
            Line("layers.Flatten()"),
        ]
    return [Line("layers.Flatten()")]


def _globalpool(place: Place) -> list[Line]:
    assert isinstance(place.layer, globalpool)
    return [
        Line(
            {"avg": "layers.GlobalAveragePooling2D()", "max": "layers.GlobalMaxPooling2D()"}[place.layer.kind]
        )
    ]


def _dense(place: Place) -> list[Line]:
    assert isinstance(place.layer, dense)
    bias = "" if place.layer.bias else ", use_bias=False"
    return [Line(f"layers.Dense({place.output_shape[0]}{bias}{place.named})")]


def _batchnorm(place: Place) -> list[Line]:
    assert isinstance(place.layer, batchnorm)
    kept = round(1 - place.layer.momentum, 12)  # Keras' momentum is the share of the old mean that stays
    scale = "" if place.layer.scale else ", scale=False"
    return [
        Line(f"layers.BatchNormalization(epsilon={place.layer.eps}, momentum={kept}{scale}{place.named})")
    ]


def _tanh(place: Place) -> list[Line]:
    layer = place.layer
    assert isinstance(layer, tanh)
    if (layer.amplitude, layer.slope) == (1.0, 1.0):
        return [Line('layers.Activation("tanh")')]
    return [Line(f"{layer.amplitude} * keras.ops.tanh({layer.slope} * x)", is_layer=False)]


def _lrn(place: Place) -> list[Line]:
    layer = place.layer
    assert isinstance(layer, lrn)
    groups = f", groups={layer.groups}" if layer.groups > 1 else ""
    constants = f"{layer.size}, alpha={layer.alpha}, beta={layer.beta}, k={layer.k}"
    return [Line(f"LocalResponseNormalization({constants}{groups})")]


def _dropout(place: Place) -> list[Line]:
    assert isinstance(place.layer, dropout)
    return [Line(f"layers.Dropout({place.layer.rate})")]


def _always(code: str) -> Callable[[Place], list[Line]]:
    return lambda place: [Line(code)]


WORDS: dict[str, Callable[[Place], list[Line]]] = {
    "conv": _conv, "dense": _dense, "flatten": _flatten, "dropout": _dropout, "maxpool": _maxpool, "avgpool": _avgpool,
    "globalpool": _globalpool, "adaptiveavgpool": _adaptiveavgpool, "batchnorm": _batchnorm, "lrn": _lrn, "tanh": _tanh,
    "relu": _always("layers.ReLU()"), "relu6": _always("layers.ReLU(max_value=6.0)"),
    "gelu": _always('layers.Activation("gelu")'), "sigmoid": _always('layers.Activation("sigmoid")'),
    "softmax": _always("layers.Softmax()"), "identity": _always("layers.Identity()"),
}  # fmt: skip
REASONS = {
    "lppool": "its pools take the largest number or the mean, not an Lp norm",
    "subsample": "no pool there has a trainable coefficient and bias a map",
    "rbf": "no layer there measures the distance to fixed codes",
}


# Weights ----------------------------------------------------------------------------------------------


def keras_weights(network: Network) -> dict[str, list[NDArray[Any]]]:
    """What `set_weights` of each Keras layer wants, by the layer's name, from a network of `net.build`.

    Kernels go from (D′, D, rows, columns) to (rows, columns, D, D′), dense weights from (K, n) to (n, K); a norm has
    γ, β, mean and variance.
    """
    from torch import nn

    found: dict[str, list[NDArray[Any]]] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            order = (2, 3, 1, 0) if isinstance(module, nn.Conv2d) else (1, 0)
            tensors = [module.weight.permute(order), *([] if module.bias is None else [module.bias])]
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            scale = (
                [module.weight] if isinstance(module.weight, nn.Parameter) else []
            )  # a fixed one is not Keras' weight
            tensors = [*scale, module.bias, module.running_mean, module.running_var]  # type: ignore[list-item]
        else:
            continue
        found[keras_name(name)] = [tensor.detach().cpu().numpy() for tensor in tensors]
    return found


def copy_weights(network: Network, model: Any) -> None:
    """Fill `model` (or `training_model`) of the printed source with the weights of the network it was printed from.

    Layers that the Keras model has not, those of training-only outputs, are passed over.
    """
    weights = keras_weights(network)
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
