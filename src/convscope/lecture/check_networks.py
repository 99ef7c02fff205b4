"""What the lecture says of the famous networks, counted in their descriptions. Each function is one claim."""

from __future__ import annotations

from typing import Any

from convscope import nets
from convscope.inference import Step
from convscope.layers import avgpool, conv, globalpool, maxpool, subsample
from convscope.layers._base import both
from convscope.layers._pool import Pool
from convscope.lecture.check_claim import Claim, judged
from convscope.nets import facts

POOLING = ("lenet5", "alexnet_2012", "zfnet", "vgg16", "googlenet", "resnet50", "lecture")
SAID_TO_HAVE_NONE = ("resnet50", "googlenet")

# The slide's bars: top-5 error in percent, and layers.
CHART = {
    "NEC-UIUC": "28.2", "XRCE": "25.8", "AlexNet": "16.4", "ZFNet (Clarifai)": "11.7", "VGG": "7.3",
    "GoogLeNet": "6.7", "ResNet": "3.57",
}  # fmt: skip
CHART_DEPTHS = {"AlexNet": 8, "ZFNet (Clarifai)": 8, "VGG": 19, "GoogLeNet": 22, "ResNet": 152}


def steps_of(name: str) -> tuple[Step, ...]:
    """Every layer of a network of the zoo at its published input, without what only training uses."""
    entry = nets.get(name)
    return tuple(
        step for step in entry.net.infer(entry.input_shape, entry.classes).steps if not step.training_only
    )


def pools_of(name: str) -> list[Step]:
    """Every layer that pools, global ones included."""
    return [step for step in steps_of(name) if isinstance(step.layer, Pool | globalpool)]


def sliding_pools(name: str) -> list[Pool]:
    """The pools with a window that slides."""
    return [step.layer for step in pools_of(name) if isinstance(step.layer, Pool)]


def window_text(pool: Pool) -> str:
    """A pool's window and stride: 3×3 stride 2."""
    return f"{'×'.join(map(str, pool.extent))} stride {pool.step[0]}"


def tally(words: list[str]) -> str:
    """Equal words once, with how often they come, in the order in which they first come.

    >>> tally(["max-pool", "max-pool", "global mean"])
    'max-pool (2 times), global mean'
    """
    counts = {word: words.count(word) for word in words}
    return ", ".join(word if count == 1 else f"{word} ({count} times)" for word, count in counts.items())


def l19() -> Claim:
    """Whether pooling windows overlap."""
    found = {name: sliding_pools(name) for name in POOLING}
    overlapping = {name: sum(pool.overlaps for pool in pools) for name, pools in found.items()}
    return Claim(
        "L19",
        "Unlike those of convolutions, the windows of pools do not overlap.",
        "no window overlaps",
        {
            name: f"{overlapping[name]} of {len(pools)} overlap"
            for name, pools in found.items()
            if overlapping[name] or name == "lecture"
        },
        judged(not any(overlapping.values())),
        "slide 8, Pooling",
        f"Windows overlap where their side is larger than their stride; so they do in "
        f"{_listed([name for name in POOLING if overlapping[name]])}, most often 3×3 with stride 2.",
        tuple(f"{name}: {tally([window_text(pool) for pool in pools])}" for name, pools in found.items()),
    )


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def l20() -> Claim:
    """Parameters of pools."""
    pools = {name: pools_of(name) for name in POOLING}
    plain = sum(s.parameters for steps in pools.values() for s in steps if not isinstance(s.layer, subsample))
    trainable = {s.name: s.parameters for s in pools["lenet5"] if isinstance(s.layer, subsample)}
    return Claim(
        "L20",
        "Pooling adds no parameters.",
        0,
        {"max- and mean-pools": plain, "LeNet-5's sub-sampling": sum(trainable.values())},
        judged(plain == 0, caveat=any(trainable.values())),
        "slide 8, Pooling",
        "True of maxima and means; LeNet-5's sub-sampling has a coefficient and a bias for each map.",
        (
            f"{sum(map(len, pools.values()))} pools in {', '.join(POOLING)}",
            *(f"lenet5 {name}: {count} parameters" for name, count in trainable.items()),
        ),
    )


