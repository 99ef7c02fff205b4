"""The diagrams: proper XML, every layer in them, repeats folded, words apart, and never too large."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings

from convscope import nets
from convscope.inspection.diagram import draw
from convscope.inspection.diagram._canvas import Canvas, escaped, shaded, text_width
from convscope.net import Net

sys.path.insert(0, str(Path(__file__).parent.parent))
from strategies import nets as random_nets

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float]


def drawn(name: str) -> str:
    entry = nets.get(name)
    return draw(entry.net, entry.input_shape, entry.classes, title=name)


def names_in(svg: str) -> list[str]:
    """The layers that the picture stands for."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return [name for group in groups for name in group.get("data-name", "").split()]


def boxes_of_words(svg: str) -> list[tuple[str, Box]]:
    """Each text with its left, top, right, bottom, from the same estimate of widths that the drawing makes."""
    found = []
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        size, x, y = (float(text.get(key, 0)) for key in ("font-size", "x", "y"))
        width = text_width(text.text or "", size)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[text.get("text-anchor", "start")]
        found.append((text.text or "", (left, y - 0.75 * size, left + width, y + 0.2 * size)))
    return found


def overlaps(one: Box, other: Box, slack: float = 1.5) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > slack and down > slack


@pytest.mark.parametrize("name", nets.names())
def test_every_layer_of_the_zoo_is_in_its_picture_once(name: str) -> None:
    entry = nets.get(name)
    found = names_in(drawn(name))
    wanted = [step.name for step in entry.net.infer(entry.input_shape, entry.classes).steps]
    assert set(wanted) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", nets.names())
def test_words_stand_apart_and_inside(name: str) -> None:
    svg = drawn(name)
    root = ElementTree.fromstring(svg)
    width, height = (float(part) for part in root.get("viewBox", "").split()[2:])
    words = boxes_of_words(svg)
    for text, box in words:
        assert 0 <= box[0] <= box[2] <= width, text
        assert 0 <= box[1] <= box[3] <= height, text
    for (one, first), (other, second) in combinations(words, 2):
        assert not overlaps(first, second), (one, other)
    assert width <= 1480


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("resnet152", ["× 2", "× 7", "× 35", "× 2"]),
        ("resnet18", ["× 2"]),
        ("cifar_resnet110", ["× 18", "× 17", "× 17"]),
        ("plain34", ["× 6", "× 7", "× 11", "× 5"]),
        ("vgg16", []),
        ("googlenet", []),
    ],
)
def test_repeats_are_folded(name: str, marks: list[str]) -> None:
    assert [text for text, _ in boxes_of_words(drawn(name)) if text.startswith("× ")] == marks


def test_shortcuts_branches_and_training_only_outputs_are_named() -> None:
    words = [text for text, _ in boxes_of_words(drawn("googlenet"))]
    assert words.count("concat") == 9
    assert sum("only in training, weight 0.3" in text for text in words) == 2
    assert "identity" in [text for text, _ in boxes_of_words(drawn("resnet18"))]
    assert "zero-padded maps" in [text for text, _ in boxes_of_words(drawn("cifar_resnet20"))]


def test_a_net_in_a_row_is_drawn_as_volumes_with_sizes() -> None:
    words = [text for text, _ in boxes_of_words(drawn("lenet5"))]
    assert {"1@32×32", "6@28×28", "16@10×10", "partial table", "120", "84", "10"} <= set(words)


@given(random_nets())
@settings(max_examples=60, deadline=None)
def test_any_net_can_be_drawn(drawn_net: tuple[Net, tuple[int, int, int]]) -> None:
    net, shape = drawn_net
    svg = draw(net, shape)
    steps = {step.name for step in net.infer(shape).steps}
    assert steps <= set(names_in(svg))
    assert svg == draw(net, shape)


@pytest.mark.parametrize(
    "text",
    [
        "repeat(2000, conv(8, 3, padding=1), relu), flatten, dense(classes)",
        ", ".join(f"conv({k}, 1)" for k in range(1, 1500)) + ", flatten, dense(classes)",
        "branches(" + ", ".join(f"[conv({k}, 1)]" for k in range(1, 900)) + "), flatten, dense(classes)",
        "repeat(900, residual(conv(4, 1), relu)), flatten, dense(classes)",
        "residual(" * 30 + "conv(4, 1)" + ")" * 30 + ", flatten, dense(classes)",
        ", ".join(f"residual(conv({k}, 1), conv(4, 1))" for k in range(1, 1500))
        + ", flatten, dense(classes)",
    ],
    ids=["repeated", "all different", "many branches", "many blocks", "deep", "different blocks"],
)
def test_huge_nets_stay_bounded(text: str) -> None:
    svg = draw(Net.parse(text), (4, 6, 6))
    assert len(svg) < 1_500_000
    ElementTree.fromstring(svg)


def test_what_is_left_out_is_said() -> None:
    svg = draw(
        Net.parse(", ".join(f"conv({k}, 1)" for k in range(1, 300)) + ", flatten, dense(classes)"), (1, 6, 6)
    )
    assert "more layers" in svg


def test_titles_are_escaped_and_bounded() -> None:
    svg = draw(nets.get("linear").net, (3, 32, 32), title="<b>&\x00\ud800" + "x" * 500)
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title", "").startswith("<b>&x")
    assert escaped("a<\x07b") == "a&lt;b"


def test_colours_move_towards_white_and_black() -> None:
    assert (shaded("#808080", 1), shaded("#808080", -1), shaded("#102030", 0)) == (
        "#ffffff",
        "#000000",
        "#102030",
    )


def test_numbers_are_short_and_never_minus_zero() -> None:
    canvas = Canvas()
    canvas.line([(-0.01, 3.0), (1.26, -2.04)])
    assert 'points="0,3 1.3,-2"' in canvas.parts[0]
