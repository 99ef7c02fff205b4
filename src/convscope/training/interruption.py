"""Ctrl-C, SIGTERM and SIGHUP as a request: training ends after the step at hand, with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; what `kill`, a service manager or a batch queue sends; a terminal that was closed. Windows has no SIGHUP."""


class StopRequest:
    """Whether someone asked to stop. Who asks a second time does not wait."""

    def __init__(self) -> None:
        self.made = False

    def make(self) -> None:
        """Ask to stop after the step at hand."""
        self.made = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals as requests for a while; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self._handle) for number in self._numbers()}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _numbers(self) -> list[signal.Signals]:
        """The signals that there are; but `nohup` lets a closed terminal be ignored, and then it is."""
        found = [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]
        return [
            each for each in found if each.name != "SIGHUP" or signal.getsignal(each) is not signal.SIG_IGN
        ]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.made:
            raise KeyboardInterrupt
        self.make()
