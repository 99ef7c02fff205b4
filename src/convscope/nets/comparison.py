"""The zoo side by side: what a table says of each network, counted from its layers or published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from convscope import nets
from convscope.errors import ConvscopeError, did_you_mean
from convscope.inference import Inference, Step
from convscope.layers import adaptiveavgpool, globalpool
from convscope.layers._base import both
from convscope.layers._pool import Pool
from convscope.nets._entry import Entry
from convscope.nets.facts import Published


@dataclass(frozen=True)
class Pools:
    """Pools of one kind in a network: how many, their window and stride in pixels (None for a whole map)."""

    kind: str
    number: int
    window: int | tuple[int, int] | None
    stride: int | tuple[int, int] | None
    overlap: bool


@dataclass(frozen=True)
class Row:
    """One network at its own input.

    Attributes:
        depth: convolutions and dense layers on the longest path, and LeNet-5's output.
        receptive_field: pixels, side by side, that one number of the last map sees; None where there is no map.
        smallest_px: the side of the smallest square picture it takes.
        top5_single, top5_ensemble: the paper's best top-5 error on ImageNet, with one net and with several.
        torchvision: the builder whose published weights it takes.
        torchvision_top1, torchvision_top5: their accuracy.
        package, package_top1: the Python package that brings its weights, and their accuracy.
        own_data, own_data_error: another data set that the paper judges it on, and the error there.
        published: for each of these numbers what it was measured on, and where it is published.
    """

    name: str
    family: str
    year: int | None
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    parameters_training_only: int
    macs: int
    depth: int
    receptive_field: int | list[int] | None
    smallest_px: int | None
    pools: tuple[Pools, ...]
    top5_single: float | None
    top5_ensemble: float | None
    torchvision: str | None
    torchvision_top1: float | None
    torchvision_top5: float | None
    package: str | None
    package_top1: float | None
    own_data: str | None
    own_data_error: float | None
    published: dict[str, dict[str, str]]
    description: str
    net: str

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self)


SORTABLE = tuple(
    field.name for field in fields(Row) if field.name not in ("pools", "published", "net", "input_shape", "description")
)  # fmt: skip
_NUMBERS = (
    "top5_single", "top5_ensemble", "torchvision_top1", "torchvision_top5", "package_top1", "own_data_error"
)  # fmt: skip


def compare(sort: str | None = None) -> list[Row]:
    """A row for every network, family by family, or sorted by one column, smallest first, unknown last.

    Raises ConvscopeError when there is no such column.

    >>> compare(sort="parameters")[0].name
    'speed_digits'
    """
    if sort is not None and sort not in SORTABLE:
        raise ConvscopeError(
            f"--sort {sort!r}", f"one of {', '.join(SORTABLE)}", did_you_mean(sort, SORTABLE)
        )
    rows = [row(nets.get(name)) for name in nets.names()]
    return rows if sort is None else sorted(rows, key=lambda each: _rank(getattr(each, sort)))


def _rank(value: Any) -> tuple[bool, Any]:
    return value is None, 0 if value is None else value


def row(entry: Entry) -> Row:
    """What there is to say of one network."""
    inference, facts = entry.net.infer(entry.input_shape, entry.classes), entry.facts
    published: dict[str, Published | None] = {name: getattr(facts, name) for name in _NUMBERS}
    values = {name: number.value if number else None for name, number in published.items()}
    return Row(
        name=entry.name,
        family=entry.family,
        year=entry.year,
        input_shape=entry.input_shape,
        classes=entry.classes,
        parameters=inference.parameters,
        parameters_training_only=inference.parameters_training_only,
        macs=inference.macs,
        depth=inference.depth,
        receptive_field=last_field(inference),
        smallest_px=entry.smallest_px,
        pools=pools(inference),
        torchvision=entry.torchvision,
        package=entry.package,
        own_data=facts.own_data,
        published={name: {"what": n.what, "source": n.source} for name, n in published.items() if n},
        description=entry.description,
        net=str(entry.net),
        **values,
    )


def last_field(inference: Inference) -> int | list[int] | None:
    """The receptive field at the last map, in pixels of the picture."""
    maps = [step for step in inference.steps if len(step.output_shape) == 3 and not step.training_only]
    return maps[-1].receptive_field if maps else None


def pools(inference: Inference) -> tuple[Pools, ...]:
    """The pools that a prediction goes through, kind by kind, in the order they first come.

    An adaptive pool that changes nothing at this size is left out.
    """
    found = Counter(pool for step in _used(inference.steps) if (pool := _pool(step)))
    return tuple(Pools(kind, number, *rest) for (kind, *rest), number in found.items())


def _used(steps: Iterable[Step]) -> Iterable[Step]:
    return (step for step in steps if not step.training_only)


def _pool(step: Step) -> tuple[str, Any, Any, bool] | None:
    layer = step.layer
    if isinstance(layer, Pool):
        return step.kind.removesuffix("pool"), layer.window, layer.stride, layer.overlaps
    if isinstance(layer, globalpool):
        return f"global {layer.kind}", None, None, False
    if isinstance(layer, adaptiveavgpool) and step.input_shape[1:] != both(layer.size):
        return "adaptive avg", None, None, False
    return None
