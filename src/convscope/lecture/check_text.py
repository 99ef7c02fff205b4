"""The claims as text: each in a few lines, wrapped to the terminal, and a summary."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from convscope.lecture.check_claim import CAVEAT, DOES_NOT_HOLD, HOLDS, Claim, Open, Value

NARROWEST, WIDEST = 60, 120
INDENT = 11  # where the words behind an id or a heading begin


def render(
    claims: Sequence[Claim], questions: Sequence[Open], *, in_full: bool = False, width: int = 100
) -> str:
    """The claims, what of them needs training, and the count of verdicts.

    Args:
        claims: from `check`.
        questions: from `open_questions`.
        in_full: every claim with how its values came about, as for one that was asked for by its id.
        width: of the terminal, in letters; kept between 60 and 120.
    """
    width = max(NARROWEST, min(WIDEST, width))
    parts = [(_full if in_full else _brief)(claim, width) for claim in claims]
    if questions:
        parts.append("Needs training, so no arithmetic settles it:")
        parts += [_open(question, width) for question in questions]
    if not in_full:
        parts.append(_paragraph("", summary(claims), width, indent=0))
    return "\n\n".join(parts)


def _full(claim: Claim, width: int) -> str:
    lines = [
        _paragraph(claim.id, claim.claim, width),
        "",
        _paragraph("source", claim.source, width),
        _paragraph("claimed", written(claim.claimed), width),
        _paragraph("computed", written(claim.computed), width),
        _paragraph("verdict", claim.verdict, width),
        "",
        _paragraph("why", claim.explanation, width),
        "",
        *(_paragraph("" if i else "how", line, width) for i, line in enumerate(claim.computation)),
    ]
    return "\n".join(lines)


def summary(claims: Sequence[Claim]) -> str:
    """How many of each verdict, and which do not hold.

    >>> from convscope.lecture.checks import check
    >>> summary(check(["L19"]))
    '1 claim: 1 do not hold (L19).'
    """
    by_verdict = {
        verdict: [c.id for c in claims if c.verdict == verdict] for verdict in (HOLDS, CAVEAT, DOES_NOT_HOLD)
    }
    text = f"{len(claims)} claim{'s' if len(claims) != 1 else ''}: " + ", ".join(
        f"{len(ids)} {words}"
        for ids, words in zip(by_verdict.values(), ("hold", "hold with a caveat", "do not hold"), strict=True)
        if ids
    )
    wrong = by_verdict[DOES_NOT_HOLD]
    text += f" ({', '.join(wrong)})." if wrong else "."
    return text + (" One in full: convscope lecture check L19" if len(claims) > 1 else "")


def written(value: Value) -> str:
    """A value as people read it.

    >>> written({"filter": 76, "full template": 3073}), written(True)
    ('filter: 76 · full template: 3073', 'yes')
    """
    if isinstance(value, Mapping):
        return " · ".join(f"{name}: {written(item)}" for name, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    # A year must not get a comma, so no number of four digits does.
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def _brief(claim: Claim, width: int) -> str:
    lines = [
        _paragraph(
            claim.id, f"{claim.verdict.upper() if claim.verdict == DOES_NOT_HOLD else claim.verdict}", width
        )
    ]
    lines.append(_paragraph("", claim.claim, width))
    if claim.claimed == claim.computed:
        lines.append(_paragraph("computed", f"{written(claim.computed)}, as claimed", width))
    else:
        lines.append(_paragraph("claimed", written(claim.claimed), width))
        lines.append(_paragraph("computed", written(claim.computed), width))
    if claim.verdict != HOLDS:
        lines.append(_paragraph("why", claim.explanation, width))
    return "\n".join(lines)


def _open(question: Open, width: int) -> str:
    lines = [_paragraph(question.id, question.claim, width), _paragraph("test", question.experiment, width)]
    return "\n".join(lines)


def _paragraph(head: str, words: str, width: int, indent: int = INDENT) -> str:
    """Words wrapped behind a heading, in a column of their own."""
    return textwrap.fill(
        words,
        width,
        initial_indent=head.ljust(indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
