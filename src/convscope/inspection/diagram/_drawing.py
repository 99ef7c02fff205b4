"""`draw`: the whole diagram of a net, its title over it and its key under it."""

from __future__ import annotations

from convscope.inference import Inference, Node
from convscope.inspection.diagram._blocks import Blocks
from convscope.inspection.diagram._canvas import LARGE, NORMAL, SMALL, SOFT_INK, Canvas, shaded, text_width
from convscope.inspection.diagram._figures import Figure, arrow, lines
from convscope.inspection.diagram._items import Folder, Unit, items_of, nodes_in
from convscope.inspection.diagram._volumes import VOLUME_GAP, Volumes, connect
from convscope.inspection.diagram._words import COLOURS, kind_of, maps_label
from convscope.layers._base import Shape, written_shape
from convscope.net import DEFAULT_CLASSES, Net

WIDTH = 1280.0  # of a line of figures, in pixels: a laptop's screen
MARGIN = 34.0
UNFOLDED = 30  # so many volumes are drawn one by one; more are folded where they repeat


def draw(net: Net, input_shape: Shape, classes: int = DEFAULT_CLASSES, *, title: str | None = None) -> str:
    """A diagram of a net as the text of one SVG file.

    A net whose layers stand in a row is drawn as volumes, in the manner of LeNet and AlexNet; one with shortcuts,
    branches or training-only outputs as boxes. What repeats is drawn once with "× 35". The same net gives the same
    text. Each drawn layer is a `<g class="layer">` whose `data-name` names the layers it stands for.

    Args:
        net: the network.
        input_shape: (C, H, W) of a picture, in pixels.
        classes: what the placeholder `classes` stands for.
        title: a line over the diagram; without it there is one only about the numbers.

    Raises ShapeError when the net cannot take the picture.

    >>> from convscope import nets
    >>> draw(nets.get("lecture").net, (1, 28, 28)).startswith("<svg")
    True
    """
    inference = net.infer(input_shape, classes)
    figure = volumes(inference) if in_a_row(inference.nodes) else blocks(inference)
    return _document(figure, inference, title)


def in_a_row(nodes: tuple[Node, ...]) -> bool:
    """Whether no shortcut, branch or training-only output stands in it."""
    return all(
        node.layer.word not in ("residual", "branches", "aux") and all(in_a_row(path) for path in node.paths)
        for node in nodes
    )


def volumes(inference: Inference) -> Figure:
    """A net in a row."""
    items = items_of(inference.nodes)
    num_units = sum(_is_making(node) for item in items for node in nodes_in(item))
    folder = Folder(inference, least=2)
    folded = folder.fold(items) if num_units > UNFOLDED else items
    return lines(Volumes(inference, folder).figures(folded), WIDTH, connect, VOLUME_GAP)


def _is_making(node: Node) -> bool:
    return Unit((node,)).main is not None and not node.paths


def blocks(inference: Inference) -> Figure:
    """A net with shortcuts or branches."""
    folder = Folder(inference)
    figures = Blocks(inference, folder).figures(folder.fold(items_of(inference.nodes)))
    return lines([_picture(inference.input_shape), *figures], WIDTH, arrow)


def _picture(shape: Shape) -> Figure:
    words = ["picture", maps_label(shape)]
    width = max(text_width(line) for line in words) + 12

    def draw_picture(canvas: Canvas, left: float, y: float) -> None:
        colour = COLOURS["input"]
        canvas.rect(left, y - 19, width, 38, shaded(colour, 0.25), shaded(colour, -0.35), radius=4)
        canvas.text(left + width / 2, y - 4, words[0], bold=True)
        canvas.text(left + width / 2, y + 11, words[1])

    return Figure(width, 19, 19, draw_picture)


# Around the figure ----------------------------------------------------------------------------------


def _document(figure: Figure, inference: Inference, title: str | None) -> str:
    canvas = Canvas()
    facts = _facts(inference)
    top = MARGIN
    if title:
        canvas.text(MARGIN, top + 4, _cut(title), size=LARGE, anchor="start", bold=True)
        top += 26
    canvas.text(MARGIN, top, facts, size=NORMAL, anchor="start", fill=SOFT_INK)
    top += 26
    figure.draw(canvas, MARGIN, top + figure.above)
    bottom = top + figure.above + figure.below + 30
    key_width = _key(canvas, inference, bottom)
    title_width = text_width(_cut(title or ""), LARGE) * 1.08
    width = max(figure.width + 20, key_width, text_width(facts), title_width) + 2 * MARGIN
    return canvas.document(width, bottom + 24, title or "A network, layer by layer")


def _cut(title: str) -> str:
    return title if len(title) <= 100 else title[:99] + "…"


def _facts(inference: Inference) -> str:
    aside = inference.parameters_training_only
    more = f" (and {aside:,} only in training)" if aside else ""
    return (
        f"{written_shape(inference.input_shape)} → {written_shape(inference.output_shape)}   ·   "
        f"{inference.parameters:,} parameters{more}   ·   {inference.macs:,} multiply-adds a picture"
    )


def _key(canvas: Canvas, inference: Inference, y: float) -> float:
    """The colours that occur and what the marks mean; returns how wide it is."""
    kinds = {"input"} | {kind_of(leaf) for node in inference.nodes for leaf in _leaves(node)}
    x = MARGIN
    for kind, colour in COLOURS.items():
        if kind in kinds:
            canvas.rect(x, y - 9, 12, 12, shaded(colour, 0.2), shaded(colour, -0.35), radius=2)
            canvas.text(x + 17, y + 1, kind, size=SMALL, anchor="start", fill=SOFT_INK)
            x += 17 + text_width(kind, SMALL) + 16
    words = "64@24×24: 64 maps of 24 rows and 24 columns · /2: stride 2"
    canvas.text(x, y + 1, words, size=SMALL, anchor="start", fill=SOFT_INK)
    return x + text_width(words, SMALL) - MARGIN


def _leaves(node: Node) -> list[Node]:
    if not node.paths:
        return [node]
    return [leaf for path in node.paths for inner in path for leaf in _leaves(inner)]
