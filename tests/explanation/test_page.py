"""The page: self-contained, safe, bounded, and in a browser with the very numbers of the network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from convscope.explanation import explain
from convscope.explanation.moving import MOST_INPUT_NUMBERS, MOST_WEIGHTS

from .conftest import noise, random_model

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NETS = {
    "conv": (
        "conv(5, 3, padding=(0, 2, 1, 1), stride=2, dilation=2), batchnorm, tanh(amplitude=1.7, slope=0.6), "
        "flatten, dense(classes)", "conv1",
    ),
    "groups": ("conv(4, 3), relu, conv(6, 3, groups=2, bias=False), relu6, flatten, dense(classes)", "conv2"),
    "gelu": ("conv(4, 3), batchnorm(scale=False), gelu, flatten, dense(classes)", "conv1"),
    "table": ("conv(3, 3), sigmoid, conv(2, 3, table=((0, 2), (1,))), relu, flatten, dense(classes)", "conv2"),
    "maxpool": ("conv(3, 3), maxpool(3, stride=2, padding=1), flatten, dense(classes)", "maxpool1"),
    "avgpool": ("conv(3, 3), avgpool(3, stride=2, padding=1, count_padding=True), flatten, dense(classes)", "avgpool1"),
    "avgpool ceil": ("avgpool(3, stride=2, ceil=True), flatten, dense(classes)", "avgpool1"),
    "lppool": ("conv(3, 3), lppool(2, p=3), flatten, dense(classes)", "lppool1"),
    "subsample": ("conv(3, 3), subsample(2), flatten, dense(classes)", "subsample1"),
}  # fmt: skip


def test_it_needs_nothing_from_elsewhere(picture: Path) -> None:
    page = explain(random_model(NETS["conv"][0]), picture).page()
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    picture = noise(tmp_path / "<script>alert(1)</script>{{DATA}}.png".replace("/", "_"), (1, 12, 12))
    page = explain(random_model(NETS["conv"][0]), picture).page()
    assert "<script>alert" not in page
    assert "class <b>" not in page
    assert "&lt;script&gt;" in page
    assert page.count('"crop"') == 1


def test_a_large_layer_is_cut_to_size(tmp_path: Path) -> None:
    model = random_model(
        "conv(64, 3, padding=1), conv(600, 3, padding=1), globalpool, dense(classes)", (3, 160, 160)
    )
    found = explain(model, noise(tmp_path / "a.png", (3, 160, 160)), layer="conv2", at=(150, 3, 599))
    assert found.moving is not None
    assert len(found.page()) < 9_000_000
    assert not found.moving["complete"]
    assert 599 in found.moving["filters"]["numbers"]
    assert len(found.moving["input"]) <= MOST_INPUT_NUMBERS * 16 / 3 + 4
    assert len(found.moving["filters"]["weights"]) <= MOST_WEIGHTS * 16 / 3 + 4


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("at", [(0, 0, 1), (2, 1, 0)])
def test_a_browser_shows_the_networks_numbers(
    picture: Path, tmp_path: Path, kind: str, at: tuple[int, ...]
) -> None:
    net, layer = NETS[kind]
    at = at[:2] + ((0,) if kind == "avgpool ceil" else at[2:])
    found = explain(random_model(net), picture, layer=layer, at=at)
    assert found.working is not None
    (tmp_path / "page.html").write_text(found.page(), encoding="utf-8")
    document = dom(tmp_path / "page.html", tmp_path / "profile")
    shown = re.search(r'id="a" data-value="([^"]+)" data-z="([^"]+)" data-at="([^"]+)"', document)
    assert shown, document[-2000:]
    assert shown[3] == f"{at[2]},{at[0]},{at[1]}"
    assert float(shown[1]) == pytest.approx(found.working.own, abs=1e-5)
    z = found.working.steps[-1].value if found.working.steps else found.working.own
    assert float(shown[2]) == pytest.approx(z, abs=1e-5)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_moving_the_window_gives_the_networks_numbers(picture: Path, tmp_path: Path) -> None:
    model = random_model(NETS["groups"][0])
    page = explain(model, picture, layer="conv2", at=(0, 0, 0)).page()
    keys = ["ArrowDown", "ArrowDown", "ArrowRight", "]", "]", "]", "]"]
    presses = "".join(
        f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}));" for key in keys
    )
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"<script>{presses}</script></body>"), "utf-8"
    )
    shown = re.search(
        r'id="a" data-value="([^"]+)" .*?data-at="4,2,1"', dom(tmp_path / "page.html", tmp_path / "p")
    )
    wanted = explain(model, picture, layer="conv2", at=(2, 1, 4)).working
    assert shown
    assert wanted is not None
    assert float(shown[1]) == pytest.approx(wanted.own, abs=1e-5)


def dom(page: Path, profile: Path) -> str:
    """The page's elements after its script has run, in a browser of its own without a network."""
    assert CHROMIUM is not None
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
        "--disable-background-networking", "--disable-sync", f"--user-data-dir={profile}", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *flags, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ},
    )
    return done.stdout
