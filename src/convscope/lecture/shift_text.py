"""What `lecture shift` found, in a table and in plain words. Every sentence is chosen by the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from convscope.lecture.shift_study import MapsRow, NetShifts, ShiftStudy

FEW = 0.05  # the share of images that may lose ink at the shift the sentences speak of


def render(study: ShiftStudy) -> str:
    """The table of accuracies, that of the maps, and the sentences."""
    return "\n".join([_title(study), "", *_accuracies(study), "", *_maps(study.maps), "", *study.sentences])


def sentences(study: ShiftStudy) -> list[str]:
    """What the numbers say: the falls, who falls least, whether answers stay, whether maps move along."""
    px = telling_px(study)
    return [_falls(study, px), _ranking(study, px), _kept(study, px), _maps_sentence(study.maps)]


def telling_px(study: ShiftStudy) -> int:
    """The largest shift at which few images lose ink over the edge, at least 1; beyond it objects are cut."""
    return max([1, *(px for px, share in enumerate(study.cut) if share <= FEW)])


# ---- the tables -----------------------------------------------------------------------------------------------------


def _title(study: ShiftStudy) -> str:
    seeds = f"seed {study.seeds[0]}" if len(study.seeds) == 1 else f"mean of {len(study.seeds)} seeds"
    return (
        f"Accuracy on {study.images:,} test images of {study.data}, moved in four directions "
        f"({study.steps:,} steps of recipe fast, {seeds})."
    )


def _accuracies(study: ShiftStudy) -> list[str]:
    names = [each.contender.name for each in study.nets]
    widths = [max(8, len(name)) for name in names]
    counts = [f"{each.contender.parameters:,}" for each in study.nets]
    head = "moved by  cut off  " + _cells(names, widths)
    rows = [
        f"{px:>5} px   {share:>7.3f}  " + _cells([f"{each.accuracy(px):.4f}" for each in study.nets], widths)
        for px, share in enumerate(study.cut)
    ]
    return [head, "parameters         " + _cells(counts, widths), *rows, *_legend(study)]


def _cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _legend(study: ShiftStudy) -> list[str]:
    return ["“cut off” is the share of images that lose ink over the edge."] + [
        f"{each.contender.name}: {each.contender.words}." for each in study.nets
    ]


def _maps(rows: Sequence[MapsRow]) -> list[str]:
    return [
        "How far the maps of a moved picture are from the moved maps (largest difference / largest number):",
        "moved by  convolutions  after the pool  maxima",
        *(f"{r.shift_px:>5} px  {r.convolutions:>12.3g}  {r.pooled:>14.3g}  {r.maxima:>6.3g}" for r in rows),
    ]


# ---- the sentences --------------------------------------------------------------------------------------------------


def _falls(study: ShiftStudy, px: int) -> str:
    falls = [
        f"{each.contender.name} {_change(each, px)} ({each.accuracy(0):.3f} → {each.accuracy(px):.3f})"
        for each in study.nets
    ]
    return f"Moved by {px} px, {_listed(falls)}."


def _change(each: NetShifts, px: int) -> str:
    points = 100 * (each.accuracy(0) - each.accuracy(px))
    return f"loses {points:.1f} points" if points >= 0 else f"gains {-points:.1f} points"


def _ranking(study: ShiftStudy, px: int) -> str:
    """The lecture's network against the dense one, and the global maximum against both ways to go on; or chance."""
    dense, lecture, globalmax = study.nets
    gain = _loss(dense, px) - _loss(lecture, px)
    if abs(gain) <= _noise(study, px, dense, lecture):
        text = "Within the error of sampling the lecture's network and the dense one lose the same"
    elif gain > 0:
        text = f"The lecture's network loses {100 * gain:.1f} points less than the dense one"
    else:
        text = f"The lecture's network loses {-100 * gain:.1f} points more than the dense one"
    return f"{text}; {_globalmax_clause(study, px, lecture, globalmax)}."


def _globalmax_clause(study: ShiftStudy, px: int, lecture: NetShifts, globalmax: NetShifts) -> str:
    gain = _loss(lecture, px) - _loss(globalmax, px)
    if abs(gain) <= _noise(study, px, lecture, globalmax):
        text = "a global maximum changes nothing about it"
    else:
        text = f"with a global maximum it loses {abs(100 * gain):.1f} points {'less' if gain > 0 else 'more'}"
    at_rest = lecture.accuracy(0) - globalmax.accuracy(0)
    if abs(at_rest) <= _noise(study, 0, lecture, globalmax):
        return text
    joined = "but" if (gain > 0) == (at_rest > 0) else "and"
    return (
        f"{text}, {joined} at rest it is {'worse' if at_rest > 0 else 'better'} by {abs(100 * at_rest):.1f}"
    )


def _kept(study: ShiftStudy, px: int) -> str:
    kept = [f"{100 * each.kept(px):.1f} % with {each.contender.name}" for each in study.nets]
    every = [each.contender.name for each in study.nets if each.kept(px) == 1]
    text = f"The answer stays what it was at rest for {_listed(kept)}"
    if every:
        return f"{text}: {_listed(every)} {'is' if len(every) == 1 else 'are'} invariant there."
    return f"{text}: none of them is invariant in a frame with edges."


def _maps_sentence(rows: Sequence[MapsRow]) -> str:
    """Equivariance of the maps, what the pool leaves of it, invariance of the maxima."""
    worst = max(row.convolutions for row in rows)
    along = (
        "The maps of the convolutions move with the picture exactly (equivariance)"
        if worst == 0
        else f"The maps of the convolutions move with the picture up to {worst:.2g}"
    )
    exact = [row.shift_px for row in rows if row.pooled == 0]
    other = [row.shift_px for row in rows if row.pooled != 0]
    pooled = "after the pool they do" if not other else "after the pool they do not"
    if exact and other:
        pooled = f"after the 2×2 pool only for {_listed([f'{px}' for px in exact])} px"
    maxima = max(row.maxima for row in rows)
    stay = (
        "the maximum of each map does not change at all (invariance), as long as the object is clear of the edges"
        if maxima == 0
        else f"the maximum of each map changes by up to {maxima:.2g}"
    )
    return f"{along}, {pooled}; {stay}."


def _loss(each: NetShifts, px: int) -> float:
    return each.accuracy(0) - each.accuracy(px)


def _noise(study: ShiftStudy, px: int, *compared: NetShifts) -> float:
    """Two standard errors of a difference of accuracies on so many images (the directions show the same ones)."""
    fractions = [min(max(each.accuracy(px), 1 / study.images), 1 - 1 / study.images) for each in compared]
    return 2 * sqrt(sum(fraction * (1 - fraction) for fraction in fractions) / study.images)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
