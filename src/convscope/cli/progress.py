"""How training looks while it runs: a moving line on a terminal, plain lines anywhere else. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from convscope.cli.output import note

if TYPE_CHECKING:
    from rich.progress import Progress

    from convscope.training.events import EpochEnd, Event, Listener, Note, Started, Step
    from convscope.transfer_learning.events import Progress as Moved

    EpochText = Callable[[EpochEnd], str]

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_listener(quiet: bool = False, epoch_text: EpochText | None = None) -> Iterator[Listener]:
    """The listener that suits stderr; leaving the block takes the moving line away.

    With `quiet` it says nothing; `epoch_text` makes the line of a finished epoch.
    """
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        listener = LiveLines(epoch_text or epoch_line)
        with listener.display:
            yield listener
    else:
        yield PlainLines(epoch_text or epoch_line)


class PlainLines:
    """A line when training starts, at the end of each epoch, and every few seconds in between."""

    def __init__(self, epoch_text: EpochText) -> None:
        self._epoch_text = epoch_text
        self._steps = 0
        self._said_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        show = getattr(self, f"_{event.kind}", None)
        if show:
            show(event)

    def write(self, line: str) -> None:
        """Put one line on stderr."""
        note(line)
        self._said_at = time.monotonic()

    def _started(self, event: Started) -> None:
        self._steps = event.steps
        for line in started_lines(event):
            self.write(line)

    def _note(self, event: Note) -> None:
        from convscope.data import Transfer

        if isinstance(event.text, Transfer):
            self._moving(event.text, event.text.received_bytes, event.text.total_bytes)
        else:
            self.write(event.text)

    def _step(self, event: Step) -> None:
        self._moving(step_text(event, self._steps), event.step, self._steps)

    def _progress(self, event: Moved) -> None:
        self._moving(event.text, event.done, event.total)

    def _moving(self, text: str, done: int, total: int) -> None:
        """Something that moves on: a download, the steps of training."""
        if time.monotonic() - self._said_at >= SECONDS_BETWEEN_LINES:
            self.write(text)

    def _epoch_end(self, event: EpochEnd) -> None:
        self.write(self._epoch_text(event))


class LiveLines(PlainLines):
    """A bar with the newest numbers, and the same lines as elsewhere above it."""

    def __init__(self, epoch_text: EpochText) -> None:
        super().__init__(epoch_text)
        self.display = _bar()
        self._task = self.display.add_task("", total=None, visible=False, numbers="")

    def write(self, line: str) -> None:
        """Put one line above the bar."""
        self.display.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _started(self, event: Started) -> None:
        super()._started(event)
        self._moving("", event.resumed_from_step or 0, event.steps)

    def _moving(self, text: str, done: int, total: int) -> None:
        self.display.update(self._task, completed=done, total=total, numbers=text, visible=True)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=10), TextColumn("{task.fields[numbers]}", markup=False))
    return Progress(*columns, console=Console(stderr=True), transient=True)


def started_lines(event: Started) -> list[str]:
    """What is about to happen, and about how long it takes."""
    others = [(event.validation_images, "to validate"), (event.test_images, "to test")]
    counts = [f"{event.train_images:,} images to learn from", *(f"{n:,} {what}" for n, what in others if n)]
    begin = f"Going on after step {event.resumed_from_step:,}" if event.resumed_from_step else "Training"
    return [
        f"{begin}: {event.net} ({event.parameters:,} parameters) on {event.data}: {', '.join(counts)}.",
        f"Data: {event.origin}",
        f"Recipe {event.recipe}: {counted(event.steps, 'step')} of {counted(event.batch_size, 'image')},"
        f" {counted(event.epochs, 'epoch')},"
        f" seed {event.seed}; {event.reason}.",
        f"It will take about {duration(max(1.0, event.estimated_s))}."
        f" Ctrl-C stops it and keeps what was learned in {event.run}.",
    ]


def step_text(event: Step, steps: int) -> str:
    """How far it is, the time left, loss, accuracy and speed; with a bar before it 80 columns are enough."""
    return (
        f"step {event.step:,}/{steps:,}  {duration(event.seconds_left)} left  loss {event.loss:.4f}"
        f"  accuracy {event.accuracy:.4f}  {event.images_per_s:,.0f} images/s"
    )


def epoch_line(event: EpochEnd) -> str:
    """One finished epoch, with its validation where there was one."""
    line = f"epoch {event.epoch}: loss {event.loss:.4f}  accuracy {event.accuracy:.4f}"
    if event.validation_loss is not None and event.validation_accuracy is not None:
        line += f"  validation loss {event.validation_loss:.4f}  accuracy {event.validation_accuracy:.4f}"
    return f"{line}  {duration(event.epoch_s)}  {event.images_per_s:,.0f} images/s"


def counted(number: float, what: str) -> str:
    """A number of things, in the singular where there is one.

    >>> counted(1, "epoch"), counted(0.0758, "epoch"), counted(66_000_000, "step")
    ('1 epoch', '0.0758 epochs', '66,000,000 steps')
    """
    text = f"{number:,}" if isinstance(number, int) else f"{number:.3g}"
    return f"{text} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(3.4), duration(74), duration(5400)
    ('3 s', '1 min 14 s', '1 h 30 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
