"""The vocabulary: one word a layer, one layer a file. Needs no torch until a module is built.

A word is a frozen dataclass: `conv(32, 3)` says what the layer is, and knows its shape rule, parameters, multiply-adds,
receptive field and torch module. `WORDS` has them all by name; `classes` is the placeholder the data binds.
"""

from convscope.layers._adaptiveavgpool import adaptiveavgpool
from convscope.layers._aux import aux
from convscope.layers._avgpool import avgpool
from convscope.layers._base import Layer, Shape, classes
from convscope.layers._batchnorm import batchnorm
from convscope.layers._block import block
from convscope.layers._branches import branches
from convscope.layers._conv import conv
from convscope.layers._dense import dense
from convscope.layers._dropout import dropout
from convscope.layers._flatten import flatten
from convscope.layers._gelu import gelu
from convscope.layers._globalpool import globalpool
from convscope.layers._identity import identity
from convscope.layers._lppool import lppool
from convscope.layers._lrn import lrn
from convscope.layers._maxpool import maxpool
from convscope.layers._rbf import rbf
from convscope.layers._relu import relu
from convscope.layers._relu6 import relu6
from convscope.layers._repeat import repeat
from convscope.layers._residual import residual
from convscope.layers._sigmoid import sigmoid
from convscope.layers._softmax import softmax
from convscope.layers._subsample import subsample
from convscope.layers._tanh import tanh

PLAIN_WORDS: tuple[type[Layer], ...] = (
    conv, dense, flatten, dropout, maxpool, avgpool, lppool, globalpool, adaptiveavgpool, relu, relu6, gelu, tanh,
    sigmoid, softmax, batchnorm, lrn, identity, subsample, rbf,
)  # fmt: skip
COMPOSITE_WORDS: tuple[type[Layer], ...] = (residual, branches, repeat, block, aux)
WORDS: dict[str, type[Layer]] = {word.__name__: word for word in PLAIN_WORDS + COMPOSITE_WORDS}

__all__ = [
    "COMPOSITE_WORDS", "PLAIN_WORDS", "WORDS", "Layer", "Shape", "adaptiveavgpool", "aux", "avgpool", "batchnorm",
    "block", "branches", "classes", "conv", "dense", "dropout", "flatten", "gelu", "globalpool", "identity", "lppool",
    "lrn", "maxpool", "rbf", "relu", "relu6", "repeat", "residual", "sigmoid", "softmax", "subsample", "tanh",
]  # fmt: skip
