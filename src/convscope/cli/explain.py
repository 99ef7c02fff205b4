"""convscope explain: a look inside a network while it sees one picture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.ahead import load_torch
from convscope.cli.options import Json
from convscope.cli.output import emit_json, note, say
from convscope.errors import ConvscopeError


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run folder or a model file.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture file.")],
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="A layer: all its maps, and one number written out.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COL[,MAP]", help="Which number of the layer, from 0; without MAP the strongest."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where pictures, page and numbers go.")] = Path(
        "seen"
    ),
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap dark and light first (scans of digits).")
    ] = False,
    top: Annotated[int, typer.Option(help="How many classes to list.")] = 3,
    as_json: Json = False,
) -> None:
    """Show a network's filters and maps for a picture; with --layer and --at, the arithmetic of one number."""
    load_torch(())
    from convscope.explanation import explain as look

    explanation = look(model, image, layer=layer, at=position(at), invert=invert, top=top)
    files = explanation.save(out)
    for sentence in explanation.notes:
        note(sentence[0].upper() + sentence[1:] + ".")
    if as_json:
        return emit_json({**explanation.to_json(), "files": files})
    say(explanation.render(shutil.get_terminal_size().columns))
    say(f"\nOpen {out / 'explain.html'} in a browser; the pictures lie beside it.")


def position(text: str | None) -> tuple[int, ...] | None:
    """`7,10,12` as numbers.

    Raises:
        ConvscopeError: not one to three whole numbers of at least 0.

    >>> position("7,10,12")
    (7, 10, 12)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10)
    if len(numbers) != len(parts) or len(parts) > 3:
        raise ConvscopeError(
            f"--at {text[:80]!r}", "ROW,COLUMN or ROW,COLUMN,MAP, whole numbers from 0", "Try --at 7,10"
        )
    return numbers
