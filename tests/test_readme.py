"""The README cannot rot: its marked blocks run, in order, in one empty folder, and its outputs are what comes out.

<!-- run -->            the sh or python block below is run
<!-- output exact -->   the text block below is what the last block printed, letter for letter
<!-- output like -->    likewise, but numbers may differ; a last line … stands for the rest
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from convscope.data import load_data

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^<!-- (run|output exact|output like) -->\n```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One marked block: what is to be done with it, its language, its text."""

    mark: str
    language: str
    text: str


BLOCKS = [Block(*match.groups()) for match in BLOCK.finditer(README)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader stands, with the scan that the README talks of: dark ink on light paper."""
    test = load_data("mnist-10k").test
    assert test is not None
    Image.fromarray(255 - test.images[0, 0]).save(tmp_path / "scan.png")
    return tmp_path


@pytest.mark.slow
def test_marked_blocks_run_and_print_what_the_readme_shows(folder: Path) -> None:
    printed = ""
    for block in BLOCKS:
        if block.mark == "run":
            printed = ran(block, folder)
        elif block.mark == "output exact":
            assert printed.strip() == block.text.strip()
        else:
            assert words(printed, like=block.text) == words(block.text)


def ran(block: Block, folder: Path) -> str:
    """stdout of a block, run with the convscope of this environment, reading the bundled digits only."""
    interpreter = {"sh": ["bash", "-euc"], "python": [sys.executable, "-c"]}[block.language]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    done = subprocess.run(
        [*interpreter, block.text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block.text}\n{done.stderr}"
    return done.stdout


def words(text: str, like: str = "") -> list[str]:
    """The lines without their numbers, as many of them as `like` has where that ends in …"""
    lines = [re.sub(r"[^A-Za-z]+", " ", line).strip() for line in text.strip().splitlines()]
    if (like or text).strip().endswith("…"):
        lines = lines[: len((like or text).strip().splitlines()) - 1]
    return [re.sub(r"\b(h|min|s)\b ?", "", line).strip() for line in lines]


def test_the_readme_has_its_two_commands_first() -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert commands[0] == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/convscope train\n"
    assert commands[1] == (
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest -q -n auto\n"
    )


def test_enough_is_marked() -> None:
    assert sum(block.mark == "run" for block in BLOCKS) >= 6


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parent.parent
    pages = [
        root / "README.md",
        root / "CONTRIBUTING.md",
        root / "CHANGELOG.md",
        *sorted((root / "docs").rglob("*.md")),
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