def l23() -> Claim:
    """Pools in the networks that are said to have none."""
    pools = {name: pools_of(name) for name in SAID_TO_HAVE_NONE}
    by_conv = {name: sum(_strides(step) for step in steps_of(name)) for name in SAID_TO_HAVE_NONE}
    by_pool = {name: sum(pool.step[0] > 1 for pool in sliding_pools(name)) for name in SAID_TO_HAVE_NONE}
    return Claim(
        "L23",
        "Some modern ConvNets, such as ResNet and Google's Inception, no longer use pooling.",
        dict.fromkeys(SAID_TO_HAVE_NONE, 0),
        {name: len(steps) for name, steps in pools.items()},
        judged(not any(pools.values())),
        "slide 9, Pooling vs Convolution",
        f"Both pool. What is true: ResNet halves its maps {by_conv['resnet50']} times by convolutions with stride 2 "
        f"and {by_pool['resnet50']} by a pool; in GoogLeNet it is {by_conv['googlenet']} against "
        f"{by_pool['googlenet']}.",
        tuple(f"{name}: {tally([_pool_text(step) for step in steps])}" for name, steps in pools.items())
        + tuple(f"{name}: convolutions with stride 2: {count}" for name, count in by_conv.items()),
    )


def _strides(step: Step) -> bool:
    return isinstance(step.layer, conv) and max(both(step.layer.stride)) > 1


def _pool_text(step: Step) -> str:
    if isinstance(step.layer, globalpool):
        return "global mean" if step.layer.kind == "avg" else "global maximum"
    kind = {maxpool: "max-pool", avgpool: "mean-pool"}.get(type(step.layer), step.kind)
    return f"{kind} {window_text(step.layer)}" if isinstance(step.layer, Pool) else kind


def l24() -> Claim:
    """The winner of 2012."""
    row = next(row for row in facts.document()["chart"] if row["year"] == 2012)
    return Claim(
        "L24",
        "AlexNet won the ILSVRC challenge of 2012.",
        "first place",
        "first place" if row["rank"] == 1 else f"place {row['rank']}",
        judged(row["name"] == "AlexNet" and row["rank"] == 1),
        "slide 10, AlexNet",
        f"A top-5 error of {_percent(row['ensemble']['value'])} ({row['ensemble']['is']}); {row['note']}.",
        ("from the published results in convscope's data file (convscope nets --svg draws them)",),
    )


def l26() -> Claim:
    """The chart of errors and depths."""
    rows = {row["name"]: row for row in facts.document()["chart"]}
    errors = {name: _as_printed(row["ensemble"]["value"], CHART[name]) for name, row in rows.items()}
    depths = {name: _depth(row["net"]) for name, row in rows.items() if row["net"]}
    second = [name for name, row in rows.items() if row["rank"] != 1]
    return Claim(
        "L26",
        "From 2010 to 2015 the winners' top-5 error fell from 28.2 % to 3.57 % while depth rose from 8 to 152 layers.",
        {name: _bar(error, CHART_DEPTHS.get(name)) for name, error in CHART.items()},
        {name: _bar(error, depths.get(name)) for name, error in errors.items()},
        judged(errors == CHART and depths == CHART_DEPTHS, caveat=bool(second)),
        "slide 12, figure (reconstructed)",
        f"The bars are ensembles; one net alone errs more ({_singles(rows)}). {' and '.join(second)} was second in its "
        "year, and the bar of 2013 is Clarifai's, not that of ZFNet's paper (14.8 %).",
        tuple(f"{row['year']} {name}: {row['ensemble']['is']}" for name, row in rows.items()),
    )


def _depth(name: str) -> int:
    entry = nets.get(name)
    return entry.net.infer(entry.input_shape, entry.classes).depth


def _as_printed(fraction: float, like: str) -> str:
    """A fraction in percent, with as many decimals as the slide prints."""
    return f"{100 * fraction:.{len(like.partition('.')[2])}f}"


def _bar(error: str, depth: int | None) -> str:
    return f"{error} %, {depth} layers" if depth else f"{error} %"


def _singles(rows: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{name} {_percent(rows[name]['single']['value'])}" for name in ("AlexNet", "GoogLeNet", "ResNet")
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def l27() -> Claim:
    """VGG's year."""
    entry = nets.get("vgg16")
    return Claim(
        "L27",
        "VGGNet is of 2013.",
        2013,
        entry.year or "unknown",
        judged(entry.year == 2013),
        "slide 15, Classical CNN topology",
        "It was put on arXiv in September 2014 and took part in the ILSVRC of 2014.",
        (
            f"{entry.name} in convscope nets: {entry.year}",
            "Simonyan and Zisserman, arXiv:1409.1556, 4 September 2014",
        ),
    )
