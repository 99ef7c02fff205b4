"""Shape errors name the layer, what came, the formula with its numbers, and edits that were tried and work."""

from __future__ import annotations

import re

import pytest

from convscope.errors import ConvscopeError, ShapeError
from convscope.net import Net


def refusal(text, shape=(1, 28, 28)):
    with pytest.raises(ShapeError) as refused:
        Net.parse(text).infer(shape)
    return str(refused.value)


def test_a_map_that_shrinks_to_nothing():
    message = refusal("repeat(6, conv(8, 5), relu), flatten, dense(classes)", (1, 20, 20))
    assert message.startswith("conv5, conv(8, 5), cannot take what reaches it from an input of 1×20×20: ")
    assert "its window is 5 high and the map 8×4×4 that reaches it is only 4 high" in message
    assert "(W − F + 2P)/S + 1 = (4 − 5 + 2·0)/1 + 1 = 0" in message
    assert "conv1 20→16, conv2 16→12, conv3 12→8, conv4 8→4" in message
    assert "an input of at least 25×25 pixels" in message


def test_a_pooling_window_larger_than_its_input():
    message = refusal("conv(4, 3), maxpool(40), flatten, dense(classes)")
    assert "maxpool1, maxpool(40), cannot take" in message
    assert "the map 4×26×26" in message
    assert "use a 26×26 window" in message
    assert "an input of at least 42×42 pixels" in message


def test_dense_before_flatten():
    message = refusal("conv(4, 3), dense(classes)")
    assert "dense1, dense(10), cannot take" in message
    assert "it needs a vector, and maps 4×26×26 reach it" in message
    assert "put flatten before dense(10)" in message
    assert "put globalpool before dense(10)" in message


def test_residual_branches_that_disagree():
    message = refusal("conv(4, 3), residual(conv(8, 3, stride=2, padding=1), relu), flatten, dense(classes)")
    assert "the body ends in 8×13×13 and the identity shortcut, from 4×26×26, stays as it is" in message
    assert 'set shortcut="projection" in residual1' in message
    assert 'set shortcut="zeropad" in residual1' in message


def test_branches_that_disagree():
    message = refusal("branches([conv(4, 1)], [conv(4, 3)]), flatten, dense(classes)")
    assert "they end in 4×28×28, 4×26×26" in message
    assert 'set padding="same" in every branch' in message


def test_groups_that_do_not_divide():
    message = refusal("conv(6, 3), conv(8, 3, groups=4), flatten, dense(classes)")
    assert "4 groups cannot share the 6 maps of 6×26×26 evenly: 6/4 = 1.5" in message
    assert "set groups=1 in conv2" in message


def test_a_fault_deep_inside_names_its_block():
    message = refusal(
        'block("stage1", repeat(2, residual(conv(1, 3, padding=1), maxpool(99)))), flatten, dense(classes)'
    )
    assert message.startswith("stage1.residual1.maxpool1, maxpool(99), cannot take")


def test_an_edit_that_only_helps_so_far_says_what_comes_next():
    message = refusal("conv(3, 50), dense(classes)")
    assert 'set padding="same" in conv1 (then dense1 needs mending)' in message


def edits(message):
    """The edits a message proposes, each as a function on the net's text, where it can be done by text."""
    for found in re.finditer(r"an input of at least (\d+)×", message):
        side = int(found[1])
        yield lambda text, shape, side=side: (text, (shape[0], side, side))
    for found in re.finditer(r"put (\w+) before (dense\(\d+\))", message):
        yield lambda text, shape, word=found[1]: (
            text.replace("dense(classes)", f"{word}, dense(classes)"),
            shape,
        )
    for found in re.finditer(r'set (padding="same"|shortcut="\w+"|groups=1) in (\w+?)\d', message):
        key, word = found[1].split("=")[0], found[2]
        yield lambda text, shape, found=found, key=key, word=word: (_with(text, word, key, found[1]), shape)


def _with(text, word, key, setting):
    last = text.rindex(word + "(")
    end, depth = last + len(word), 0
    while True:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            break
        end += 1
    inner = re.sub(rf", {key}=[^,)]*", "", text[last:end])
    return text[:last] + inner + ", " + setting + text[end:]


@pytest.mark.parametrize(
    "text",
    [
        "conv(4, 30), flatten, dense(classes)",
        "conv(4, 3), dense(classes)",
        "conv(6, 3), conv(8, 3, groups=4), flatten, dense(classes)",
        "conv(4, 3), residual(conv(8, 3, stride=2, padding=1)), flatten, dense(classes)",
        "conv(4, 3), maxpool(40), flatten, dense(classes)",
    ],
)
def test_every_edit_that_can_be_made_by_text_works(text):
    proposed = list(edits(refusal(text)))
    assert proposed
    for edit in proposed:
        new_text, new_shape = edit(text, (1, 28, 28))
        assert Net.parse(new_text).infer(new_shape).output_shape == (10,)


@pytest.mark.parametrize(
    "shape", [(28, 28), (1, 0, 28), (1, 28, -1), "1,28,28", (1.0, 28, 28), (1, 10**9, 1)]
)
def test_an_input_shape_that_cannot_be(shape):
    with pytest.raises(ConvscopeError, match="Expected .channels, rows, columns."):
        Net.parse("flatten, dense(2)").infer(shape)


def test_a_net_that_ends_in_maps_has_no_scores():
    with pytest.raises(ShapeError, match="the net ends in maps 4×26×26. Expected a vector of scores"):
        Net.parse("conv(4, 3)").output_classes((1, 28, 28))


def test_more_than_can_be_built_is_refused_before_it_is():
    with pytest.raises(ShapeError, match="2,500,149,999 parameters. Expected at most 2,000,000,000"):
        Net.parse("flatten, dense(49999), dense(50000), dense(1)").build((1, 1, 1))
    with pytest.raises(ShapeError, match="over 100 billion numbers"):
        Net.parse("flatten, dense(10000000), dense(10000000)").infer((1, 1, 1))


def test_smallest_input():
    assert Net.parse("conv(4, 5), maxpool(2), conv(4, 5), flatten, dense(classes)").smallest_input(3) == 14
    assert Net.parse("flatten, dense(classes)").smallest_input(1) == 1
