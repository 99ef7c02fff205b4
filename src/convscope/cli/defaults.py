"""What is chosen when no network is named, and the sentence that says so."""

from __future__ import annotations

from pathlib import Path

# A small residual net: 64 px → 32 → 16 → 8 → 4, four stages of one block, no dense layer that grows with the image.
PHOTO_NET = """
    conv(32, 3, stride=2, padding=1, bias=False), batchnorm, relu,
    residual(conv(32, 3, padding=1, bias=False), batchnorm, relu, conv(32, 3, padding=1, bias=False), batchnorm), relu,
    residual(conv(64, 3, stride=2, padding=1, bias=False), batchnorm, relu, conv(64, 3, padding=1, bias=False),
             batchnorm, shortcut="projection"), relu,
    residual(conv(128, 3, stride=2, padding=1, bias=False), batchnorm, relu, conv(128, 3, padding=1, bias=False),
             batchnorm, shortcut="projection"), relu,
    residual(conv(256, 3, stride=2, padding=1, bias=False), batchnorm, relu, conv(256, 3, padding=1, bias=False),
             batchnorm, shortcut="projection"), relu,
    globalpool, dropout(0.2), dense(classes)
"""


def chosen_net(data: str | None, net: str | None) -> tuple[str | None, str]:
    """The network to train and a sentence on why, for a folder of pictures; otherwise what was named, or None."""
    if net is not None or data is None or not _is_place_of_images(data):
        return net, ""
    return PHOTO_NET, (
        f"No network was named and {data} {_holds(data)}: a small residual net is chosen, because photos"
        " need more layers than digits and it learns from few images. Name another with --net."
    )


def _holds(data: str) -> str:
    return "is a folder of pictures" if Path(data).expanduser().is_dir() else "holds pictures"


def _is_place_of_images(data: str) -> bool:
    """A data set's name wins over a folder or file of that name."""
    from convscope.data import sets

    try:
        return data not in sets.BY_NAME and Path(data).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes; loading it says so
        return False
