"""`explain`: what a network makes of one picture, as pictures, numbers and a page."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.data import read_image
from convscope.errors import ConvscopeError
from convscope.explanation import folder, page, report
from convscope.explanation.moving import moving_window
from convscope.explanation.pictures import (
    Tile,
    contact_sheet,
    filter_picture,
    image_picture,
    map_picture,
    png,
    range_text,
    sheet,
)
from convscope.explanation.tracing import Tracer
from convscope.explanation.working import Working, filter_of, stretched_maps, work_out
from convscope.inference import Node
from convscope.layers._base import written_shape
from convscope.model_file import Model, load_model
from convscope.prediction.inversion import expects_light_on_dark, looks_dark_on_light

if TYPE_CHECKING:
    from PIL import Image

    from convscope.data.array_types import Bytes

MOST_FILTERS = 128
MOST_MAPS = 256
MAPS_A_LAYER = 16
MOST_LAYERS = 200
BLACK_TO_WHITE = "each from black, its smallest, to white, its largest number"


@dataclass(frozen=True)
class Sheet:
    """Pictures of one layer.

    Attributes:
        kind: "filters", "templates", "maps" or "all maps".
        shown, count: how many are on it, of how many.
        ranges: the smallest and largest number of each that is shown.
    """

    kind: str
    layer: str | None
    title: str
    picture: Image.Image = field(repr=False)
    shown: int
    count: int
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def file_name(self) -> str:
        """What the picture is called in a folder."""
        return "maps.png" if self.layer is None else f"{self.layer}-{self.kind}.png"

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels."""
        ranges = [{"minimum": low, "maximum": high} for low, high in self.ranges]
        return {
            "kind": self.kind, "layer": self.layer, "file": self.file_name, "shown": self.shown, "count": self.count,
            "ranges": ranges,
        }  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        image: the picture's path.
        top: the likeliest classes with their probabilities.
        layer: the layer asked for, or None.
        sheets: filters and maps as pictures.
        working: one number written out: the one asked for, or where a layer was asked for its largest.
        notes: what was left out or looks wrong, in sentences.
    """

    image: str
    top: tuple[tuple[str, float], ...]
    layer: str | None
    sheets: tuple[Sheet, ...]
    working: Working | None
    notes: tuple[str, ...]
    pixels: Bytes = field(repr=False)
    moving: dict[str, Any] | None = field(repr=False)
    asked_at: bool = False

    def to_json(self) -> dict[str, Any]:
        """The document of `explain --json` and explain.json, without the names of files written."""
        return {
            "image": self.image, "label": self.top[0][0], "probability": self.top[0][1],
            "top": [[label, probability] for label, probability in self.top], "layer": self.layer,
            "sheets": [sheet.to_json() for sheet in self.sheets],
            "working": self.working.to_json() if self.working else None, "notes": list(self.notes),
        }  # fmt: skip

    def render(self, width: int = 80) -> str:
        """What a terminal of so many columns shows."""
        return report.rendered(self, width)

    def page(self) -> str:
        """One HTML page that opens from disk and needs nothing else."""
        return page.written(self)

    def save(self, where: str | os.PathLike[str]) -> list[Path]:
        """Write the pictures, explain.html and explain.json to a folder, and return what was written.

        Raises ConvscopeError where the folder holds something that `explain` did not write.
        """
        contents = {"picture.png": png(image_picture(self.pixels))}
        contents |= {sheet.file_name: png(sheet.picture) for sheet in self.sheets}
        contents["explain.html"] = self.page().encode("utf-8")
        return folder.write(Path(where), contents, self.to_json())


def explain(
    model: Model | str | os.PathLike[str],
    image: str | os.PathLike[str],
    *,
    layer: str | None = None,
    at: tuple[int, ...] | None = None,
    invert: bool = False,
    top: int = 3,
) -> Explanation:
    """Look inside a network while it sees one picture.

    Args:
        model: a model, its file, or a run folder.
        image: a picture file; it is prepared with the model's own preprocessing.
        layer: a layer's name, for all its maps; without it the first layer's filters and every convolution's maps.
        at: (row, column), (row, column, map) or, for a vector, (index,), all from 0: that number is written out.
        invert: swap dark and light first, for scans of dark ink on light paper.
        top: how many classes to list.

    Raises:
        ConvscopeError: there is no such layer, or the position is outside its maps.
        DataError: the picture cannot be read.
        ModelFileError: the model cannot be read.
    """
    if at is not None and layer is None:
        raise ConvscopeError("a position without a layer", "a layer's name too", "Try --layer conv1")
    if top < 1:
        raise ConvscopeError(f"top {top}", "a whole number of at least 1", "Try 3")
    loaded = model if isinstance(model, Model) else load_model(model)
    pixels = read_image(image, loaded.preprocessing)
    tracer = Tracer(loaded, 255 - pixels if invert else pixels)
    if layer is not None:
        tracer.node(layer)
    working = _working(tracer, layer, at)
    sheets = layer_sheets(tracer, layer) if layer is not None else overview_sheets(tracer)
    return Explanation(
        image=str(image), top=tuple(tracer.top(top)), layer=layer, sheets=tuple(sheets), working=working,
        notes=tuple(_notes(tracer, sheets, invert)), pixels=tracer.pixels,
        moving=moving_window(tracer, working) if working else None, asked_at=at is not None,
    )  # fmt: skip


def _working(tracer: Tracer, layer: str | None, at: tuple[int, ...] | None) -> Working | None:
    if layer is not None:
        return work_out(tracer, layer, at)
    first = next((name for name, node in tracer.nodes.items() if node.layer.word == "conv"), None)
    return work_out(tracer, first, None) if first else None


# Sheets ---------------------------------------------------------------------------------------------


def layer_sheets(tracer: Tracer, name: str) -> list[Sheet]:
    """All maps of one layer, at most MOST_MAPS of them; a vector has none."""
    output = tracer.passages([name])[name].after
    if output.ndim != 3:
        return []
    shown = output[:MOST_MAPS]
    tiles = [Tile(map_picture(numbers), f"{k}: {range_text(numbers)}") for k, numbers in enumerate(shown)]
    title = f"{name}: {_of(len(shown), len(output), 'maps')} of {written_shape(output.shape[1:])}, {BLACK_TO_WHITE}"
    side = min(96, max(48, 3 * max(output.shape[1:])))
    return [
        Sheet("maps", name, title, sheet(tiles, title, side), len(shown), len(output), _ranges(list(shown)))
    ]


def overview_sheets(tracer: Tracer) -> list[Sheet]:
    """The first layer's filters or templates, and maps of every convolution."""
    return [sheet for sheet in (_first_layer(tracer), _all_maps(tracer)) if sheet is not None]


