"""The reference: a network as a plain torch module, one submodule a word, sole owner of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.reference.network import Network

__all__ = ["Network"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: the codes of `rbf` beside it are read without torch.
    if name != "Network":
        raise AttributeError(f"module 'convscope.reference' has no attribute {name!r}")
    from convscope.reference.network import Network

    return Network
