"""Stated receptive fields against the gradient, on random compositions of every word that slides or joins."""

from __future__ import annotations

import math

import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from convscope.errors import ConvscopeError
from convscope.layers import (
    Layer,
    adaptiveavgpool,
    avgpool,
    batchnorm,
    block,
    branches,
    conv,
    identity,
    lppool,
    lrn,
    maxpool,
    repeat,
    residual,
    subsample,
)  # fmt: skip
from convscope.net import Net

SIDE = 40
numbers = st.integers(1, 3)


@st.composite
def slides(draw: st.DrawFn) -> Layer:
    """A convolution or a pool, with whatever window, stride, padding and dilation."""
    word = draw(st.sampled_from([conv, conv, maxpool, avgpool, lppool, subsample]))
    window = draw(st.one_of(numbers, st.tuples(numbers, numbers)))
    keywords = {"stride": draw(st.one_of(numbers, st.tuples(numbers, numbers)))}
    keywords["padding"] = draw(st.sampled_from([0, 1, "same", (1, 0, 0, 1)]))
    try:
        if word is conv:
            return conv(2, window, dilation=draw(st.integers(1, 2)), **keywords)
        return word(window, **keywords)
    except ConvscopeError:  # a pool's padding that its window does not reach across
        reject()


same_size = st.builds(
    lambda kernel, gap: conv(2, kernel, padding="same", dilation=gap), numbers, st.integers(1, 2)
)
points = st.sampled_from([identity(), batchnorm(), lrn(size=3)])
joins = st.one_of(
    st.builds(lambda a, b: residual(a, b), same_size, same_size),
    st.builds(
        lambda k: residual(conv(3, k, stride=2, padding="same"), shortcut="projection"), st.integers(2, 3)
    ),
    st.builds(
        lambda k: residual(conv(3, k, stride=2, padding="same"), shortcut="zeropad"), st.integers(2, 3)
    ),
    st.builds(lambda a, b: branches([a], [b], []), same_size, same_size),
    st.builds(lambda a: repeat(2, a), same_size),
    st.builds(lambda a: block("stage", a), same_size),
)
layers = st.one_of(slides(), slides(), points, joins, st.just(adaptiveavgpool(20)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(layers, min_size=1, max_size=4))
def test_the_gradient_reaches_what_is_stated_and_no_further(drawn: list[Layer]) -> None:
    try:
        net = Net(*drawn)
        inference = net.infer((2, SIDE, SIDE))
    except ConvscopeError:
        reject()
    _, rows, columns = inference.output_shape
    row, column = rows // 2, columns // 2
    reached = _reached(net, row, column)
    field = inference.fields[inference.nodes[-1].name][1]
    for seen, span, position in ((reached.any(1), field.rows, row), (reached.any(0), field.columns, column)):
        if not float(span.jump).is_integer() or any(layer.word == "adaptiveavgpool" for layer in drawn):
            continue  # uneven windows: the stated field is the largest of them
        first = math.floor(span.start + position * span.jump)
        last = first + span.size - 1
        touched = seen.nonzero().flatten().tolist()
        assert not touched or first <= touched[0] <= touched[-1] <= last
        # Near an edge the padding, or the pixels a stride leaves out, stand where the field would end.
        if first >= 0 and last < SIDE - span.jump:
            assert (touched[0], touched[-1]) == (first, last)


def _reached(net: Net, row: int, column: int) -> torch.Tensor:
    """Which pixels (SIDE, SIDE) one number of the last map depends on."""
    torch.manual_seed(0)
    network = net.build((2, SIDE, SIDE)).double().eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.abs() + 0.1  # nothing cancels
    reached = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for _ in range(40 if "maxpool" in str(net) else 1):  # a maximum looks at one pixel at a time
        images = torch.rand(1, 2, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(images)[0, :, row, column].sum(), images, allow_unused=True)
        reached |= gradient[0].abs().sum(0) > 0
    return reached
