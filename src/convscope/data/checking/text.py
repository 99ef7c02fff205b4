"""A DataReport as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convscope.data.class_folders import enumerated

if TYPE_CHECKING:
    from convscope.data.checking.duplicates import Duplicates
    from convscope.data.checking.report import DataReport

MOST_CLASSES = 60
MOST_GROUPS = 10
MOST_FILES = 20


def rendered(report: DataReport) -> str:
    """The report, what needs attention at its end where it is read."""
    parts = (_head, _class_table, _size_lines, _skip_lines, _duplicate_lines, _leak_lines, _warning_lines)
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part(report))))


def _head(report: DataReport) -> Iterator[str]:
    splits = ", ".join(f"{count:,} in {name}" for name, count in report.splits.items())
    yield f"{report.source.name}: {report.read:,} pictures can be read ({splits})."
    reasons = Counter(found.reason for found in report.source.ignored)
    if reasons:
        yield "Ignored: " + ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) + "."


def _class_table(report: DataReport) -> Iterator[str]:
    splits = report.split_names
    rows = [[name, *(f"{counts[split]:,}" for split in splits)] for name, counts in report.counts.items()]
    yield from _columns([["class", *splits], *rows[:MOST_CLASSES]])
    if len(rows) > MOST_CLASSES:
        yield f"… and {len(rows) - MOST_CLASSES:,} more classes"


def _size_lines(report: DataReport) -> Iterator[str]:
    sizes = report.sizes
    width, height, aspect = sizes["width_px"], sizes["height_px"], sizes["aspect"]
    if sizes["different"] == 1:
        yield f"Size: all {width['max']}×{height['max']} pixels."
    else:
        yield (
            f"Sizes: {width['min']} to {width['max']} pixels wide (half of them up to {width['median']}),"
            f" {height['min']} to {height['max']} high (up to {height['median']});"
            f" width / height {aspect['min']:.2f} to {aspect['max']:.2f}; {sizes['different']:,} different sizes."
        )
    rows, columns = report.preprocessing.size_px
    colours = "RGB" if report.preprocessing.channels == 3 else "gray"
    yield f"A network would see {columns}×{rows} pixels, {colours}, fitted by {report.preprocessing.fit!r}."


def _skip_lines(report: DataReport) -> Iterator[str]:
    if report.skipped:
        yield f"Cannot be read ({len(report.skipped):,}):"
    yield from (f"  {skip.path}: {skip.reason}" for skip in report.skipped[:MOST_FILES])
    if len(report.skipped) > MOST_FILES:
        yield f"  … and {len(report.skipped) - MOST_FILES:,} more; --skip-list FILE writes them all"


def _duplicate_lines(report: DataReport) -> Iterator[str]:
    groups = report.duplicates
    if not groups:
        yield "No picture is there twice."
        return
    kinds = Counter(group.kind for group in groups)
    yield f"There more than once ({', '.join(f'{count:,} {kind}' for kind, count in kinds.items())}):"
    worst = sorted(groups, key=lambda group: (not group.is_across_splits, not group.is_label_conflict))
    yield from (f"  {_group(group)}" for group in worst[:MOST_GROUPS])
    if len(worst) > MOST_GROUPS:
        yield f"  … and {len(worst) - MOST_GROUPS:,} more groups; --html FILE shows them"


def _group(group: Duplicates) -> str:
    marks: list[str] = [group.kind]
    marks += ["across splits"] if group.is_across_splits else []
    marks += ["different labels"] if group.is_label_conflict else []
    return f"{', '.join(marks)}: {enumerated([item.path for item in group.items], ' = ')}"


def _leak_lines(report: DataReport) -> Iterator[str]:
    for split in report.split_names[1:]:
        count = sum(leak.item.split == split for leak in report.leakage)
        if count:
            total, verb = report.splits[split], "is" if count == 1 else "are"
            yield f"Leakage: {count:,} of {total:,} pictures in {split} {verb} in an earlier split too."


def _warning_lines(report: DataReport) -> Iterator[str]:
    if not report.warnings:
        yield "Nothing to warn of."
        return
    yield "Look at this before training:"
    yield from (f"  {number}. {line}" for number, line in enumerate(report.warnings, 1))


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()
