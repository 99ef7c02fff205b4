"""Where images come from, checked and brought to one shape: `load_data` and what it returns.

a name, a folder, arrays  ->  load_data / from_arrays  ->  ImageData(train, validation, test, Preprocessing)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convscope.data.arrays import from_arrays, lecture_arrays
from convscope.data.download import Transfer
from convscope.data.image_data import ImageData, Split
from convscope.data.load import datasets, load_data
from convscope.data.pictures import read_image
from convscope.data.preprocessing import Preprocessing

if TYPE_CHECKING:
    from convscope.data.checking import DataReport, check_data

__all__ = [
    "DataReport",
    "ImageData",
    "Preprocessing",
    "Split",
    "Transfer",
    "check_data",
    "datasets",
    "from_arrays",
    "lecture_arrays",
    "load_data",
    "read_image",
]


def __getattr__(name: str) -> Any:
    """What checks data is loaded when it is first asked for: training needs none of it."""
    if name not in ("DataReport", "check_data"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("convscope.data.checking"), name)
