"""A report as plain text for people: totals, the classes, the confusion matrix, the worst mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.evaluation.report import ClassScore, Mistake, Report

MOST_CLASSES_IN_A_MATRIX = 25
MOST_CLASSES_IN_A_TABLE = 50
SHORT_NAME = 10


def render_report(report: Report) -> str:
    """All of it, ending without a line break."""
    sections = [_totals(report), _classes(report.per_class), _confusion(report), _worst(report.worst)]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _totals(report: Report) -> list[str]:
    low, high = report.accuracy_interval
    return [
        f"{report.model} on the {report.split} split of {report.origin}",
        f"accuracy  {report.accuracy:.4f}   {report.correct:,} of {report.n:,} right;"
        f" 95 % interval {low:.4f} to {high:.4f}",
        *_balanced(report),
        f"loss      {report.loss:.4f}",
        *report.notes,
    ]


def _balanced(report: Report) -> Iterator[str]:
    """The mean over the classes, where they are of unequal size."""
    if report.balanced_accuracy is not None:
        counts = sorted((score.n, score.label) for score in report.per_class if score.n)
        (least, rare), (most, common) = counts[0], counts[-1]
        yield (
            f"balanced  {report.balanced_accuracy:.4f}   mean recall of the classes, which are unequal:"
            f" {most:,} of {common!r}, {least:,} of {rare!r}"
        )


def _classes(scores: Sequence[ClassScore]) -> list[str]:
    """One line a class, weakest recall first where there are too many to show them all."""
    shown = list(scores)
    if len(shown) > MOST_CLASSES_IN_A_TABLE:
        shown = sorted(shown, key=lambda score: 2.0 if score.recall is None else score.recall)[
            :MOST_CLASSES_IN_A_TABLE
        ]
    width = max(len("class"), *(len(score.label) for score in shown))
    lines = [f"{'class':<{width}}  {'images':>7}  {'right':>7}  {'recall':>6}  {'precision':>9}  {'f1':>6}"]
    lines += [
        f"{score.label:<{width}}  {score.n:>7,}  {score.correct:>7,}  {_fraction(score.recall):>6}"
        f"  {_fraction(score.precision):>9}  {_fraction(score.f1):>6}"
        for score in shown
    ]
    if len(shown) < len(scores):
        lines.append(f"(the {len(shown)} classes with the lowest recall, of {len(scores)})")
    return lines


def _confusion(report: Report) -> list[str]:
    """The matrix with the true class to the left; a dot for 0, so that the mistakes stand out."""
    if len(report.class_names) > MOST_CLASSES_IN_A_MATRIX:
        return list(_largest_confusions(report))
    names = [_short(name) for name in report.class_names]
    cells = [[f"{count}" if count else "·" for count in row] for row in report.confusion]
    left = max(len(name) for name in names)
    widths = [max(len(name), *(len(row[k]) for row in cells)) for k, name in enumerate(names)]
    header = " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = ["confusion matrix (row: true class, column: what it was called)", f"{'':<{left}}  {header}"]
    for name, row in zip(names, cells, strict=True):
        lines.append(
            f"{name:<{left}}  "
            + " ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        )
    return lines


def _largest_confusions(report: Report, most: int = 20) -> Iterator[str]:
    names = report.class_names
    mistakes = [
        (count, names[i], names[j])
        for i, row in enumerate(report.confusion)
        for j, count in enumerate(row)
        if count and i != j
    ]
    if mistakes:
        yield f"most frequent confusions ({len(names)} classes: the whole matrix is in --json)"
    for count, true, called in sorted(mistakes, key=lambda mistake: -mistake[0])[:most]:
        yield f"{count:>6,}  {true} called {called}"


def _worst(mistakes: Sequence[Mistake]) -> list[str]:
    if not mistakes:
        return []
    lines = ["surest mistakes (number of the image in the split)"]
    lines += [
        f"{m.index:>7,}  {m.true} called {m.predicted}, probability {m.probability:.3f}" for m in mistakes
    ]
    return lines


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _short(name: str) -> str:
    return name if len(name) <= SHORT_NAME else name[: SHORT_NAME - 1] + "…"
