"""In a notebook a net shows itself: a table, a drawing, and nothing that a text could smuggle in."""

from __future__ import annotations

from xml.etree import ElementTree

from convscope import nets as zoo
from convscope.inspection import inspect
from convscope.net import Net


def test_a_net_of_the_zoo_is_shown_for_its_own_pictures() -> None:
    page = zoo.get("lecture").net._repr_html_()
    assert "Input 1×28×28 → 10: 1,199,882 parameters, 11,992,448 MACs a picture" in page
    root = ElementTree.fromstring(page)
    assert len(root.findall(".//tr")) == 13
    assert root.find(".//{http://www.w3.org/2000/svg}svg") is not None


def test_any_other_net_is_shown_for_the_first_size_it_takes() -> None:
    assert "Input 1×28×28" in Net.parse("conv(3, 3), flatten, dense(classes)")._repr_html_()
    assert "Input 3×32×32" in Net.parse("conv(3, 30), flatten, dense(classes)")._repr_html_()
    assert "Input 3×224×224" in inspect("vgg16")._repr_html_()


def test_a_net_that_takes_nothing_is_shown_as_text() -> None:
    assert Net.parse("dense(classes)")._repr_html_() == "<pre>Net(dense(classes))</pre>"


def test_text_is_escaped() -> None:
    page = inspect("tanh(slope=0.5), flatten, dense(2)", (1, 2, 2))._repr_html_()
    assert "<script" not in page
    ElementTree.fromstring(page)
