"""What windows do: templates, filters, pooling, moved pictures. Each function is one claim, on whole numbers."""

from __future__ import annotations

import random

from convscope.layers import conv
from convscope.lecture.check_arithmetic import (
    Picture,
    Reduce,
    convolution,
    correlation,
    difference,
    dot,
    flat,
    flipped,
    moved,
    norm,
    object_on_zeros,
    pooled,
    random_maps,
    unit_vector,
    window,
)
from convscope.lecture.check_claim import Claim, judged

FIGURE: Picture = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]  # slide 8
ACROSS: Picture = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]  # answers to horizontal edges (Prewitt)
ALONG: Picture = [list(column) for column in zip(*ACROSS, strict=True)]  # to vertical ones
OTHERS = 1_000


def _flat(picture: list[list[float]]) -> list[float]:
    return [x for row in picture for x in row]


def _largest(picture: Picture) -> int:
    return max(abs(x) for row in picture for x in row)


def l6() -> Claim:
    """One fixed shuffle of the pixels, in a dense layer and in a convolution."""
    picture, kernel = random_maps(0, 1, 8, 8)[0], random_maps(1, 1, 3, 3)[0]
    order = random.Random(2).sample(range(64), 64)
    weights, pixels = flat(random_maps(3, 1, 8, 8)), flat([picture])
    shuffled = [pixels[i] for i in order]
    dense_change = abs(dot(pixels, weights) - dot(shuffled, [weights[i] for i in order]))
    before = correlation([picture], [kernel])
    after = correlation([[shuffled[r : r + 8] for r in range(0, 64, 8)]], [kernel])
    same_numbers = sorted(_flat_int(before)) == sorted(_flat_int(after))
    return Claim(
        "L6",
        "Stretching a picture into a row loses which pixels are neighbours.",
        {"a dense layer notices a shuffle": False, "a convolution notices it": True},
        {"a dense layer notices a shuffle": dense_change != 0, "a convolution notices it": not same_numbers},
        judged(dense_change == 0 and not same_numbers, caveat=True),
        "slide 3, Why CNNs?",
        "No number is lost, the row can be folded back; but a dense layer whose weights are shuffled with the pixels "
        "answers the same, so it cannot know the order. What that costs in accuracy needs training.",
        (
            "8×8 pixels, one fixed random order for all pictures:",
            f"dense: the answer changes by {dense_change:g} once the weights are in the same order",
            f"3×3 convolution: the map holds other numbers, by up to {difference(before, after):g}",
        ),
    )


def _flat_int(picture: Picture) -> list[int]:
    return [x for row in picture for x in row]


def l8() -> Claim:
    """A template against pictures of the same length."""
    source = random.Random(0)
    image = unit_vector(source, 75)
    best = max(dot(image, unit_vector(source, 75)) for _ in range(OTHERS))
    long = 3 * dot(image, [0.8 * a + 0.6 * b for a, b in zip(image, _orthogonal(source, image), strict=True)])
    return Claim(
        "L8",
        "A template answers most to the picture that it equals.",
        "the picture itself answers most",
        {"the picture itself": round(dot(image, image), 3), f"best of {OTHERS:,} others": round(best, 3)},
        judged(dot(image, image) > best, caveat=long > 1),
        "slide 4, figure (reconstructed)",
        f"By Cauchy and Schwarz, among pictures of one length: another picture three times as long answers {long:.1f}.",
        (
            f"75 numbers, length 1, {OTHERS:,} random directions; Σ w_i·x_i with w = x is {dot(image, image):.3f}",
        ),
    )


def _orthogonal(source: random.Random, image: list[float]) -> list[float]:
    """A unit vector at a right angle to a unit vector."""
    other = unit_vector(source, len(image))
    along = dot(image, other)
    rest = [b - along * a for a, b in zip(image, other, strict=True)]
    length = dot(rest, rest) ** 0.5
    return [value / length for value in rest]


def l11() -> Claim:
    """Convolution or correlation."""
    picture, kernel = random_maps(4, 1, 8, 8)[0], random_maps(5, 1, 5, 5)[0]
    slid = correlation([picture], [kernel])
    to_convolution = difference(slid, convolution(picture, kernel))
    to_flipped = difference(slid, convolution(picture, flipped(kernel)))
    maps, filters = random_maps(6, 3, 8, 8), random_maps(7, 3, 5, 5)
    by_hand = sum(w * x for w, x in zip(flat(filters), window(maps, filters, 1, 2), strict=True)) + 4
    assert by_hand == correlation(maps, filters, bias=4)[1][2]
    return Claim(
        "L11",
        "Sliding a filter and computing a = Σ w_i·x_i + b (75 products for 5×5×3) at each place is convolution.",
        "a convolution",
        {"difference to a convolution": to_convolution, "to one with the filter flipped": to_flipped},
        judged(to_flipped == 0, caveat=to_convolution != 0),
        "slide 5, Local Filters and Feature Maps",
        "The filter is not flipped, so by the book it is a cross-correlation; since filters are learned, nothing hangs "
        "on it.",
        (
            f"5×5×3 filter at row 1, column 2: {len(flat(filters))} products and the bias add up to {by_hand}",
            f"largest difference to Σ k(i, j)·x(r − i, c − j): {to_convolution}; with the filter upside down and "
            f"left to right: {to_flipped}",
        ),
    )


