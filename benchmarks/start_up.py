"""How long the commands that need no torch take to answer: the median of fresh processes, against the limits.

    python benchmarks/start_up.py

Ends with status 1 when a median is above its limit. Wall time, so run it on a machine that is otherwise idle.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

TIMES = 7
LIMITS_S = {
    ("--help",): 0.5,
    ("inspect", "lecture"): 0.6,
    ("inspect", "resnet152"): 0.8,
    ("lecture", "check"): 2.0,
}


def seconds(arguments: tuple[str, ...]) -> float:
    """Wall time of one fresh process, from its start to its end, with compiled modules as an installation has them."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began_at = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "convscope", *arguments], check=True, capture_output=True, env=surroundings
    )
    return time.perf_counter() - began_at


def main() -> int:
    """Print a line a command; 1 when one is too slow."""
    status = 0
    for arguments, limit_s in LIMITS_S.items():
        times = [seconds(arguments) for _ in range(TIMES + 1)][1:]  # the first compiles
        median = statistics.median(times)
        verdict = "ok" if median <= limit_s else "TOO SLOW"
        print(
            f"convscope {' '.join(arguments):<18} median {median:.3f} s of {TIMES}, limit {limit_s} s: {verdict}"
        )
        status |= median > limit_s
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
