"""A DataReport as one HTML file with its pictures in it, that opens from disk without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.checking.sheet import every_fit, seen_by_class, small_copy

if TYPE_CHECKING:
    from convscope.data.checking.duplicates import Duplicates
    from convscope.data.checking.report import DataReport
    from convscope.data.checking.source import Item

MOST_GROUPS = 60
MOST_OF_A_GROUP = 8
MOST_ODD = 24
MOST_LINES = 500


def written(report: DataReport, restated: str = "") -> str:
    """The page's text. Words that come from files are escaped.

    Args:
        report: what to show.
        restated: a sentence on a model's accuracy without leakage.
    """
    template = files("convscope.data.checking").joinpath("page.html").read_text("utf-8")
    sheets = _Sheets(report)
    parts = {
        "TITLE": escape(_readable(f"Data check: {report.source.name}")),
        "SUMMARY": escape(_summary(report)),
        "WARNINGS": _warnings(report.warnings),
        "RESTATED": f"<p>{escape(restated)}</p>" if restated else "",
        "CLASSES": _classes(report),
        "FIT": escape(_fit_sentence(report)),
        "SEEN": "".join(sheets.seen()),
        "FITS": sheets.fits(),
        "DUPLICATES": sheets.duplicates(),
        "ODD": sheets.odd(),
        "SKIPPED": _table(
            "Cannot be read", ("file", "reason"), [(skip.path, skip.reason) for skip in report.skipped]
        ),
        "IGNORED": _table(
            "Ignored", ("file", "reason"), [(found.path, found.reason) for found in report.source.ignored]
        ),
    }
    return re.sub(
        r"\{\{([A-Z]+)\}\}", lambda mark: parts[mark[1]], template
    )  # once: what is put in is not searched


def _summary(report: DataReport) -> str:
    sizes = report.sizes
    width, height = sizes["width_px"], sizes["height_px"]
    splits = ", ".join(f"{count:,} in {name}" for name, count in report.splits.items())
    shapes = (
        f"All are {width['max']}×{height['max']} pixels."
        if sizes["different"] == 1
        else f"They are {width['min']} to {width['max']} pixels wide and {height['min']} to {height['max']} high,"
        f" in {sizes['different']:,} different sizes."
    )
    return (
        f"{report.read:,} pictures can be read ({splits}), {len(report.skipped):,} cannot. {shapes} The largest"
        f" class of the training split is {report.imbalance:.1f} times the smallest."
    )


def _fit_sentence(report: DataReport) -> str:
    height, width = report.preprocessing.size_px
    colours = "in colour" if report.preprocessing.channels == 3 else "in gray"
    what = {
        "squash": "stretched to it: nothing is lost, shapes change",
        "crop": "cut to it from the centre: shapes stay, edges are lost",
        "pad": "fitted into it between black bars: nothing is lost, shapes stay, pixels are fewer",
    }
    fit = report.preprocessing.fit
    return (
        f"{width}×{height} pixels {colours}; {fit}: each picture is {what[fit]}. These are the exact pixels."
    )


def _warnings(lines: Sequence[str]) -> str:
    if not lines:
        return "<p class='good'>Nothing to warn of.</p>"
    return (
        "<ol class='warnings'>" + "".join(f"<li>{escape(_readable(line))}</li>" for line in lines) + "</ol>"
    )


def _classes(report: DataReport) -> str:
    most = max((max(counts.values()) for counts in report.counts.values()), default=1) or 1
    head = "".join(f"<th class='number'>{escape(split)}</th>" for split in report.split_names)
    rows = [f"<tr><th>class</th>{head}<th class='bars'></th></tr>"]
    for name, counts in report.counts.items():
        numbers = "".join(f"<td class='number'>{counts[split]:,}</td>" for split in report.split_names)
        bar = f"<div class='bar' style='width:{100 * counts['train'] / most:.0f}%'></div>"
        rows.append(
            f"<tr><td class='path'>{escape(_readable(name))}</td>{numbers}<td class='bars'>{bar}</td></tr>"
        )
    return f"<table class='classes'>{''.join(rows)}</table>"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["<tr>" + "".join(f"<th>{word}</th>" for word in head) + "</tr>"]
    for row in rows[:MOST_LINES]:
        cells = "".join(f"<td class='path'>{escape(_readable(cell))}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    more = f"<p class='hint'>… and {len(rows) - MOST_LINES:,} more.</p>" if len(rows) > MOST_LINES else ""
    return f"<section><h2>{title} ({len(rows):,})</h2><table>{''.join(lines)}</table>{more}</section>"


class _Sheets:
    """The parts of the page that hold pictures."""

    def __init__(self, report: DataReport) -> None:
        self.report = report
        self.positions = {item.path: position for position, item in enumerate(report.source.items)}

    def seen(self) -> Iterable[str]:
        for name, tiles in seen_by_class(self.report):
            figures = "".join(_figure(url, Path(self._item(k).path).name, "seen") for k, url in tiles)
            yield f"<h3>{escape(_readable(name))}</h3><div class='row'>{figures}</div>"

    def fits(self) -> str:
        if not self.report.most_stretched:
            return ""
        rows = []
        for position in self.report.most_stretched:
            figures = "".join(_figure(url, name, "seen") for name, url in every_fit(self.report, position))
            path = escape(_readable(self._item(position).path))
            rows.append(f"<h3>{path}</h3><div class='row'>{figures}</div>")
        hint = "The pictures whose shape differs most from the network's input, by each choice of --fit."
        return f"<section><h2>Squash, crop or pad</h2><p class='hint'>{hint}</p>{''.join(rows)}</section>"

    def duplicates(self) -> str:
        groups = sorted(
            self.report.duplicates,
            key=lambda group: (not group.is_across_splits, not group.is_label_conflict),
        )
        if not groups:
            return ""
        shown = "".join(self._group(group) for group in groups[:MOST_GROUPS])
        more = (
            f"<p class='hint'>… and {len(groups) - MOST_GROUPS:,} more groups.</p>"
            if groups[MOST_GROUPS:]
            else ""
        )
        return f"<section><h2>There more than once ({len(groups):,})</h2>{shown}{more}</section>"

    def odd(self) -> str:
        sections = []
        for name, items in self.report.oddities.items():
            if items:
                figures = "".join(self._copy(item) for item in items[:MOST_ODD])
                title = f"{name.replace('_', ' ').capitalize()} ({len(items):,})"
                sections.append(f"<section><h2>{title}</h2><div class='row'>{figures}</div></section>")
        return "".join(sections)

    def _group(self, group: Duplicates) -> str:
        marks = ["across splits"] if group.is_across_splits else []
        marks += ["different labels"] if group.is_label_conflict else []
        words = f"<b>{', '.join(marks)}</b> " if marks else ""
        figures = "".join(self._copy(item) for item in group.items[:MOST_OF_A_GROUP])
        left = len(group.items) - MOST_OF_A_GROUP
        more = f"<p class='hint'>… and {left:,} more.</p>" if left > 0 else ""
        kind = f"<p class='kind'>{words}{group.kind}</p>"
        css = "group bad" if marks else "group"
        return f"<div class='{css}'>{kind}<div class='row'>{figures}</div>{more}</div>"

    def _copy(self, item: Item) -> str:
        caption = f"{item.split} / {item.class_name} / {Path(item.path).name}"
        return _figure(small_copy(self.report, self.positions[item.path]), caption)

    def _item(self, position: int) -> Item:
        return self.report.source.items[position]


def _figure(url: str, caption: str, css: str = "") -> str:
    words = escape(_readable(caption))
    return f"<figure><img class='{css}' alt='{words}' src='{url}'><figcaption>{words}</figcaption></figure>"


def _readable(text: str) -> str:
    """Names of files may hold bytes that are no letters."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
