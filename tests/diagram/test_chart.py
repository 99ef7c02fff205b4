"""The lecture's chart: proper XML, both numbers of every entry, layers, people, and a source for each number."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from convscope.inspection.chart import ilsvrc_svg

SVG = "{http://www.w3.org/2000/svg}"


def texts() -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(ilsvrc_svg()).iter(f"{SVG}text")]


def test_both_numbers_stand_over_the_bars() -> None:
    assert {"28.2 %", "25.8 %", "16.4 %", "11.7 %", "7.3 %", "6.7 %", "3.57 %"} <= set(
        texts()
    )  # several networks
    assert {"18.2 %", "16.5 %", "7.0 %", "7.9 %", "4.49 %"} <= set(texts())  # one network


def test_layers_parameters_and_people() -> None:
    found = texts()
    assert {"8 layers", "19 layers", "22 layers", "152 layers", "60,965,224 parameters"} <= set(found)
    assert "a trained person 5.1 %" in found


def test_every_number_says_what_it_is_and_where_it_is_from() -> None:
    bars = [g for g in ElementTree.fromstring(ilsvrc_svg()).iter(f"{SVG}g") if g.get("data-kind") == "error"]
    assert len(bars) == 12
    for bar in bars:
        title = bar.findtext(f"{SVG}title") or ""
        assert "%" in title
        assert any(year in title for year in ("2010 to 2015", "2012", "2013", "2014", "2015")), title
    assert any(text.startswith("[1] ") for text in texts())
    assert "VGG 2014: 7.325 %, test, 7 nets [1]; 7 %, test, 1 net, several crops and scales [4]." in texts()


def test_the_same_text_every_time() -> None:
    assert ilsvrc_svg() == ilsvrc_svg()
