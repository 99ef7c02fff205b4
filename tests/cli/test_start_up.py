"""The commands that only look need no torch: tested through what a fresh process has imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
from convscope.cli.status import run
status = run(sys.argv[1:])
heavy = {"torch", "torchvision", "numpy", "PIL", "safetensors", "rich"} & set(sys.modules)
print("HEAVY", sorted(heavy), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        [],
        ["--version"],
        ["train", "--help"],
        ["inspect", "lecture"],
        ["inspect", "lecture", "--json"],
        ["inspect", "conv(16, 5), flatten, dense(classes)", "--input", "1,28,28"],
        ["inspect", "lectur"],
        ["nets"],
        ["nets", "--json"],
        ["nets", "--sort", "depth"],
        ["inspect", "resnet152"],
        ["trian"],
    ],
    ids=" ".join,
)
def test_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "HEAVY []", done.stderr
    assert done.returncode == (2 if arguments in (["trian"], ["inspect", "lectur"]) else 0)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, convscope; print(sorted({'torch', 'numpy', 'PIL', 'rich', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
