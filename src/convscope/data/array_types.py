"""Names for the kinds of arrays that travel through this room."""

from __future__ import annotations

from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
"""Pixels (or the content of a file), 0 to 255."""

Labels = np.ndarray[Any, np.dtype[np.int64]]
"""Positions in the class names."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
"""Pixels / 255, or one-hot labels."""
