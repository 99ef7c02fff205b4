"""What a network is made of, layer by layer: `inspect` and what it returns."""

from convscope.inspection.table import Inspection, inspect

__all__ = ["Inspection", "inspect"]
