"""Convscope: train a ConvNet at hardware speed, and see through it.

Every public name is loaded when it is first used, so that importing this package is instant and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.benchmark import bench
    from convscope.data import ImageData, Preprocessing, check_data, from_arrays, lecture_arrays, load_data
    from convscope.errors import ConvscopeError
    from convscope.evaluation import evaluate
    from convscope.explanation import explain
    from convscope.inspection import inspect
    from convscope.layers import (
        adaptiveavgpool,
        aux,
        avgpool,
        batchnorm,
        block,
        branches,
        classes,
        conv,
        dense,
        dropout,
        flatten,
        gelu,
        globalpool,
        identity,
        lppool,
        lrn,
        maxpool,
        rbf,
        relu,
        relu6,
        repeat,
        residual,
        sigmoid,
        softmax,
        subsample,
        tanh,
    )  # fmt: skip
    from convscope.model_file import Model, load_model, save_model
    from convscope.net import Net
    from convscope.prediction import predict
    from convscope.training import Recipe, train
    from convscope.transfer_learning import transfer

__version__ = "0.1.0"

__all__ = [
    "ConvscopeError",
    "ImageData",
    "Model",
    "Net",
    "Preprocessing",
    "Recipe",
    "adaptiveavgpool",
    "aux",
    "avgpool",
    "batchnorm",
    "bench",
    "block",
    "branches",
    "check_data",
    "classes",
    "conv",
    "dense",
    "dropout",
    "evaluate",
    "explain",
    "flatten",
    "from_arrays",
    "gelu",
    "globalpool",
    "identity",
    "inspect",
    "lecture_arrays",
    "load_data",
    "load_model",
    "lppool",
    "lrn",
    "maxpool",
    "predict",
    "rbf",
    "relu",
    "relu6",
    "repeat",
    "residual",
    "save_model",
    "sigmoid",
    "softmax",
    "subsample",
    "tanh",
    "train",
    "transfer",
]

# Where a public name lives; whatever is not listed is a word of the vocabulary, in convscope.layers.
_HOMES = {
    "inspect": "convscope.inspection",
    "check_data": "convscope.data",
    "load_data": "convscope.data",
    "train": "convscope.training",
    "evaluate": "convscope.evaluation",
    "explain": "convscope.explanation",
    "predict": "convscope.prediction",
    "transfer": "convscope.transfer_learning",
    "bench": "convscope.benchmark",
    "ConvscopeError": "convscope.errors",
    "ImageData": "convscope.data",
    "Model": "convscope.model_file",
    "Net": "convscope.net",
    "Preprocessing": "convscope.data",
    "Recipe": "convscope.training",
    "from_arrays": "convscope.data",
    "lecture_arrays": "convscope.data",
    "load_model": "convscope.model_file",
    "save_model": "convscope.model_file",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "convscope.layers")), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
