"""The pictures in docs are what the commands beside them make today."""

from __future__ import annotations

from pathlib import Path

import pytest

from convscope import nets
from convscope.cli.status import run

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
DRAWN = sorted(path.stem for path in PICTURES.glob("*.svg") if path.stem in nets.names())


@pytest.mark.parametrize("name", [*DRAWN, "ilsvrc"])
def test_a_picture_is_fresh(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made.svg"
    command = ["nets"] if name == "ilsvrc" else ["inspect", name]
    assert run([*command, "--svg", str(made)]) == 0, capsys.readouterr().err
    kept = PICTURES / f"{name}.svg"
    assert made.read_text("utf-8") == kept.read_text("utf-8"), (
        f"docs/pictures/README.md says how to make {kept}"
    )


def test_the_lectures_systems_are_there() -> None:
    assert {"lecture", "lenet5", "alexnet", "vgg16", "googlenet", "resnet152"} <= set(DRAWN)
