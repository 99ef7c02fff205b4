"""Transfer learning beside its peers: pictures to a judged classifier, in alternation, a fresh process a run.

    python benchmarks/transfer.py PHOTOS                  ours, scikit-learn on timm features, fastai; three runs each
    python benchmarks/transfer.py PHOTOS --only ours timm --runs 5

PHOTOS is a folder with train/ and val/. Needs `convscope[transfer]`; the peers need timm, scikit-learn and fastai in
this environment, and are left out with a word where they are missing. All take EfficientNet-Lite0 with the same
published weights. Ours runs once without a feature cache and once with it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
FASTAI_EPOCHS = 5


def ours(photos: Path, cache: Path) -> float:
    """`convscope transfer` as a user has it."""
    from convscope import transfer

    with tempfile.TemporaryDirectory() as folder:
        run = transfer(photos, "efficientnet-lite0", out=Path(folder) / "run", cache=cache)
    return float(run.result["validation_accuracy"])


def timm_plain(photos: Path, cache: Path) -> float:
    """timm's network for the features, scikit-learn's logistic regression as it comes for the head."""
    from sklearn.linear_model import LogisticRegression

    return timm_features(photos, LogisticRegression(max_iter=2000))


def timm_chosen(photos: Path, cache: Path) -> float:
    """The same with the penalty chosen by cross-validation, as ours does."""
    from sklearn.linear_model import LogisticRegressionCV

    return timm_features(photos, LogisticRegressionCV(Cs=7, cv=5, max_iter=2000))


def timm_features(photos: Path, head: Any) -> float:
    """Features by timm, a head of scikit-learn fitted to them, and its accuracy on the validation pictures."""
    import numpy as np
    import torch
    from sklearn.preprocessing import StandardScaler
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    model = timm_model(num_classes=0).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    parts = {}
    for split in ("train", "val"):
        loader = torch.utils.data.DataLoader(
            ImageFolder(photos / split, prepare), batch_size=BATCH, num_workers=0
        )
        with torch.inference_mode():
            pairs = [(model(images), labels) for images, labels in loader]
        parts[split] = [np.concatenate([pair[k].numpy() for pair in pairs]) for k in (0, 1)]
    scaler = StandardScaler().fit(parts["train"][0])
    head.fit(scaler.transform(parts["train"][0]), parts["train"][1])
    return float(head.score(scaler.transform(parts["val"][0]), parts["val"][1]))


def fastai(photos: Path, cache: Path) -> float:
    """fastai's own way: a learner from timm's network, its head first, then everything."""
    from fastai.vision.all import (
        ImageDataLoaders,
        Learner,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
    )
    from torch import nn

    loaders = ImageDataLoaders.from_folder(
        photos,
        valid="val",
        item_tfms=Resize(224, method="squish"),
        batch_tfms=[*aug_transforms(), Normalize.from_stats((0.5,) * 3, (0.5,) * 3, cuda=False)],
        bs=BATCH,
        num_workers=0,
    )
    body = timm_model(num_classes=0)
    net = nn.Sequential(body, nn.Linear(1280, len(loaders.vocab)))
    learner = Learner(
        loaders, net, metrics=accuracy, splitter=lambda m: [list(m[0].parameters()), list(m[1].parameters())]
    )
    learner.fine_tune(FASTAI_EPOCHS)
    return float(learner.validate()[1])


def timm_model(num_classes: int) -> Any:
    """timm's tf_efficientnet_lite0 with the very weights that ours has."""
    import timm
    import torch

    from convscope.nets import weights
    from convscope.nets.weights.published import Published, file_of

    state = torch.load(
        file_of(Published.of("efficientnet-lite0"), offline=True, say=lambda line: None), weights_only=True
    )
    assert "efficientnet-lite0" in weights.names()
    whole = timm.create_model("tf_efficientnet_lite0")
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    whole.reset_classifier(num_classes)
    return whole


CONTESTANTS: dict[str, Callable[[Path, Path], float]] = {
    "ours": ours,
    "ours, from the cache": ours,
    "timm": timm_plain,
    "timm, penalty chosen": timm_chosen,
    "fastai": fastai,
}


def one(name: str, photos: Path, cache: Path) -> None:
    """One run in this process: its accuracy, and the seconds from the first import on."""
    began_at = time.perf_counter()
    accuracy = CONTESTANTS[name](photos, cache)
    print(json.dumps({"accuracy": accuracy, "seconds": time.perf_counter() - began_at}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return one(given.one, given.photos, given.cache)
    chosen = [name for name in CONTESTANTS if any(name.startswith(word) for word in given.only)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as place:
        warm = Path(place) / "warm"
        for run in range(given.runs):
            for name in chosen:
                cache = warm if name == "ours, from the cache" else Path(place) / f"cold{run}"
                found[name] += filter(None, [_in_a_process(name, given.photos, cache)])
    for name, results in found.items():
        if results:
            seconds = [result["seconds"] for result in results]
            accuracy = statistics.mean(result["accuracy"] for result in results)
            print(
                f"{name:<22}{statistics.median(seconds):8.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
                f"   accuracy {accuracy:.4f}   {len(results)} runs"
            )


def _in_a_process(name: str, photos: Path, cache: Path) -> dict[str, float] | None:
    """A run in a fresh process; None, and a word on stderr, where the contestant is not installed."""
    command = [sys.executable, __file__, str(photos), "--one", name, "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        print(f"{name} could not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
