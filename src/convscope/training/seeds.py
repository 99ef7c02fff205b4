"""Which seeds a study trains with."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.errors import RecipeError
from convscope.training.settings import refuse, whole


def chosen_seeds(seeds: int | Sequence[int], least: int, fix: str) -> tuple[int, ...]:
    """So many seeds from 0, or those that are given; different ones, and at least `least`.

    Raises:
        RecipeError: they are fewer, or one stands there twice; `fix` says what to try.

    >>> chosen_seeds(3, 1, ""), chosen_seeds([7, 9], 2, "")
    ((0, 1, 2), (7, 9))
    """
    if isinstance(seeds, int):
        refuse(whole("seeds", seeds, least=least, fix=fix))
        return tuple(range(seeds))
    which = tuple(seeds)
    if len(set(which)) < max(least, len(which)):
        number = {1: "one", 2: "two different ones"}[least]
        raise RecipeError(f"the seeds {list(which)}" if which else "no seeds", f"at least {number}", fix)
    return which
