"""Twenty times SIGKILL: a run that is killed at random moments and resumed each time ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_leave_no_trace() -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "20", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *kills, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert end["same_bits"]
    assert sum(kill["landed"] for kill in kills) == end["landed_before_the_end"] >= 15
    halves = [half for kill in kills for half in kill["halves"]]
    assert any(half.startswith(".checkpoint") for half in halves), (
        "no kill came during the write of a checkpoint"
    )
    assert end["during_a_write"] >= 5
