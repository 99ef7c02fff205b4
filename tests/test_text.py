"""The text of nets: what is read, what is refused and in which words, how it is laid out."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from convscope import nets
from convscope.errors import NetTextError
from convscope.layers import (
    block,
    branches,
    classes,
    conv,
    dense,
    dropout,
    flatten,
    maxpool,
    relu,
    repeat,
    residual,
)
from convscope.net import Net


def test_the_text_of_the_lecture_network():
    net = nets.get("lecture").net
    text = (
        "Net(conv(32, 3), relu, conv(64, 3), relu, maxpool(2), dropout(0.25),\n"
        "    flatten, dense(128), relu, dropout(0.5), dense(classes))"
    )
    assert Net.parse(text) == net
    assert str(net) == (
        "Net(\n    conv(32, 3),\n    relu,\n    conv(64, 3),\n    relu,\n    maxpool(2),\n    dropout(0.25),\n"
        "    flatten,\n    dense(128),\n    relu,\n    dropout(0.5),\n    dense(classes),\n)"
    )


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("conv(32, (3, 3))", "Net(conv(32, 3))"),
        ("conv(filters=32, kernel=3)", "Net(conv(32, 3))"),
        ("conv(32, 3, stride=1, bias=True),", "Net(conv(32, 3))"),
        ("conv(32, 3, padding=(1, 1))", "Net(conv(32, 3, padding=1))"),
        ("conv(32, 3, padding=(2, 1))", "Net(conv(32, 3, padding=(1, 1, 2, 2)))"),
        ("maxpool(2, stride=2), relu()", "Net(maxpool(2), relu)"),
        ("Net( relu # a comment\n, )", "Net(relu)"),
        ("dropout(0)", "Net(dropout(0.0))"),
        ("relu(name='a')", 'Net(relu(name="a"))'),
        ("block(name='a', relu)".replace("name='a', relu", "'a', relu"), 'Net(block("a", relu))'),
        ("branches([relu], (conv(1, 1),))", "Net(branches([relu], [conv(1, 1)]))"),
        ("# convscope net, format 1\nNet(relu)\n", "Net(relu)"),
    ],
)
def test_one_canonical_form(written, canonical):
    assert str(Net.parse(written)) == canonical


def test_python_and_text_are_the_same_words():
    net = Net(
        conv(8, 3, padding=1),
        block("stage1", repeat(2, residual(conv(8, 3, padding=1), relu)), relu),
        branches([conv(8, 1)], [conv(8, 3, padding="same"), relu]),
        maxpool(3, stride=2),
        flatten,
        dropout(0.5),
        dense(classes),
    )
    assert Net.parse(str(net)) == net
    assert [node.name for node in net.infer((3, 16, 16)).nodes] == [
        "conv1", "stage1", "branches1", "maxpool1", "flatten1", "dropout1", "dense1",
    ]  # fmt: skip


def test_names_are_kind_and_ordinal_within_the_block():
    net = Net(
        repeat(2, conv(4, 1), relu),
        block("stage2", conv(4, 1), relu, conv(4, 1), conv(4, 1)),
        conv(4, 1, name="last"),
    )
    names = [step.name for step in net.infer((1, 4, 4)).steps]
    assert names == [
        "conv1", "relu1", "conv2", "relu2", "stage2.conv1", "stage2.relu1", "stage2.conv2", "stage2.conv3", "last",
    ]  # fmt: skip


REFUSED = {
    "convv(32, 3)": "unknown word 'convv' at line 1, column 1. Expected one of conv, dense",
    "relu,\n  drpout(0.5)": "unknown word 'drpout' at line 2, column 3",
    "conv(8, 3, strid=2)": "conv has no keyword 'strid' at line 1, column 1. Expected one of filters, kernel, stride",
    "conv(8)": "conv without its kernel at line 1, column 1",
    "conv(8, 3, filters=3)": "conv gets filters twice",
    "relu(3)": "relu with 1 arguments before its keywords",
    "conv": "conv stands without brackets at line 1, column 1. Expected arguments, as in conv(32, 3)",
    "conv(0, 3)": "conv: filters is 0 at line 1, column 1. Expected a whole number from 1 to 10,000,000",
    "conv(2.5, 3)": "conv: filters is 2.5",
    "conv(8, 3, stride=-1)": "conv: stride is -1",
    "conv(8, 3, padding='valid')": 'padding is "valid" at line 1, column 1. Expected a number, (rows, columns)',
    "conv(8, 3, groups=3)": "conv: groups is 3 at line 1, column 1. Expected a number that divides the 8 filters",
    "conv(8, 3, bias=1)": "conv: bias is 1 at line 1, column 1. Expected True or False",
    "conv(2, 3, table=((0, 1),))": "conv: table is",
    "maxpool(2, padding=2)": "at most half the window's side of 2",
    "dropout(1.0)": "dropout: rate is 1.0",
    "globalpool('median')": 'Expected "avg" or "max"',
    "residual(relu, shortcut='none')": 'Expected "identity" or "projection" or "zeropad"',
    "branches([relu])": "two or more lists of layers",
    "branches(relu, relu)": "two or more lists of layers",
    "block(relu)": "block: name",
    "relu(name='a b')": "relu: name 'a b'",
    "relu(name='train')": "is taken by torch itself",
    "relu(name='a'), tanh(name='a')": "two layers are named 'a'. Expected each name once within its block",
    "repeat(2, relu(name='a'))": "two layers are named 'a'",
    "": "a net without layers",
    "Net()": "a net without layers",
    "Net(relu, name='x')": "Net takes layers only",
    "3": "'3' is not a layer",
    "classes": "'classes' is not a layer",
    "[relu]": "is not a layer",
    "relu relu": "cannot be read at line 1",
    "conv(8, 3": "every bracket closed",
    "relu(2) + relu(3)": "'+ relu(3)' at line 1, column 9 does not belong",
    "conv(8, 3)(9)": "calls something that is not a word",
    "# convscope net, format 2\nNet(relu)": "a net of format 2. Expected format 1",
    "conv(8, 3, name=" + "'" + "a" * 61 + "'" + ")": "at most 60 in all",
    "conv(99999999, 3)": "filters is 99999999",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_what_is_refused_and_how(text):
    with pytest.raises(NetTextError) as refused:
        Net.parse(text)
    assert REFUSED[text] in str(refused.value)


def test_a_misspelt_word_or_keyword_gets_a_suggestion():
    with pytest.raises(NetTextError, match="Did you mean 'maxpool'"):
        Net.parse("maxpol(2)")
    with pytest.raises(NetTextError, match="Did you mean 'stride'"):
        Net.parse("maxpool(2, strde=2)")


HOSTILE = {
    "a megabyte of minus": "-" * 1_000_000,
    "minus within the length": "-" * 150_000,
    "attributes": "a" + ".b" * 90_000,
    "a huge repeat": "repeat(10**9, relu)",
    "a huge repeat written out": "repeat(1000000000, relu)",
    "repeat in repeat": "repeat(9999, repeat(9999, relu))",
    "many nested repeats": "repeat(2, " * 31 + "relu" + ")" * 31,
    "deep repeats": "repeat(2, " * 5000 + "relu" + ")" * 5000,
    "infinity": "dropout(1e999)",
    "a long number": "conv(" + "9" * 5000 + ", 3)",
    "an import": "__import__('os').system('true')",
    "brackets": "(" * 100_000,
    "many layers": "relu," * 39_000,
    "lambda": "lambda: 0",
    "comprehension": "[x for x in (1,)]",
    "star": "conv(*a)",
    "format string": "f'{1}'",
    "walrus": "(a:=1)",
    "a null": "relu\x00",
    "a bidirectional mark": "relu\u202e",
    "a wide digit": "conv(\uff11, 3)",
    "many words": "x " * 60_000,
    "a string without an end": "'" + "a" * 100_000,
    "deep lists": "branches(" + "[" * 3000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_in_bounded_time_and_memory(text):
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(NetTextError) as refused:
        Net.parse(text)
    spent_s, (_, peak_bytes) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(refused.value)) < 700
    assert spent_s < 5  # a bound against blow-up, not a speed claim: each takes milliseconds
    assert peak_bytes < 100_000_000


def test_a_net_made_in_python_is_bounded_too():
    deep = relu()
    for _ in range(32):
        deep = residual(deep)
    with pytest.raises(NetTextError, match=r"composites stand 33 deep in each other. Expected at most 32"):
        residual(deep)
    with pytest.raises(NetTextError, match="100,101 layers once every repeat is written out"):
        repeat(100, repeat(1000 - 1, relu), relu)


def test_layers_only():
    with pytest.raises(NetTextError, match="'relu' is not a layer"):
        Net("relu")
