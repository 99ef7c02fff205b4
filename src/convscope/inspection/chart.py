"""The lecture's chart "Network size and error rate in ILSVRC": one network's number beside that of several."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

from convscope.inspection.diagram._canvas import LARGE, NORMAL, SMALL, SOFT_INK, Canvas, shaded

ENSEMBLE, SINGLE, LAYERS, HUMAN = "#5b8fc7", "#f0a65a", "#3b6e3b", "#b03a3a"
LEFT, TOP, COLUMN, HEIGHT, TALLEST = 66.0, 92.0, 150.0, 330.0, 0.30
BAR = 46.0


@cache
def _facts() -> dict[str, Any]:
    """The published numbers and where each is from, `nets/ilsvrc.json`."""
    facts: dict[str, Any] = json.loads(files("convscope.nets").joinpath("ilsvrc.json").read_text("utf-8"))
    return facts


def ilsvrc_svg() -> str:
    """The chart as the text of one SVG file: bars for top-5 errors, a line for layers, people's error, and sources.

    Each bar says on pointing what its number is and where it was published; the notes below say it on paper.

    >>> ilsvrc_svg().startswith("<svg")
    True
    """
    facts, canvas = _facts(), Canvas()
    entries = facts["chart"]
    width = LEFT + COLUMN * len(entries) + 150
    title = "Network size and error rate in ILSVRC"
    canvas.text(LEFT - 32, 38, title, size=LARGE, anchor="start", bold=True)
    _key(canvas)
    _axis(canvas, width)
    _human(canvas, facts["human"], width)
    for k, entry in enumerate(entries):
        _column(canvas, entry, LEFT + COLUMN * k, facts["sources"])
    _layer_line(canvas, entries)
    bottom = _notes(canvas, facts)
    return canvas.document(width, bottom + 14, title)


def _y(error: float) -> float:
    return TOP + HEIGHT * (1 - error / TALLEST)


def _key(canvas: Canvas) -> None:
    x = LEFT - 32
    for colour, words in ((ENSEMBLE, "top-5 error of several networks together"), (SINGLE, "of one network")):
        canvas.rect(x, 52, 12, 12, colour, shaded(colour, -0.3), radius=2)
        canvas.text(x + 17, 62, words, size=NORMAL, anchor="start", fill=SOFT_INK)
        x += 17 + 6.6 * len(words) + 20
    canvas.line([(x, 58), (x + 22, 58)], LAYERS, dash="5 3", line=1.6)
    canvas.circle(x + 11, 58, 4, LAYERS, LAYERS)
    canvas.text(x + 28, 62, "layers (compressed scale)", size=NORMAL, anchor="start", fill=SOFT_INK)


def _axis(canvas: Canvas, width: float) -> None:
    for percent in range(0, 31, 5):
        y = _y(percent / 100)
        canvas.line([(LEFT - 6, y), (width - 24, y)], "#e3e7eb" if percent else "#8a949e", line=1)
        canvas.text(LEFT - 10, y + 4, f"{percent} %", size=SMALL, anchor="end", fill=SOFT_INK)


def _column(canvas: Canvas, entry: dict[str, Any], left: float, sources: dict[str, str]) -> None:
    middle = left + COLUMN / 2
    bars = [
        (entry[kind], colour) for kind, colour in (("ensemble", ENSEMBLE), ("single", SINGLE)) if entry[kind]
    ]
    for k, (number, colour) in enumerate(bars):
        x = middle + (k - len(bars) / 2) * (BAR + 4) + 2
        _bar(canvas, entry["name"], number, colour, x, sources)
    rank = "" if entry["rank"] == 1 else ", 2nd place"
    canvas.text(middle, _y(0) + 18, entry["name"], bold=True)
    canvas.text(middle, _y(0) + 33, f"{entry['year']}{rank}", fill=SOFT_INK)
    for k, line in enumerate(_size_lines(entry)):
        canvas.text(middle, _y(0) + 49 + 13 * k, line, size=SMALL, fill=SOFT_INK)


def _bar(
    canvas: Canvas, name: str, number: dict[str, Any], colour: str, x: float, sources: dict[str, str]
) -> None:
    value = number["value"]
    words = f"{name}: {100 * value:.4g} %, {number['is']}. {sources[number['source']]}"
    with canvas.layer([name], "error", words):
        canvas.rect(x, _y(value), BAR, _y(0) - _y(value), shaded(colour, 0.15), shaded(colour, -0.3))
    canvas.text(x + BAR / 2, _y(value) - 5, _percent(value), size=SMALL, bold=True, halo=True)


def _percent(error: float) -> str:
    """As the chart is usually quoted: 16.4 %, and below 5 % with one decimal more."""
    return f"{100 * error:.{1 if error >= 0.05 else 2}f} %"


def _size_lines(entry: dict[str, Any]) -> list[str]:
    if entry["layers"] is None:
        return [entry["method"].split(",")[0], "shallow"]
    return [
        f"{entry['layers']} layers",
        f"{entry['parameters']:,} parameters",
        f"{entry['macs'] / 1e9:.2g} G MACs",
    ]


def _layer_line(canvas: Canvas, entries: list[dict[str, Any]]) -> None:
    """Layers on a logarithmic scale of their own, with the number beside each mark."""
    points = []
    for k, entry in enumerate(entries):
        if entry["layers"] is not None:
            high = math.log(entry["layers"] / 5) / math.log(180 / 5)
            points.append(
                (LEFT + COLUMN * (k + 0.5), _y(0.19) - high * (_y(0.19) - _y(0.295)), entry["layers"])
            )
    canvas.line([(x, y) for x, y, _ in points], LAYERS, dash="5 3", line=1.6)
    for x, y, layers in points:
        canvas.circle(x, y, 4, LAYERS, LAYERS)
        canvas.text(x, y - 9, f"{layers} layers", bold=True, fill=LAYERS, halo=True)


def _human(canvas: Canvas, human: dict[str, Any], width: float) -> None:
    y = _y(human["value"])
    canvas.line([(LEFT - 6, y), (width - 24, y)], HUMAN, dash="7 4", line=1.4)
    words = f"a trained person {100 * human['value']:.1f} %"
    canvas.text(width - 26, y - 5, words, size=SMALL, anchor="end", fill=HUMAN, bold=True, halo=True)


def _notes(canvas: Canvas, facts: dict[str, Any]) -> float:
    """What each number is, a line an entry, and the sources; returns where the text ends."""
    y = _y(0) + 106
    for line in _note_lines(facts):
        indent = 14 if line.startswith(" ") else 0
        canvas.text(LEFT - 32 + indent, y, line.strip(), size=SMALL, anchor="start", fill=SOFT_INK)
        y += 14.5
    return y


def _note_lines(facts: dict[str, Any]) -> list[str]:
    used: list[str] = []

    def cited(number: dict[str, Any]) -> str:
        if number["source"] not in used:
            used.append(number["source"])
        return f"{100 * number['value']:.4g} %, {number['is']} [{used.index(number['source']) + 1}]"

    lines = []
    for entry in facts["chart"]:
        numbers = [cited(entry[kind]) for kind in ("ensemble", "single") if entry[kind]]
        lines.append(f"{entry['name']} {entry['year']}: " + "; ".join(numbers) + ".")
        lines += [f" {entry['note']}."] if entry["note"] else []
    lines.append(f"A person: {cited(facts['human'])}.")
    return [*lines, *(f"[{k}] {facts['sources'][name]}." for k, name in enumerate(used, start=1))]
