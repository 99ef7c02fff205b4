"""What a fine-tuning or training of `transfer` was begun with, beside the run's own files, so that it can go on."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from convscope.errors import ConvscopeError, Interrupted, ModelFileError, RunError
from convscope.model_file import parse_json, write_text
from convscope.training.events import Event, Listener
from convscope.training.folder import RunFolder
from convscope.transfer_learning.backbones import Backbone

if TYPE_CHECKING:
    from convscope.transfer_learning.wish import Wish

FILE = "transfer.json"
START = "head.safetensors"
"""The extracted model that fine-tuning starts from, beside the run's own files."""


@dataclass(frozen=True)
class Begun:
    """The mode, the backbone by name and digest, and the share of false alarms that was asked for."""

    mode: str
    backbone: str
    backbone_sha256: str
    false_alarms: float

    @classmethod
    def of(cls, wish: Wish, backbone: Backbone) -> Begun:
        return cls(wish.mode, backbone.name, backbone.digest, wish.false_alarms)

    @classmethod
    def read(cls, folder: RunFolder) -> Begun:
        """From the run's folder.

        Raises:
            RunError: there is no run, or `transfer` did not begin it, or it cannot go on.
        """
        folder.require_run()
        file = folder.path / FILE
        if not file.exists():
            raise RunError(
                f"--resume, and {folder.path} holds no fine-tuning or training from scratch",
                "the folder of a run of --mode finetune or scratch that was stopped",
                "extract needs no --resume: type its command again. A run of train goes on with: convscope train"
                f" --resume --out {shlex.quote(str(folder.path))}",
            )
        try:
            return cls(**parse_json(file.read_bytes()))
        except (ModelFileError, TypeError, ValueError) as error:
            raise RunError(
                f"{file} is damaged: {error}",
                "the file as it was written",
                "Begin again with --overwrite",
            ) from error

    def noted_in(self, folder: RunFolder) -> Listener:
        """A listener that writes it into the run's folder as soon as that is one."""

        def note(event: Event) -> None:
            if event.kind == "started":
                write_text(folder.path / FILE, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

        return note

    def require(self, backbone: Backbone, folder: RunFolder) -> None:
        """Raises RunError where it is not this backbone's weights that the run began with."""
        if backbone.digest != self.backbone_sha256:
            raise RunError(
                f"the backbone {backbone.name}, and the run in {folder.path} began from other weights"
                f" ({self.backbone})",
                "the same backbone",
                f"Name it with --from {shlex.quote(self.backbone)}, or begin anew with --overwrite",
            )

    @property
    def has_head(self) -> bool:
        """Whether it began from an extracted head."""
        return self.mode == "finetune"

    @property
    def told(self) -> dict[str, Any]:
        """What card and configuration say."""
        return {"mode": self.mode, "backbone": self.backbone, "backbone_sha256": self.backbone_sha256}


@contextmanager
def told_how_to_go_on(folder: RunFolder) -> Iterator[None]:
    """What training says when it ends early names the transfer's commands and options, not its own."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(folder.path, _in_our_words(str(stopped))) from None
    except ConvscopeError as error:
        error.fix = _in_our_words(error.fix)
        error.args = ConvscopeError(error.received, error.expected, error.fix).args
        raise


_OUR_WORDS = {
    "convscope train --resume": "convscope transfer --resume",
    r"Try --batch-size \d+, or --auto-batch[^.;]*": "Try a smaller --size, or a smaller backbone",
    r"Try a smaller learning rate than \S+ with --rate": "Try another --seed, or --mode extract",
}
"""What training proposes, as a pattern, and what a transfer can do."""


def _in_our_words(text: str) -> str:
    for theirs, ours in _OUR_WORDS.items():
        text = re.sub(theirs, ours, text)
    return text
