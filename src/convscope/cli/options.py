"""Options that several commands share, and the reading of shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.errors import ConvscopeError

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder with mnist/, cifar10/ …; else CONVSCOPE_DATA, the cache, mirrors."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing; use what is at hand.")]
Salvage = Annotated[
    bool, typer.Option("--salvage", help="Read what damaged files still hold, instead of skipping them.")
]
MostUnreadable = Annotated[
    float | None,
    typer.Option(
        "--most-unreadable",
        metavar="SHARE",
        help="Stop when more than this share of the picture files cannot be read; default: 0.5.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, or cuda.")]
Fit = Annotated[
    str | None,
    typer.Option(
        "--fit", help="How pictures of another shape are brought to that size: squash, crop or pad."
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        help="What happens to training images: none, light, photos, or words such as 'flip, zoom, trivial, mixup'.",
    ),
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the training images.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]


def shape(text: str | None) -> tuple[int, int, int] | None:
    """`1,28,28` as (channels, height, width) in pixels.

    Raises:
        ConvscopeError: not three whole numbers of at least 1.

    >>> shape("3,224,224")
    (3, 224, 224)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.replace("×", ",").replace("x", ",").split(",")]
    sizes = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 7]
    if len(sizes) != 3 or len(parts) != 3 or min(sizes) < 1:
        raise ConvscopeError(
            f"--input {text!r}",
            "channels,height,width, three whole numbers of at least 1",
            "Try --input 1,28,28",
        )
    return sizes[0], sizes[1], sizes[2]
