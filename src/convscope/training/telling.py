"""Events on their way out: into the history, to every listener, and a listener's Ctrl-C back in."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from convscope.data import Transfer
from convscope.training.events import Event, Listener, Note, Step
from convscope.training.folder import History
from convscope.training.interruption import StopRequest

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""What a terminal or pipe says that is no longer there."""


class Teller:
    """Hands each event on, in order. It remembers the notes, and whether someone asked to stop."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = list(listeners)
        self.notes: list[str] = []
        self.stop = StopRequest()
        self.history: History | None = None

    def __call__(self, event: Event) -> None:
        """Write the event to the history, if one is open and it belongs there, and tell every listener.

        A listener's KeyboardInterrupt counts as a request to stop. One whose terminal or pipe has gone hears nothing
        more: that nobody watches is no reason to lose the training.
        """
        live = isinstance(event, Step) and event.live
        if self.history and event.in_history and not live:
            self.history.add(event.history_line())
        for listener in list(self.listeners):
            try:
                listener(event)
            except KeyboardInterrupt:
                self.stop.make()
            except OSError as error:
                if error.errno not in GONE:
                    raise
                self.listeners.remove(listener)

    def note(self, text: str) -> None:
        """Tell one sentence, once; the bytes of a download (`Transfer`) are passed on and not remembered."""
        if text in self.notes:
            return
        if not isinstance(text, Transfer):
            self.notes.append(text)
        self(Note(text))