def l12() -> Claim:
    """A moved object: maps, pools, a global maximum."""
    picture, kernel = object_on_zeros(8, 24, 6), random_maps(9, 1, 3, 3)[0]
    still, shifted = (correlation([p], [kernel]) for p in (picture, moved(picture, 1, 1)))
    along = difference(shifted, moved(still, 1, 1)) / _largest(still)
    in_place = difference(shifted, still) / _largest(still)
    two_by_two, two_moved = pooled(still, max), pooled(shifted, max)
    after_pool = difference(two_moved, two_by_two) / _largest(still)
    overall = abs(max(_flat(two_moved)) - max(_flat(two_by_two))) / _largest(still)
    return Claim(
        "L12",
        "Because one filter is used everywhere, a ConvNet finds an object wherever it is (translational invariance).",
        {"change when the object moves": 0},
        {
            "maps, moved along": round(along, 3),
            "maps, in place": round(in_place, 3),
            "after 2×2 pooling": round(after_pool, 3),
            "after a global maximum": round(overall, 3),
        },
        judged(along == 0 and overall == 0, caveat=in_place > 0 and after_pool > 0),
        "slides 5–6",
        "The maps move with the object (equivariance); the answer stays (invariance) only after a global pool, and as "
        "long as the object stays clear of the edges. The lecture's own network has none: see convscope lecture shift.",
        (
            "a 6×6 object on 24×24 zeros, a 3×3 filter, moved by one row and one column;",
            "largest change of any number, as a fraction of the map's largest number",
        ),
    )


def l13() -> Claim:
    """Two filters set by hand."""
    horizontal: Picture = [[9] * 8 if row < 4 else [0] * 8 for row in range(8)]
    vertical: Picture = [list(column) for column in zip(*horizontal, strict=True)]
    answers = {
        f"{name} on a {edge} edge": _largest(correlation([picture], [kernel]))
        for name, kernel in (("across", ACROSS), ("along", ALONG))
        for edge, picture in (("horizontal", horizontal), ("vertical", vertical))
    }
    maps = conv(6, 5).output_shape((3, 32, 32))[0]
    own = min(answers["across on a horizontal edge"], answers["along on a vertical edge"])
    others = max(answers["across on a vertical edge"], answers["along on a horizontal edge"])
    return Claim(
        "L13",
        "Each filter makes a map of its own: one finds horizontal edges, another vertical ones.",
        {"maps of six filters": 6, "answer to the other's edge": 0},
        {"maps of six filters": maps, "answer to the other's edge": others, "to its own": own},
        judged(maps == 6 and others == 0 < own),
        "slide 5, Local Filters and Feature Maps",
        "With two 3×3 filters set by hand; which filters a network learns is seen after training.",
        tuple(f"filter {name}: {answer}" for name, answer in answers.items()),
    )


def l17() -> Claim:
    """One number for each window."""
    ways: dict[str, Reduce] = {"maximum": max, "L1": norm(1), "L2": norm(2), "p = 64": norm(64)}
    corner = {name: round(float(pooled(FIGURE, reduce)[0][0]), 2) for name, reduce in ways.items()}
    regions = len(_flat_int(FIGURE)) // 4  # 2×2 numbers each
    each = len(_flat(pooled(FIGURE, max))) // regions
    return Claim(
        "L17",
        "Pooling puts one number in the place of a region, usually the maximum; the L1 or L2 norm serve as well.",
        {"numbers for a region": 1},
        {"numbers for a region": each, **corner},
        judged(each == 1 and abs(corner["p = 64"] - corner["maximum"]) < 0.01),
        "slide 8, Pooling",
        "The region 1 1 5 6 by four norms: the larger p, the nearer to the maximum (convscope's word is lppool).",
        ("L1: 1 + 1 + 5 + 6 = 13", "L2: √(1 + 1 + 25 + 36) = √63", "p = 64: (1 + 1 + 5^64 + 6^64)^(1/64)"),
    )


def l18() -> Claim:
    """The slide's example."""
    result = str([[int(x) for x in row] for row in pooled(FIGURE, max)])
    return Claim(
        "L18",
        "2×2 max-pooling with stride 2 makes the slide's 4×4 numbers into 6 8 / 3 4.",
        "[[6, 8], [3, 4]]",
        result,
        judged(result == "[[6, 8], [3, 4]]"),
        "slide 8, figure (reconstructed)",
        "Each number is the largest of its own quarter.",
        tuple(" ".join(map(str, row)) for row in FIGURE),
    )


def l22() -> Claim:
    """Two maps that a pool cannot tell apart, and an activation above 1."""
    one: Picture = [[9, 0, 0, 0], [0, 0, 0, 5], [0, 0, 2, 0], [0, 7, 0, 0]]
    other: Picture = [[0, 0, 0, 5], [0, 9, 0, 0], [7, 0, 0, 0], [0, 0, 0, 2]]
    same = pooled(one, max) == pooled(other, max)
    match = correlation([ACROSS], [ACROSS])[0][0]
    return Claim(
        "L22",
        "An activation says how likely a pattern is at a place, and pooling forgets the place.",
        {"different maps, same after pooling": True},
        {"different maps, same after pooling": one != other and same, "a perfect match": match},
        judged(one != other and same, caveat=not 0 <= match <= 1),
        "slide 9, Pooling vs Convolution",
        f"Within a window the place is gone. “Likely” is loosely said: a score has no upper end (a 3×3 edge on itself: "
        f"{match}), so it is no probability.",
        (
            "9 0 0 0 / 0 0 0 5 / 0 0 2 0 / 0 7 0 0  and",
            "0 0 0 5 / 0 9 0 0 / 7 0 0 0 / 0 0 0 2  pool to 9 5 / 7 2",
        ),
    )
