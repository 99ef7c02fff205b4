"""The page: one HTML file with its pictures, numbers and script in it, that opens from disk without a network."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from convscope.explanation.pictures import data_url, enlarged, image_picture, png
from convscope.explanation.report import number, place_text, result_lines
from convscope.explanation.working import Working

if TYPE_CHECKING:
    from convscope.explanation.looking import Explanation

MOST_CONTRIBUTIONS = 20


def written(explanation: Explanation) -> str:
    """The page's text. Words that come from files or models are escaped; numbers travel as JSON."""
    template = files("convscope.explanation").joinpath("page.html").read_text("utf-8")
    parts = {
        "TITLE": escape(f"{explanation.image}: {explanation.top[0][0]}"),
        "PICTURE": data_url(png(enlarged(image_picture(explanation.pixels), 168))),
        "PREDICTION": _prediction(explanation),
        "NOTES": "".join(f"<p class='note'>{escape(note)}.</p>" for note in explanation.notes),
        "STATIC": _static(explanation.working) if explanation.working and not explanation.moving else "",
        "SHEETS": "".join(_sheet(sheet.title, png(sheet.picture)) for sheet in explanation.sheets),
        "DATA": _json(explanation.moving),
    }
    return re.sub(
        r"\{\{([A-Z]+)\}\}", lambda mark: parts[mark[1]], template
    )  # once: what is put in is not searched


def _json(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    return (
        json.dumps(data, allow_nan=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    )


def _prediction(explanation: Explanation) -> str:
    rows = [
        f"<tr><td>{escape(label)}</td><td class='number'>{probability:.3f}</td>"
        f"<td><div class='bar' style='width:{160 * probability:.0f}px'></div></td></tr>"
        for label, probability in explanation.top
    ]
    return "<table>" + "".join(rows) + "</table>"


def _sheet(title: str, content: bytes) -> str:
    words = escape(title)
    return f"<section><h2>{words}</h2><img class='sheet' alt='{words}' src='{data_url(content)}'></section>"


def _static(working: Working) -> str:
    """A number of a layer without a moving window: the result, and what counted most."""
    lines = "".join(f"<p class='formula'>{escape(line)}</p>" for line in result_lines(working))
    table = _contributions(working) if working.contributions is not None else ""
    return f"<section><h2>{escape(f'{working.layer}, {working.where}')}</h2>{lines}{table}</section>"


def _contributions(working: Working) -> str:
    assert working.contributions is not None
    assert working.inputs is not None
    order = np.argsort(-np.abs(working.contributions), kind="stable")[:MOST_CONTRIBUTIONS]
    rows = []
    for k in order.tolist():
        x, product = float(working.inputs[k]), float(working.contributions[k])
        weight = number(product / x) if x else "–"
        cells = "".join(
            f"<td class='number'>{number(v) if isinstance(v, float) else v}</td>"
            for v in (x, weight, product)
        )
        rows.append(f"<tr><td>{escape(place_text(working, k))}</td>{cells}</tr>")
    head = "<tr><th>the inputs that count most</th><th>x</th><th>w</th><th>w·x</th></tr>"
    return f"<table class='plain'>{head}{''.join(rows)}</table>"
