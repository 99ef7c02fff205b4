"""Diagrams of networks as SVG, drawn here: no Graphviz, no torch, nothing to install."""

from convscope.inspection.diagram._drawing import draw

__all__ = ["draw"]