def _first_layer(tracer: Tracer) -> Sheet | None:
    """The weights of the first layer that has any, where they can be seen: a filter, or a dense layer's templates."""
    first = next((node for node in tracer.nodes.values() if node.layer.word in ("conv", "dense")), None)
    if first is None:
        return None
    if first.layer.word == "conv":
        return _filters(tracer, first)
    shape = stretched_maps(tracer, first)
    return _templates(tracer, first, shape) if shape else None


def _filters(tracer: Tracer, node: Node) -> Sheet:
    count = tracer.shapes(node.name)[1][0]
    weights = [filter_of(tracer, node, k)[1] for k in range(min(count, MOST_FILTERS))]
    tiles = [Tile(filter_picture(w), f"{k}: {range_text(w)}") for k, w in enumerate(weights)]
    what = f"{_of(len(weights), count, 'filters')} of {written_shape(weights[0].shape)} weights"
    title = f"{node.name}: {what}. {_colours(len(weights[0]))}"
    return Sheet("filters", node.name, title, sheet(tiles, title, 64), len(weights), count, _ranges(weights))


def _templates(tracer: Tracer, node: Node, shape: tuple[int, ...]) -> Sheet:
    """Each row of weights of a dense layer, put back into the shape of the picture."""
    module: Any = tracer.submodule(node.name)
    rows = module.weight.detach().double().numpy()
    weights = [row.reshape(shape) for row in rows[:MOST_FILTERS]]
    names = (
        tracer.model.class_names
        if len(rows) == len(tracer.model.class_names) and _is_last(tracer, node)
        else ()
    )
    labels = [names[k] if names else str(k) for k in range(len(weights))]
    tiles = [
        Tile(filter_picture(w), f"{n[:16]}: {range_text(w)}") for n, w in zip(labels, weights, strict=True)
    ]
    what = f"{_of(len(weights), len(rows), 'templates')} of {written_shape(shape)} weights"
    title = f"{node.name}: {what}. {_colours(shape[0])}"
    side = 128 if len(weights) <= 20 else 96
    return Sheet(
        "templates", node.name, title, sheet(tiles, title, side), len(weights), len(rows), _ranges(weights)
    )


def _is_last(tracer: Tracer, node: Node) -> bool:
    return all(later.layer.word == "softmax" for later in tracer.after(node.name))


def _colours(maps: int) -> str:
    return "Gray is 0" if maps == 3 else "Red is positive, blue negative, white 0"


def _all_maps(tracer: Tracer) -> Sheet | None:
    """Some maps of every convolution, a row each."""
    names = [name for name, node in tracer.nodes.items() if node.layer.word == "conv"]
    if not names:
        return None
    maps = tracer.first_maps(names[:MOST_LAYERS], MAPS_A_LAYER)
    rows = [
        (f"{name}  {written_shape(tracer.shapes(name)[1])}", [map_picture(numbers) for numbers in maps[name]])
        for name in names[:MOST_LAYERS]
    ]
    title = f"The first {MAPS_A_LAYER} maps of each convolution; black is a map's smallest, white its largest number"
    return Sheet("all maps", None, title, contact_sheet(rows, title), len(rows), len(names))


def _of(shown: int, count: int, what: str) -> str:
    return f"{count} {what}" if shown == count else f"the first {shown} of {count} {what}"


def _ranges(numbers: list[Any]) -> tuple[tuple[float, float], ...]:
    return tuple((float(np.min(n)), float(np.max(n))) for n in numbers)


def _notes(tracer: Tracer, sheets: list[Sheet], invert: bool) -> list[str]:
    notes = [
        f"{sheet.layer or 'maps.png'}: {sheet.shown} of {sheet.count} shown"
        for sheet in sheets
        if sheet.shown < sheet.count
    ]
    if expects_light_on_dark(tracer.model) and looks_dark_on_light(tracer.pixels):
        again = "without --invert" if invert else "with --invert"
        notes.append(
            "the picture looks like dark ink on light paper, and this model has learned light digits on a dark "
            f"ground; try again {again}"
        )
    return notes
