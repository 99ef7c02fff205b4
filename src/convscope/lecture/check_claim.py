"""One claim of the lecture beside what is computed for it, and what that says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOLDS, CAVEAT, DOES_NOT_HOLD = "holds", "holds with a caveat", "does not hold"
VERDICTS = (HOLDS, CAVEAT, DOES_NOT_HOLD)

Value = int | float | str | bool | Mapping[str, "Value"]


@dataclass(frozen=True)
class Claim:
    """What the lecture says, what comes out, and the verdict.

    Attributes:
        id: L1 … L29, in the order of the slides.
        claim: what is claimed, in our words.
        claimed: the value that the claim names or implies; a number, a word, or several under names.
        computed: the same, computed from descriptions of networks or with small pictures of whole numbers.
        verdict: one of `VERDICTS`.
        source: where in the lecture.
        explanation: one sentence on what the numbers say.
        computation: how the values came about, line by line.
    """

    id: str
    claim: str
    claimed: Value
    computed: Value
    verdict: str
    source: str
    explanation: str
    computation: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `lecture check --json` prints for it."""
        return {
            "id": self.id,
            "claim": self.claim,
            "claimed": self.claimed,
            "computed": self.computed,
            "verdict": self.verdict,
            "source": self.source,
            "explanation": self.explanation,
            "computation": list(self.computation),
        }


@dataclass(frozen=True)
class Open:
    """A claim, or the part of one, that arithmetic cannot settle, and the experiment that would."""

    id: str
    claim: str
    experiment: str


def judged(agrees: bool, caveat: bool = False) -> str:
    """The verdict on a claim whose numbers agree or not; `caveat` where it agrees only under a condition.

    >>> judged(True), judged(True, caveat=True), judged(False, caveat=True)
    ('holds', 'holds with a caveat', 'does not hold')
    """
    if not agrees:
        return DOES_NOT_HOLD
    return CAVEAT if caveat else HOLDS
