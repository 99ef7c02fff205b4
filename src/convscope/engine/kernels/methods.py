"""The methods of a plan, as far as their kernels can be had here."""

from __future__ import annotations

from convscope.engine.kernels import library
from convscope.engine.kernels.method import Method, Methods, PlainMethod
from convscope.engine.kernels.operations import Kernels
from convscope.engine.kernels.products_operations import OwnProducts
from convscope.engine.kernels.tile_products_operations import TileDense
from convscope.engine.kernels.tiles_operations import tile_method
from convscope.engine.kernels.winograd_operations import winograd_method


def methods_of(convolution: str, precision: str) -> Methods:
    """Those of `Plan.convolution` in `Plan.precision`: each takes what suits it, and torch the rest."""
    if convolution == "direct":
        return Methods()
    tiles, dense = _found("tiles"), tuple(map(TileDense, _found("tile_products")))
    if convolution == "amx":
        return Methods(next(map(tile_method, tiles), None), (), dense)
    winograd = _winograd(precision == "bfloat16")
    own = tuple(map(OwnProducts, _found("products")))
    others: tuple[PlainMethod, ...] = (*own, *(tile_method(found, pictures=False) for found in tiles))
    return Methods(winograd, others, (*own, *dense))


def _winograd(bfloat16: bool) -> Method | None:
    """With the library for bfloat16 maps only where they are wanted, as each takes seconds to build."""
    if (plain := library.load("winograd").library) is None:
        return None
    if not bfloat16:
        return winograd_method(Kernels(plain), half=False)
    half = library.load("winograd_half").library
    other = half or library.load("winograd_bfloat16").library
    return winograd_method(Kernels(plain, other), half=half is not None) if other else None


def _found(name: str) -> tuple[Kernels, ...]:
    """One library or none."""
    built = library.load(name).library
    return () if built is None else (Kernels(built),)
