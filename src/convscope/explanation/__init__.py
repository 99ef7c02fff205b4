"""A first look inside a trained network: its filters, its maps, and one number of a layer written out."""

from convscope.explanation.looking import Explanation, explain

__all__ = ["Explanation", "explain"]
