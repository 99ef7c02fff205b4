"""convscope inspect: what every layer of a network does to the shape, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import Json, shape
from convscope.cli.output import emit_json, say

if TYPE_CHECKING:
    from convscope.net import Net


def inspect(
    net: Annotated[
        str,
        typer.Argument(
            metavar="NET",
            help="A network's name, a .net file, text such as 'flatten, dense(classes)', or a model.",
        ),
    ],
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Channels, height and width of the images.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes the placeholder stands for.")] = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiplications, receptive fields. Needs no torch."""
    from convscope.inspection import inspect as inspect_net

    described, own_shape, own_classes = _described(net)
    inspection = inspect_net(
        described, shape(input_shape) or own_shape, classes if classes is not None else own_classes
    )
    if as_json:
        return emit_json(inspection.to_json())
    say(inspection.render())


def _described(text: str) -> tuple[Net, tuple[int, int, int] | None, int | None]:
    """What NET means, with the input and the number of classes that come with it."""
    from convscope import nets
    from convscope.net import Net

    if text not in nets.names() and _is_model(text):
        from convscope.model_file import read_card

        card: dict[str, Any] = read_card(text)
        channels, height, width = card["input_shape"]
        return Net.parse(card["net"]["text"]), (channels, height, width), len(card["class_names"])
    label, net = nets.resolve(text)
    if label != text:  # a text or a file, which say nothing about the pictures they are for
        return net, None, None
    entry = nets.get(label)
    return net, entry.input_shape, entry.classes


def _is_model(text: str) -> bool:
    """Whether the text is the path of a model file or run folder; text of a network is too long or odd to be one."""
    try:
        path = Path(text)
        return path.suffix == ".safetensors" or path.is_dir()
    except OSError:
        return False
