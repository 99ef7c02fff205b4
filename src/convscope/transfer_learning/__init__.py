"""Transfer learning: a good classifier from a small folder, by a network that was trained on a large one.

transfer(data, backbone, mode) -> Run        extract, finetune or scratch, in one call
compare(data, backbone) -> Comparison        the three ways at several numbers of images a class
layers(data, backbone) -> LayerStudy         the first k layers frozen, for each k
"""

from __future__ import annotations

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
