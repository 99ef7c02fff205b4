"""What a person should look at before training, in sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.class_folders import enumerated

if TYPE_CHECKING:
    from convscope.data.checking.report import DataReport

MOST_IMBALANCE = 2
"""From here on the balanced accuracy is reported, too."""
FEWEST_PICTURES = 20


def warnings_of(report: DataReport) -> list[str]:
    """All of them; an empty list where nothing is wrong."""
    return [*_leaks(report), *_copies(report), *_classes(report), *_unreadable(report), *_odd(report)]


def _leaks(report: DataReport) -> Iterator[str]:
    for split in report.split_names[1:]:
        leaks = [leak for leak in report.leakage if leak.item.split == split]
        if leaks:
            total = report.splits[split]
            yield (
                f"{_counted(len(leaks), 'picture')} of {total:,} in {split} ({len(leaks) / total:.1%}) can be"
                f" learned by heart: {'it is' if len(leaks) == 1 else 'they are'} in an earlier split too, or nearly."
            )


def _copies(report: DataReport) -> Iterator[str]:
    conflicts = [group for group in report.duplicates if group.is_label_conflict]
    if conflicts:
        example = conflicts[0].items
        other = next(item for item in example if item.class_name != example[0].class_name)
        yield (
            f"{_counted(len(conflicts), 'picture')} with more than one label, like {example[0].path}"
            f" ({example[0].class_name}) and {other.path} ({other.class_name})."
        )
    copies = sum(len(group.items) - 1 for group in report.duplicates)
    if copies:
        yield f"{_counted(copies, 'picture')} can go without much loss: a copy of another, or nearly."


def _classes(report: DataReport) -> Iterator[str]:
    trained = {name: counts["train"] for name, counts in report.counts.items()}
    if report.imbalance >= MOST_IMBALANCE:
        most, least = max(trained, key=trained.__getitem__), min(trained, key=trained.__getitem__)
        yield (
            f"Classes are of unequal size: {most!r} has {trained[most]:,} training pictures,"
            f" {least!r} {trained[least]:,}. train --balance weights (or sampler) makes them count the same."
        )
    few = [f"{name!r} ({count})" for name, count in trained.items() if count < FEWEST_PICTURES]
    if few:
        yield f"Fewer than {FEWEST_PICTURES} training pictures: {enumerated(few)}."
    for split in report.split_names[1:]:
        missing = [repr(name) for name, counts in report.counts.items() if not counts[split]]
        if missing:
            yield f"No picture in {split} of {enumerated(missing)}: nothing will be known about it."


def _unreadable(report: DataReport) -> Iterator[str]:
    if report.skipped:
        total = report.read + len(report.skipped)
        yield f"{_counted(len(report.skipped), 'file')} of {total:,} cannot be read and would be skipped."
    yield from report.source.notes
    lost = [found for found in report.source.ignored if found.reason.startswith("a picture")]
    if lost:
        names = enumerated([Path(found.path).name for found in lost])
        yield f"{_counted(len(lost), 'picture')} {lost[0].reason.removeprefix('a picture ')}: {names}."


def _odd(report: DataReport) -> Iterator[str]:
    height, width = report.preprocessing.size_px
    stretched = len(report.stretched)
    if stretched:
        what = {"squash": "is stretched", "crop": "loses its ends", "pad": "gets broad bars"}
        fit = report.preprocessing.fit
        yield (
            f"{_counted(stretched, 'picture')} of another shape than {width}×{height}: with {fit!r} each"
            f" {what[fit]}; --fit chooses squash, crop or pad."
        )
    for items, words in (
        (report.blank, "of one colour"),
        (report.blurred, "without a sharp edge"),
        (report.tiny, f"less than half as large as the {width}×{height} that the network would get"),
        (report.several, "that are animations or have several pages; the first is used"),
    ):
        if items:
            yield f"{_counted(len(items), 'picture')} {words}: {enumerated([item.path for item in items])}."


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
