"""One contestant in a process of its own: `python -m convscope.benchmark.worker`.

Reads JSON lines: the task with the contestant's name, then the seconds of each turn. Writes a JSON line for each turn.
The end of the input ends the process. Nothing but these lines goes to stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TextIO

from convscope.benchmark.contestants import CONTESTANTS, Task, Turn


def work(requests: TextIO, answers: TextIO) -> None:
    """Serve one contestant until the requests end."""
    order = json.loads(requests.readline())

    def report(images_per_s: float) -> None:
        answers.write(json.dumps({"images_per_s": images_per_s}) + "\n")
        answers.flush()

    CONTESTANTS[order["contestant"]](Task.from_json(order["task"]), _turns(requests), report)


def _turns(requests: TextIO) -> Iterator[Turn]:
    """A turn for every line that comes; waiting for one is the pause between two turns."""
    while line := requests.readline():
        yield Turn(json.loads(line)["seconds"])


def main() -> None:
    """Serve over stdin and stdout; whatever a library prints goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    work(sys.stdin, answers)


if __name__ == "__main__":
    main()
