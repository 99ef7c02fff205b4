"""Random layers and random nets, for property tests. Every net drawn takes its input."""

from __future__ import annotations

from hypothesis import assume, reject
from hypothesis import strategies as st

from convscope.errors import ConvscopeError
from convscope.layers import (
    Layer,
    adaptiveavgpool,
    aux,
    avgpool,
    batchnorm,
    block,
    branches,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    gelu,
    globalpool,
    identity,
    lppool,
    lrn,
    maxpool,
    rbf,
    relu,
    relu6,
    repeat,
    residual,
    sigmoid,
    softmax,
    subsample,
    tanh,
)  # fmt: skip
from convscope.net import Net

sizes = st.integers(1, 3)
pairs = st.one_of(sizes, st.tuples(sizes, sizes))
paddings = st.one_of(
    st.integers(0, 2),
    st.just("same"),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(*[st.integers(0, 2)] * 2),
)
shapes = st.tuples(st.sampled_from([1, 2, 3, 4]), st.integers(1, 10), st.integers(1, 10))


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    return conv(
        draw(st.integers(1, 3)) * groups, draw(pairs), stride=draw(pairs), padding=draw(paddings),
        dilation=draw(st.sampled_from([1, 1, 2, (1, 2)])), groups=groups, bias=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def pools(draw: st.DrawFn, words: tuple[type[Layer], ...] = (maxpool, avgpool, lppool, subsample)) -> Layer:
    word, ceil = draw(st.sampled_from(words)), draw(st.booleans())
    window = draw(pairs)
    least = min(window) if isinstance(window, tuple) else window
    padding = draw(st.integers(0, least // 2)) if ceil or draw(st.booleans()) else draw(paddings)
    stride = draw(st.one_of(st.none(), pairs))
    try:
        return word(window, stride=stride, padding=padding, ceil=ceil)
    except ConvscopeError:  # padding that the window does not reach across
        reject()


plain = st.one_of(
    st.sampled_from([relu(), relu6(), gelu(), sigmoid(), tanh(), identity(), softmax(), lrn()]),
    st.sampled_from([batchnorm(), batchnorm(momentum=0.4, scale=False)]),
    st.builds(dropout, st.sampled_from([0.0, 0.1, 0.25, 0.5])),
    st.builds(lrn, size=st.integers(1, 5), k=st.just(1.0)),
    st.builds(tanh, amplitude=st.just(1.7159), slope=st.floats(0.1, 2.0)),
    convolutions(),
    pools(),
    st.builds(adaptiveavgpool, st.integers(1, 4)),
)


def bodies(inner: st.SearchStrategy[Layer]) -> st.SearchStrategy[list[Layer]]:
    return st.lists(inner, min_size=1, max_size=3)


same_size = st.one_of(
    st.sampled_from([relu(), batchnorm(), tanh()]),
    st.builds(lambda kernel: conv(4, kernel, padding="same"), st.integers(1, 3)),
    st.builds(lambda kernel: maxpool(kernel, stride=1, padding="same"), st.integers(1, 3)),
)
composites = st.one_of(
    st.builds(lambda body, shortcut: residual(*body, conv(6, 1), shortcut=shortcut), bodies(same_size),
              st.sampled_from(["projection", "zeropad"])),
    st.builds(lambda body: residual(*body), bodies(st.sampled_from([relu(), batchnorm(), sigmoid()]))),
    st.builds(lambda one, other: branches(one, other, []), bodies(same_size), bodies(same_size)),
    st.builds(lambda n, body: repeat(n, *body), st.integers(1, 3), bodies(same_size)),
    st.builds(lambda body: block("stage", *body), bodies(same_size)),
    st.builds(lambda weight: aux(globalpool, dense(classes), weight=weight), st.floats(0, 1)),
)  # fmt: skip
ends = st.sampled_from(
    [
        [flatten, dense(classes)],
        [globalpool, dense(classes)],
        [globalpool("max"), dense(5), relu, dropout(0.5), dense(classes, bias=False), softmax],
        [flatten, dense(4), rbf(classes)],
        [adaptiveavgpool(2), flatten, batchnorm, dense(3)],
    ]
)


@st.composite
def nets(draw: st.DrawFn) -> tuple[Net, tuple[int, int, int]]:
    """A random net and an input shape it takes."""
    shape = draw(shapes)
    layers = draw(st.lists(st.one_of(plain, plain, composites), max_size=5))
    names = [layer.name for layer in layers if layer.name]
    assume(len(set(names)) == len(names))
    try:
        net = Net(*layers, *draw(ends))
        net.infer(shape)
    except ConvscopeError:
        reject()
    return net, shape
