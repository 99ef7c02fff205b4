"""layers: how transferable is each layer? The first k layers stay frozen, the others learn on, for each k.

Early layers are about any picture and later ones about the classes they were trained for, so freezing early ones
should cost nothing and freezing all but the head something (Yosinski et al. 2014; the lecture's two regimes are two of
these points). k = all but the head is `extract`; k = 0 fine-tunes everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from convscope.data.preprocessing import Fit
from convscope.data.reader import MOST_UNREADABLE
from convscope.model_file import Model
from convscope.net import Net
from convscope.training import Recipe
from convscope.training.augmentation import Augmentation
from convscope.training.events import Listener
from convscope.training.telling import Teller
from convscope.training.thawing import Thaw, Thawing, layers_from_top
from convscope.transfer_learning.finetune import finetune_recipe
from convscope.transfer_learning.material import Data
from convscope.transfer_learning.plot import Line, Point, line_plot
from convscope.transfer_learning.study import Study, interval, label
from convscope.transfer_learning.wish import Wish, pair, place

PER_CLASS, DRAWS = 20, 3


@dataclass(frozen=True)
class Frozen:
    """One k: the last frozen layer (None for k = 0), how many numbers are frozen and trained, and what came of it.

    `accuracies` has one number a draw, `accuracy` is their mean, `interval` its 95 % interval; empty and None where
    there was no time.
    """

    k: int
    freeze_until: str | None
    parameters_frozen: int
    parameters_trained: int
    accuracies: tuple[float, ...]
    accuracy: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class LayerStudy:
    """What `layers` found: one entry for each number of frozen layers, over `judged_images` pictures."""

    folder: str
    data: str
    backbone: str
    per_class: int
    judged_images: int
    layers: tuple[Frozen, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def render(self) -> str:
        """A line for each k, and where the plot is."""
        rows = [f"{'k':>3}  {'frozen up to':<16}{'frozen':>14}{'trained':>14}  accuracy"]
        for each in self.layers:
            if each.accuracy is None or each.interval is None:
                said = "– (no time)"
            else:
                low, high = each.interval
                said = f"{each.accuracy:.3f} ({low:.2f}–{high:.2f}) ×{len(each.accuracies)}"
            until = each.freeze_until or "nothing"
            rows.append(
                f"{each.k:>3}  {until:<16}{each.parameters_frozen:>14,}{each.parameters_trained:>14,}  {said}"
            )
        title = (
            f"{self.data} from {self.backbone}, {self.per_class} pictures a class: accuracy on"
            f" {self.judged_images:,} pictures; mean, 95 % interval, draws"
        )
        return "\n".join([title, *rows, f"The plot is {self.folder}/layers.svg."])

    def svg(self) -> str:
        """The plot: accuracy over the number of frozen layers."""
        made = [each for each in self.layers if each.accuracy is not None]
        points = tuple(Point(str(e.k), e.accuracy or 0.0, e.interval or (0.0, 1.0)) for e in made)
        places = [str(each.k) for each in self.layers]
        title = f"{self.data} from {self.backbone}, {self.per_class} a class"
        return line_plot(title, "frozen layers", places, [Line("accuracy", points)])


def frozen_and_trained(
    net: Net, input_shape: tuple[int, int, int], freeze_until: str | None
) -> tuple[int, int]:
    """How many parameters stay and how many move, when every layer up to one is frozen.

    Raises:
        RecipeError: there is no such layer, or it is the last.

    >>> from convscope import nets
    >>> frozen_and_trained(nets.get("vgg16").net.bind(1000), (3, 224, 224), "conv2_2")
    (260160, 138097384)
    """
    with torch.device("meta"):
        module = net.build(input_shape)
    Thaw(Thawing(freeze_until=freeze_until, thawed_at=0.0), module).at(1.0)
    counts = {True: 0, False: 0}
    for parameter in module.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return counts[False], counts[True]


def layers(
    data: Data,
    backbone: str | os.PathLike[str] | Model | None = None,
    *,
    per_class: Sequence[int] | None = None,
    draws: int | None = None,
    budget_minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    size_px: int | tuple[int, int] | None = None,
    fit: Fit | None = None,
    augment: str | Augmentation | None = None,
    salvage: bool = False,
    most_unreadable: float = MOST_UNREADABLE,
    class_weights: str = "equal",
    penalty: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
) -> LayerStudy:
    """Accuracy with the first k layers frozen, for each k, from few pictures of each class.

    Args:
        per_class: how many, of which the first counts; None for 20. The other arguments are those of `compare`.

    Raises:
        ConvscopeError: something the user can mend.
    """
    wish = Wish(
        data=data,
        backbone=backbone,
        mode="layers",
        seed=seed,
        out=out,
        overwrite=overwrite,
        device=device,
        data_dir=data_dir,
        offline=offline,
        size_px=pair(size_px),
        fit=fit,
        augment=augment,
        salvage=salvage,
        most_unreadable=most_unreadable,
        class_weights=class_weights,
        penalty=penalty,
        epochs=epochs,
        cache=place(cache),
    )
    study = Study.begun(wish, Teller(listeners), budget_minutes)
    count = per_class[0] if per_class else PER_CLASS
    net = study.backbone.with_classes(False).bind(len(study.data.class_names))
    untils = [None, *_layers_below_the_head(net, study.data.input_shape)]
    accuracies = _accuracies(study, net, untils, count, draws or DRAWS)
    found = tuple(
        _frozen(k, until, accuracies[k], net, study.data.input_shape, len(study.judged))
        for k, until in enumerate(untils)
    )
    report = LayerStudy(
        str(study.folder.path),
        study.data.name,
        study.backbone.name,
        count,
        len(study.judged),
        found,
        study.clock.spent_s,
    )
    study.write(report, "layers")
    return report


def _layers_below_the_head(net: Net, input_shape: tuple[int, int, int]) -> list[str]:
    """The names of the layers with numbers, from the first up, less the head's."""
    with torch.device("meta"):
        module = net.build(input_shape)
    return [layer.names[0] for layer in reversed(layers_from_top(module))][:-1]


