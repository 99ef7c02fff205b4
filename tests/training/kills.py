"""One run, killed again and again with SIGKILL at random moments and resumed each time, beside one left alone.

    python tests/training/kills.py --kills 20 --seed 0

Prints a JSON line a kill, and at the end whether weights, history and configuration are those of the undisturbed run.
A third of the kills comes after a random number of steps; a third once a half-written file lies in the folder, so that
they hit the writing of a checkpoint or model; a third within moments of the start: reading, restoring, beginning.
Children are forked after torch is loaded: a process that dies costs no start-up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 700
MOST_STEPS_A_LIFE = 20
FILES = ("model.safetensors", "config.json")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        return 0 if Killing(Path(folder), arguments.seed).run(arguments.kills) else 1


class Killing:
    """Two runs of the same configuration; one is killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        from dataclasses import replace

        import torch

        from convscope.data import load_data
        from convscope.training import Adam, Augmentation, Averaging, OneCycle, Recipe, loop, meter

        torch.set_num_threads(1)
        self.straight, self.broken, self.random = folder / "straight", folder / "broken", random.Random(seed)
        digits = load_data("mnist-10k")
        self.data = replace(digits, train=digits.train.take(range(600)), test=digits.test.take(range(100)))
        self.recipe = Recipe("killed", Adam(), OneCycle(), batch_size=30, steps=STEPS, label_smoothing=0.1,
                             averaging=Averaging(decay=0.9, every=2), augmentation=Augmentation(crop_px=2))  # fmt: skip
        self.wanted = ["model", "checkpoint"]
        loop.SAVE_EVERY_S, meter.LIVE_EVERY_S = 0.03, 0.0

    def run(self, kills: int) -> bool:
        """Kill so many times, then let it end; whether everything is the same."""
        self.waited_for(self.forked(self.straight)[0])
        landed = hit = 0
        for number in range(kills):
            said = self.kill(("steps", "half-written", "start")[number % 3])
            landed, hit = landed + said["landed"], hit + bool(said["halves"])
            print(json.dumps({"kill": number + 1, **said}), flush=True)
        self.waited_for(self.forked(self.broken)[0])
        same = self.same_files() and self.same_history()
        print(
            json.dumps(
                {"kills": kills, "landed_before_the_end": landed, "during_a_write": hit, "same_bits": same}
            )
        )
        return same

    def forked(self, folder: Path) -> tuple[int, int]:
        """A process that begins or goes on; its id, and a pipe with a byte for every step."""
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            return child, reading
        os.close(reading)
        status = 1
        try:
            self.train(folder, writing)
            status = 0
        finally:
            os._exit(status)

    def train(self, folder: Path, pipe: int) -> None:
        from convscope.training import train

        def watch(event: Any) -> None:
            if event.kind == "step":
                os.write(pipe, b".")

        try:
            train(self.data, "conv(8, 5), relu, maxpool(4), flatten, dense(200), relu, dropout(0.5), dense(classes)",
                  self.recipe, out=folder, device="cpu", resume=(folder / "config.json").exists(),
                  listeners=[watch])  # fmt: skip
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            raise

    def kill(self, how: str) -> dict[str, Any]:
        """Start it, kill it, and look at what lies there."""
        child, pipe = self.forked(self.broken)
        steps = self.random.randint(1, MOST_STEPS_A_LIFE) if how != "start" else 0
        for _ in itertools.repeat(None, steps):
            os.read(pipe, 1)  # nothing comes any more where it has ended
        pause_s = self.random.uniform(0.0, 0.4 if how == "start" else 0.02)
        if how == "half-written":
            self.wait_for_a_half(child)
        else:
            time.sleep(pause_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(pipe)
        landed = os.WIFSIGNALED(status)
        if not landed and os.waitstatus_to_exitcode(status):
            raise SystemExit(f"the run failed with {os.waitstatus_to_exitcode(status)}")
        return {"how": how, "landed": landed, "halves": self.halves(child), "step": self.saved_step()}

    def wait_for_a_half(self, child: int) -> None:
        """Until the file that was not waited for last time is being written, or the process has ended."""
        self.wanted.reverse()
        while not self.halves(child, self.wanted[0]):
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return

    def halves(self, child: int, of: str = "") -> list[str]:
        """Half-written files of this process, of any name or one."""
        return [path.name for path in self.broken.glob(f".{of}*.{child}.new")]

    def saved_step(self) -> int | None:
        """The step of the checkpoint, which must be whole, as must be the model; None before the first."""
        from convscope.model_file import load_model, read_container
        from convscope.training.checkpoint import FORMAT_VERSION, KIND

        if (self.broken / "model.safetensors").exists():
            load_model(self.broken)
        if not (self.broken / "checkpoint").exists():
            return None
        step: int = read_container(self.broken / "checkpoint", KIND, FORMAT_VERSION).document["state"]["step"]
        return step

    def waited_for(self, child: int) -> None:
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"a run that was left alone ended with {os.waitstatus_to_exitcode(status)}")

    def same_files(self) -> bool:
        return all((self.straight / name).read_bytes() == (self.broken / name).read_bytes() for name in FILES)

    def same_history(self) -> bool:
        from convscope.training.events import without_clocks
        from convscope.training.folder import read_history

        one, other = ([without_clocks(line) for line in read_history(run / "history.jsonl")]
                      for run in (self.straight, self.broken))  # fmt: skip
        return len(one) > STEPS // 50 and one == other


if __name__ == "__main__":
    sys.exit(main())
