"""What a network is made of, layer by layer: `inspect` and what it returns."""

from convscope.inspection.view import Inspection, inspect

__all__ = ["Inspection", "inspect"]
