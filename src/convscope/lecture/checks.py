"""`lecture check`: every claim of the lecture that arithmetic can settle, computed, in well under two seconds.

check() -> list[Claim]            all of them in the order of the slides
check(["L19"])                    some of them
NEEDS_TRAINING                    what no arithmetic settles, with the experiment that would

Nothing here needs torch: counts and shapes come from the descriptions, the rest from whole numbers in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convscope.errors import ConvscopeError, did_you_mean
from convscope.lecture import check_counts as counts
from convscope.lecture import check_networks as networks
from convscope.lecture import check_windows as windows
from convscope.lecture.check_claim import Claim, Open

CHECKS: dict[str, Callable[[], Claim]] = {
    "L1": counts.l1,
    "L2": counts.l2,
    "L5": counts.l5,
    "L6": windows.l6,
    "L7": counts.l7,
    "L8": windows.l8,
    "L9": counts.l9,
    "L10": counts.l10,
    "L11": windows.l11,
    "L12": windows.l12,
    "L13": windows.l13,
    "L14": counts.l14,
    "L15": counts.l15,
    "L16": counts.l16,
    "L17": windows.l17,
    "L18": windows.l18,
    "L19": networks.l19,
    "L20": networks.l20,
    "L21": counts.l21,
    "L22": windows.l22,
    "L23": networks.l23,
    "L24": networks.l24,
    "L25": counts.l25,
    "L26": networks.l26,
    "L27": networks.l27,
    "L28": counts.l28,
    "L29": counts.l29,
}

NEEDS_TRAINING = (
    Open(
        "L3",
        "More parameters need more data against overfitting; ConvNets are more accurate and train faster.",
        "a dense net and a ConvNet on 100 to 60,000 digits: the gap between training and test, epochs and seconds",
    ),
    Open(
        "L4",
        "Fully connected nets stop improving at four or five hidden layers.",
        "dense nets of 1 to 20 layers, at one width and at one number of parameters, several starts",
    ),
    Open(
        "L5",
        "ConvNets improve with every layer more.",
        "plain and residual nets of 8 to 56 layers for one budget",
    ),
    Open(
        "L6",
        "Losing the neighbourhood costs a dense net accuracy.",
        "one fixed shuffle of all pixels, then training: the ConvNet should lose, the dense net not",
    ),
    Open(
        "L12",
        "A ConvNet recognises an object wherever it is.",
        "convscope lecture shift",
    ),
    Open(
        "L19",
        "Whether pooling windows should overlap.",
        "the same small net with windows 2×2 and 3×3 at stride 2",
    ),
)


def check(ids: Sequence[str] = ()) -> list[Claim]:
    """The claims of these ids, or all, in the order of the slides.

    Ids may be small letters. An id that only training can settle is in `NEEDS_TRAINING` and gives no claim.

    Raises:
        ConvscopeError: an id does not exist.

    >>> [claim.computed for claim in check(["L9"])]
    [{'filter': 76, 'full template': 3073}]
    """
    wanted = {_known(one) for one in ids}
    return [make() for name, make in CHECKS.items() if not ids or name in wanted]


def open_questions(ids: Sequence[str] = ()) -> list[Open]:
    """What of these ids, or of all, needs training."""
    wanted = {_known(one) for one in ids}
    return [one for one in NEEDS_TRAINING if not ids or one.id in wanted]


def _known(one: str) -> str:
    known = sorted({*CHECKS, *(each.id for each in NEEDS_TRAINING)}, key=lambda name: int(name[1:]))
    name = one.strip().upper()
    if name not in known:
        raise ConvscopeError(
            f"unknown claim {one[:40]!r}", f"one of {known[0]} to {known[-1]}", did_you_mean(name, known)
        )
    return name
