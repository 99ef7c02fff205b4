"""None of these: whether a picture shows something that no class of the model stands for.

A network names the likeliest of its classes whatever it sees. Two things tell a picture of something else: its features
z lie far from where those of the training pictures lie, and no class's score is high. Their sum, each in deviations of
pictures of known classes, is the picture's familiarity; below a threshold it is called unknown. The threshold is the
one that a stated share of held-out pictures of known classes falls below: the rate of false alarms.

    distance     |z − mean| beside the axes along which the training features vary most
    energy       log Σ_k e^{s_k} of the scores s
    familiarity  (energy − its mean)/its deviation − (distance − its mean)/its deviation

Source: the distance and its sum with the energy after Wang et al., "ViM: out-of-distribution with virtual-logit
matching", 2022; the energy after Liu et al. 2020; bringing both to deviations is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convscope.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor, nn

LABEL = "unknown"
PREFIX = "unknown."
_MOST = 1e30  # no score is as large; and a whole number above 1e308 is no float
NUMBERS = ("false_alarms", "threshold", "energy_mean", "energy_std", "distance_mean", "distance_std")


@dataclass(frozen=True, eq=False)
class Unknown:
    """The rule, as a model keeps it.

    Attributes:
        false_alarms: the share of pictures of known classes that is called unknown, in (0, 1).
        threshold: of the familiarity.
        energy_mean, energy_std, distance_mean, distance_std: of held-out pictures of known classes.
        mean: of the training features, (D,), float32.
        axes: along which the training features vary most, (R, D), orthonormal, float32.
    """

    false_alarms: float
    threshold: float
    energy_mean: float
    energy_std: float
    distance_mean: float
    distance_std: float
    mean: Tensor
    axes: Tensor

    def familiarity(self, features: Tensor, scores: Tensor) -> Tensor:
        """How much like the training pictures (N,): features (N, D), scores (N, K); 0 is usual, less is stranger."""
        energy = (scores.logsumexp(1) - self.energy_mean) / self.energy_std
        apart = (distance(features, self.mean, self.axes) - self.distance_mean) / self.distance_std
        familiarity: Tensor = energy - apart
        return familiarity

    def is_unknown(self, features: Tensor, scores: Tensor) -> Tensor:
        """Which pictures (N,), bool, show none of the classes."""
        return self.familiarity(features, scores) < self.threshold

    def require_fits(self, network: nn.Module) -> None:
        """Refuse a network to whose head other features come.

        Raises:
            ModelFileError: it has no dense layer, or the last one takes another number of features.
        """
        from torch import nn

        dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not dense or dense[-1].in_features != len(self.mean):
            came = f"a head that takes {dense[-1].in_features}" if dense else "no dense layer"
            raise ModelFileError(
                f"an unknown rule for {len(self.mean)} features and {came}", "as many in both"
            )

    def to_json(self) -> dict[str, float]:
        """The numbers."""
        return {name: getattr(self, name) for name in NUMBERS}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors, under the names that a model file has."""
        return {f"{PREFIX}mean": self.mean, f"{PREFIX}axes": self.axes}

    def to(self, device: str) -> Unknown:
        """The same on another device."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return Unknown(**numbers, mean=self.mean.to(device), axes=self.axes.to(device))

    @classmethod
    def read(cls, numbers: object, tensors: Mapping[str, Tensor]) -> Unknown:
        """What `to_json` and `tensors` gave.

        Raises:
            ModelFileError: a number is missing or not finite, or a tensor is missing or of another shape.
        """
        values: Mapping[str, Any] = numbers if isinstance(numbers, Mapping) else {}
        for name in NUMBERS:
            value = values.get(name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _MOST:
                raise ModelFileError(f"an unknown rule whose {name} is {value!r:.80}", "a finite number")
        mean, axes = tensors.get(f"{PREFIX}mean"), tensors.get(f"{PREFIX}axes")
        if mean is None or axes is None or mean.ndim != 1 or axes.ndim != 2 or axes.shape[1] != len(mean):
            raise ModelFileError("an unknown rule without its tensors", "a mean (D,) and axes (R, D)")
        return cls(**{name: float(values[name]) for name in NUMBERS}, mean=mean, axes=axes)


def distance(features: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """How far features (N, D) lie beside the axes (R, D) through the mean (D,): (N,).

    >>> import torch
    >>> distance(torch.tensor([[3.0, 4.0]]), torch.zeros(2), torch.tensor([[1.0, 0.0]])).tolist()
    [4.0]
    """
    shifted = features - mean
    beside: Tensor = (shifted - shifted @ axes.T @ axes).norm(dim=1)
    return beside


class Watcher:
    """Tells which pictures are unknown while a network scores them, in as many threads as there are.

    It listens to what reaches the network's head, its last dense layer, and so costs next to nothing. Without a rule
    no picture is unknown.
    """

    def __init__(self, rule: Unknown | None, network: nn.Module, device: str) -> None:
        from torch import nn

        self._rule = rule.to(device) if rule else None
        self._seen = threading.local()
        if rule is not None:
            head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
            head.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._seen.features = [*getattr(self._seen, "features", ()), arguments[0]]

    def unknown(self, scores: Tensor) -> list[bool]:
        """Which pictures of the batch that this thread has just scored show none of the classes; scores (N, K).

        Where a picture was seen as several, its features are their mean.
        """
        if self._rule is None:
            return [False] * len(scores)
        import torch

        features = torch.cat(self._seen.features)  # (views·N, D)
        self._seen.features = []
        mean = features.view(-1, len(scores), features.shape[1]).mean(0)
        found: list[bool] = self._rule.is_unknown(mean, scores).tolist()
        return found
