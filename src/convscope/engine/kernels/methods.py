"""The methods of a plan, as far as their kernels can be had here."""

from __future__ import annotations

from convscope.engine.kernels import library
from convscope.engine.kernels.method import Methods, PlainMethod
from convscope.engine.kernels.operations import Kernels
from convscope.engine.kernels.products_operations import OwnProducts
from convscope.engine.kernels.tile_products_operations import TileDense
from convscope.engine.kernels.tiles_operations import tile_method
from convscope.engine.kernels.winograd_operations import winograd_method


def methods_of(convolution: str) -> Methods:
    """Those of `Plan.convolution`: each takes what suits it, and torch the rest."""
    if convolution == "direct":
        return Methods()
    tiles, dense = _found("tiles"), tuple(map(TileDense, _found("tile_products")))
    if convolution == "amx":
        return Methods(next(map(tile_method, tiles), None), (), dense)
    winograd = tuple(map(winograd_method, _found("winograd")))
    own = tuple(map(OwnProducts, _found("products")))
    others: tuple[PlainMethod, ...] = (*own, *(tile_method(found, pictures=False) for found in tiles))
    return Methods(next(iter(winograd), None), others, (*own, *dense))


def _found(name: str) -> tuple[Kernels, ...]:
    """One library or none."""
    built = library.load(name).library
    return () if built is None else (Kernels(built),)
