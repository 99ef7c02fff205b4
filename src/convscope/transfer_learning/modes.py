"""The modes of a transfer, and which options mean something in which. Reading this needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from convscope.errors import RunError

MODES = ("extract", "finetune", "scratch")
STUDIES = ("compare", "layers")

_TRAINS = ("finetune", "scratch", *STUDIES)
MEANT = {
    "--freeze-until": (("finetune", "compare"), "in which nothing is fine-tuned up to a layer of your own"),
    "--epochs": (_TRAINS, "in which no layer but the last is trained"),
    "--augment": (_TRAINS, "in which no layer but the last is trained"),
    "--penalty": (("extract", "finetune", *STUDIES), "in which no head is fitted to features"),
    "--false-alarms": (("extract", "finetune"), "which leaves no model that says unknown"),
    "--per-class": (STUDIES, "which learns from all pictures"),
    "--draws": (STUDIES, "which learns from all pictures"),
    "--budget": (STUDIES, "which makes one classifier"),
}
"""Options that mean something in some modes only: in which, and why not in another."""


def require_meant(mode: str, given: Mapping[str, object]) -> None:
    """Raises RunError for an option that is given, that is, not None, where it means nothing; of a known mode only."""
    for option, value in given.items() if mode in MODES + STUDIES else ():
        modes, why = MEANT[option]
        if value is not None and mode not in modes:
            listed = " or ".join(filter(None, (", ".join(modes[:-1]), modes[-1])))
            raise RunError(
                f"{option} {value} with --mode {mode}, {why}",
                f"--mode {listed}",
                f"Add --mode {modes[0]}, or leave {option} out",
            )
