"""convscope inspect: what every layer of a network does to the shape, what it costs, why, and the same as code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import Json, shape
from convscope.cli.output import emit_json, note, say

if TYPE_CHECKING:
    from convscope.inspection import Inspection

NOT_A_TERMINAL = (100, 24)


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
    why: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="How the numbers of one layer come about, step by step."),
    ] = None,
    as_code: Annotated[
        str | None,
        typer.Option("--as", metavar="LIBRARY", help="Print source that defines `model`: torch or keras."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the network into this file, as SVG.")
    ] = None,
    all_layers: Annotated[
        bool, typer.Option("--all", help="A line for each layer, however deep the network.")
    ] = False,
    against_dense: Annotated[
        bool,
        typer.Option("--against-dense", help="All numbers of the comparison with fully connected layers."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiplications, receptive fields. Needs no torch."""
    from convscope.inspection import inspect as inspect_net

    _refuse_both(why, as_code)
    inspection = inspect_net(net, shape(input_shape), classes)
    width = shutil.get_terminal_size(NOT_A_TERMINAL).columns
    if why is not None:
        derivation = inspection.why(why)
        document, text = derivation.to_json(), derivation.render(width)
    elif as_code is not None:
        text = inspection.code(as_code)
        document = {"library": as_code, "source": text}
    else:
        document = inspection.to_json()
        text = inspection.render(width, all_layers=all_layers, against_dense=against_dense)
    if svg is not None:
        _draw(inspection, net, svg)
    emit_json(document) if as_json else say(text.rstrip("\n"))


def _refuse_both(why: str | None, as_code: str | None) -> None:
    if why is not None and as_code is not None:
        from convscope.errors import ConvscopeError

        raise ConvscopeError(
            f"--why {why} together with --as {as_code}",
            "one of them, since each is the whole answer",
            "Ask twice",
        )


def _draw(inspection: Inspection, net: str, file: Path) -> None:
    """Write the drawing beside its place and move it there, so that a failure leaves no half of one."""
    from convscope import nets
    from convscope.errors import ConvscopeError

    picture = inspection.svg(title=net if net in nets.names() else None)
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(picture, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConvscopeError(
            f"--svg {file}: {error.strerror}", "a file in a folder that exists and can be written"
        ) from None
    note(f"The drawing is in {file}.")
