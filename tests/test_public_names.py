"""The public names: complete, sorted, loaded only when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import convscope
from convscope.layers import WORDS


def test_all_is_sorted_complete_and_there():
    assert convscope.__all__ == sorted(convscope.__all__)
    assert set(WORDS) | {"classes"} <= set(convscope.__all__)
    for name in convscope.__all__:
        assert getattr(convscope, name) is not None


def test_importing_loads_nothing_slow():
    script = "import convscope, sys; from convscope import Net, conv, inspect; inspect('lecture'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "torchvision", "numpy", "PIL", "rich"} & set(loaded)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        convscope.trian  # noqa: B018 - reading it is the test
