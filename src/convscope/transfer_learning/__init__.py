"""Transfer learning: a good classifier from a small folder, by a network that was trained on a large one.

transfer(data, backbone, mode) -> Run        extract, finetune or scratch, in one call
compare(data, backbone) -> Comparison        the three ways at several numbers of images a class
layers(data, backbone) -> LayerStudy         the first k layers frozen, for each k
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.transfer_learning.backbones import Backbone, find
    from convscope.transfer_learning.comparing import compare
    from convscope.transfer_learning.comparison_text import Comparison
    from convscope.transfer_learning.layerwise import LayerStudy, frozen_and_trained, layers
    from convscope.transfer_learning.start import transfer

__all__ = [
    "Backbone",
    "Comparison",
    "LayerStudy",
    "compare",
    "find",
    "frozen_and_trained",
    "layers",
    "transfer",
]

# Where a name lives; only what is used is loaded, so that a head on kept features is there at once.
_HOMES = {
    "Backbone": "backbones",
    "find": "backbones",
    "compare": "comparing",
    "Comparison": "comparison_text",
    "LayerStudy": "layerwise",
    "frozen_and_trained": "layerwise",
    "layers": "layerwise",
    "transfer": "start",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value
