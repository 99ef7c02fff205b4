"""A folder of pictures to a judged classifier by the libraries on PyTorch, on EfficientNet-Lite0's published weights.

    transfer_torch.py --way linear | chosen | fastai --photos FOLDER --weights FILE.pth

linear   timm's network for the features, scikit-learn's LogisticRegression as it comes for the head
chosen   the same, its penalty chosen by cross-validation with LogisticRegressionCV
fastai   vision_learner and fine_tune, five epochs after one of the head alone, with fastai's augmentation
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import answer, arguments

BATCH = 32
SIZE_PX = 224
HALF = (0.5,) * 3  # the mean and the deviation that the weights were trained with
NET = "tf_efficientnet_lite0"
EPOCHS = 5


def published(weights: Path) -> Any:
    """timm's network with the published weights, in the order that both list them in."""
    import timm
    import torch

    state = torch.load(weights, weights_only=True)
    whole = timm.create_model(NET)
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    return whole


def linear(photos: Path, weights: Path) -> float:
    from sklearn.linear_model import LogisticRegression

    return on_features(photos, weights, LogisticRegression(max_iter=2000))


def chosen(photos: Path, weights: Path) -> float:
    from sklearn.linear_model import LogisticRegressionCV

    return on_features(photos, weights, LogisticRegressionCV(Cs=7, cv=5, max_iter=2000))


def on_features(photos: Path, weights: Path, head: Any) -> float:
    """The accuracy on the validation pictures of a head that is fitted to the features of the training pictures."""
    import numpy as np
    import torch
    from sklearn.preprocessing import StandardScaler
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    net = published(weights).eval()
    net.reset_classifier(0)
    prepare = transforms.Compose(
        [transforms.Resize((SIZE_PX, SIZE_PX)), transforms.ToTensor(), transforms.Normalize(HALF, HALF)]
    )
    features, labels = {}, {}
    for split in ("train", "val"):
        loader = torch.utils.data.DataLoader(
            ImageFolder(photos / split, prepare), batch_size=BATCH, num_workers=0
        )
        with torch.inference_mode():
            pairs = [(net(images).numpy(), targets.numpy()) for images, targets in loader]
        features[split], labels[split] = (np.concatenate(part) for part in zip(*pairs, strict=True))
    scaler = StandardScaler().fit(features["train"])
    head.fit(scaler.transform(features["train"]), labels["train"])
    return float(head.score(scaler.transform(features["val"]), labels["val"]))


def fastai(photos: Path, weights: Path) -> float:
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        vision_learner,
    )

    loaders = ImageDataLoaders.from_folder(
        photos,
        valid="val",
        item_tfms=Resize(SIZE_PX, method="squish"),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(HALF, HALF, cuda=False)],
        bs=BATCH,
        num_workers=0,
    )
    learner = vision_learner(loaders, NET, pretrained=False, normalize=False, metrics=accuracy)
    own = published(weights).state_dict()
    body = learner.model[0].model
    body.load_state_dict({name: own[name] for name in body.state_dict()})
    learner.fine_tune(EPOCHS)
    return float(learner.validate()[1])


def main() -> None:
    options = arguments("way", "photos", "weights")
    ways = {"linear": linear, "chosen": chosen, "fastai": fastai}
    answer({"accuracy": ways[options.way](Path(options.photos), Path(options.weights))})


if __name__ == "__main__":
    main()