def _accuracies(
    study: Study, net: Net, untils: Sequence[str | None], count: int, draws: int
) -> list[list[float]]:
    """One number a draw for each k; none where there was no time."""
    results: list[list[float]] = [[] for _ in untils]
    work = shares(net, study.data.input_shape, untils)
    slowest_s = 0.0  # of a training in which every layer would learn
    for draw in range(draws):
        places = study.drawn(count, draw)
        start, extracted = study.head_at_the_end(places, draw)
        results[-1].append(extracted)
        for k in _ends_first(len(untils) - 1):
            if not study.clock.has_room(slowest_s * work[k]):
                continue
            what, began_at = f"{k} layers frozen", time.perf_counter()
            recipe = _recipe(study, untils[k])
            accuracy = study.trained(places, recipe, start, label(what, count, draw), work[k])
            if accuracy is not None:
                slowest_s = max(slowest_s, (time.perf_counter() - began_at) / work[k])
                results[k].append(accuracy)
                study.tell(what, count, draw, accuracy)
    return results


def shares(net: Net, input_shape: tuple[int, int, int], untils: Sequence[str | None]) -> list[float]:
    """The work of a step with the layers up to each one frozen, as a share of that with none: a pass forward through
    all, and two backward through what learns. `net` is bound.

    >>> net = Net.parse("conv(4, 3), relu, conv(4, 3), flatten, dense(classes)").bind(2)
    >>> [round(share, 2) for share in shares(net, (1, 8, 8), [None, "conv1", "conv2"])]
    [1.0, 0.77, 0.36]
    """
    steps = net.infer(input_shape).steps
    whole = sum(step.macs for step in steps)
    found = []
    for until in untils:
        last = max((i for i, step in enumerate(steps) if _is_within(step.name, until)), default=-1)
        found.append(1 - 2 / 3 * sum(step.macs for step in steps[: last + 1]) / whole)
    return found


def _is_within(name: str, layer: str | None) -> bool:
    """Whether a step is this layer or stands in it."""
    return layer is not None and f"{name}.".startswith(f"{layer}.")


def _recipe(study: Study, until: str | None) -> Recipe:
    """Fine-tuning with the layers up to one frozen."""
    return finetune_recipe(study.data.preprocessing.size_px, until, study.wish.epochs)


def _ends_first(number: int) -> list[int]:
    """0 … number − 1 with the ends first, then halves, quarters …, so that a short budget still shows the shape.

    >>> _ends_first(5)
    [0, 4, 2, 1, 3]
    """
    order = [0, number - 1]
    step = number - 1
    while step > 1:
        step = (step + 1) // 2
        order += [k for k in range(0, number, step) if k not in order]
    return list(dict.fromkeys(order))


def _frozen(
    k: int,
    until: str | None,
    accuracies: list[float],
    net: Net,
    shape: tuple[int, int, int],
    judged: int,
) -> Frozen:
    frozen, trained = frozen_and_trained(net, shape, until)
    if not accuracies:
        return Frozen(k, until, frozen, trained, (), None, None)
    middle = float(np.mean(accuracies))
    return Frozen(k, until, frozen, trained, tuple(accuracies), middle, interval(accuracies, judged))
