"""The reference: a network as a plain torch module, one submodule a word, sole owner of the weights."""

from convscope.reference.network import Network

__all__ = ["Network"]
