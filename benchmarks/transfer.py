"""Transfer learning beside its peers: a folder of pictures to a judged classifier, all start-up in.

    python benchmarks/transfer.py PHOTOS                    ours, scikit-learn on timm's features, fastai; three runs
    python benchmarks/transfer.py PHOTOS --only timm        ours, and the peers with that word in their name

PHOTOS is a folder with train/ and val/. All take EfficientNet-Lite0 with the same published weights, on every core,
every run a fresh process, in alternation. Ours is the command, with empty caches (kernels built, pictures decoded) and
with those of the run before. The peers' environment is made on the first call, as compare.py makes it. Needs
`convscope[transfer]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from running import Benchmark, Contestant, Environments, Found, Ratio, Runner, document, table

from convscope.nets.weights.published import Published, file_of

ASKED = 2.0


def benchmark(photos: Path, weights: Path) -> Benchmark:
    """The contestants; what is asked for is twice the speed of the best peer that is no less accurate."""
    command = (
        "-m",
        "convscope",
        "transfer",
        str(photos),
        "--from",
        "efficientnet-lite0",
        "--json",
        "--quiet",
    )

    def ours(name: str, caches: str) -> Contestant:
        return Contestant(name, "ours", command, True, caches=caches, rehearses=caches == "warm")

    def peer(name: str, way: str) -> Contestant:
        given = ("--way", way, "--photos", str(photos), "--weights", str(weights))
        return Contestant(name, "torch", ("transfer_torch.py", *given))

    contestants = (
        ours("convscope transfer, cold caches", "cold"),
        ours("convscope transfer, warm caches", "warm"),
        peer("timm, LogisticRegression", "linear"),
        peer("timm, LogisticRegressionCV", "chosen"),
        peer("fastai, vision_learner, fine_tune", "fastai"),
    )
    return Benchmark("transfer", "s", contestants, ratios)


def ratios(found: list[Found]) -> Iterator[Ratio]:
    """Every peer's seconds over ours with cold caches."""
    for each in found:
        if not each.contestant.ours and each.values:
            yield Ratio(each.contestant.name, each.median / found[0].median, ASKED)


def accuracy(each: Found) -> float:
    """The mean over its runs, on the validation pictures."""
    key = "validation_accuracy" if each.contestant.ours else "accuracy"
    return statistics.mean(answer[key] for answer in each.answers)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="words between commas")
    parser.add_argument("--cache", type=Path, help="where the environments are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to FILE")
    given = parser.parse_args()
    cache = (given.cache or Path(platformdirs.user_cache_dir("convscope")) / "benchmarks").resolve()
    cache.mkdir(parents=True, exist_ok=True)
    weights = file_of(Published.of("efficientnet-lite0"), offline=True, say=lambda line: None)
    asked = benchmark(given.photos.resolve(), Path(weights).resolve()).only(given.only)
    found = Runner(Environments(cache), cache, None).compare(asked, given.runs)
    print(f"\n{table(asked, found)}\n")
    for each in found:
        if each.answers:
            print(f"{each.contestant.name}: accuracy {accuracy(each):.4f}")
    compared = list(asked.ratios(found))
    for ratio in compared:
        print(f"against {ratio.text}: {ratio.value:.2f} (asked: {ratio.asked})")
    if given.json:
        given.json.write_text(json.dumps(document(asked, found, compared), indent=1), encoding="utf-8")
    return int(any(each.failure for each in found))


if __name__ == "__main__":
    sys.exit(main())
