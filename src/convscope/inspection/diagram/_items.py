"""What is drawn, before how: layers gathered into units, repeats folded, every layer's name kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convscope.inference import Inference, Node
from convscope.layers._composite import Composite

EXTRAS = frozenset(
    ["batchnorm", "relu", "relu6", "gelu", "tanh", "sigmoid", "softmax", "dropout", "lrn", "identity"]
)
"""Words that keep the shape: drawn as strips on the layer before them."""

LONGEST_PERIOD = 12
NAMES_KEPT = 200


@dataclass(frozen=True)
class Unit:
    """A layer that makes something, with the shape-keeping layers right after it."""

    nodes: tuple[Node, ...]

    @property
    def main(self) -> Node | None:
        """The layer that makes something; None where only shape-keeping layers stand."""
        return self.nodes[0] if self.nodes[0].layer.word not in EXTRAS else None

    @property
    def extras(self) -> tuple[Node, ...]:
        """The shape-keeping layers."""
        return self.nodes[1:] if self.main else self.nodes


@dataclass(frozen=True)
class Group:
    """A composite: its node and, path by path, what stands in it."""

    node: Node
    paths: tuple[tuple[Item, ...], ...]


@dataclass(frozen=True)
class Times:
    """The same things `times` times in a row, drawn once."""

    items: tuple[Item, ...]
    times: int


Item = Unit | Group | Times


def items_of(nodes: Sequence[Node]) -> tuple[Item, ...]:
    """Layers in a row gathered into units and groups; named repeats and plain ones are written out already."""
    found: list[Item] = []
    for node in nodes:
        last = found[-1] if found else None
        if isinstance(node.layer, Composite):
            found.append(Group(node, tuple(items_of(path) for path in node.paths)))
        elif node.layer.word in EXTRAS and isinstance(last, Unit):
            found[-1] = Unit((*last.nodes, node))
        else:
            found.append(Unit((node,)))
    return tuple(found)


def nodes_in(item: Item) -> Iterator[Node]:
    """Every node of an item, in order, composites before what stands in them."""
    if isinstance(item, Unit):
        yield from item.nodes
    elif isinstance(item, Times):
        for part in item.items:
            yield from nodes_in(part)
    else:
        yield item.node
        for path in item.paths:
            for part in path:
                yield from nodes_in(part)


@dataclass
class Folder:
    """Folds repeats and remembers which drawn layer stands for which others."""

    inference: Inference
    least: int = 3
    names: dict[str, list[str]] = field(default_factory=dict)
    _keys: dict[str, object] = field(default_factory=dict)

    def fold(self, items: Sequence[Item], longest: int = LONGEST_PERIOD) -> tuple[Item, ...]:
        """The same items with runs of equal ones drawn once; inside composites too."""
        keys = [self.key(item) for item in items]
        found: list[Item] = []
        at = 0
        while at < len(items):
            period, times = self._run(items, keys, at, longest)
            first = items[at : at + period]
            for copy in range(1, times):
                self._remember(first, items[at + copy * period : at + (copy + 1) * period])
            if times > 1:
                found.append(Times(self.fold(first, period - 1), times))
            else:
                found += [self._inside(item) for item in first]
            at += period * times
        return tuple(found)

    def _inside(self, item: Item) -> Item:
        if isinstance(item, Group):
            return replace(item, paths=tuple(self.fold(path) for path in item.paths))
        return item

    def _run(self, items: Sequence[Item], keys: list[object], at: int, longest: int) -> tuple[int, int]:
        """The period and the number of copies of the run at `at` that covers most; (1, 1) where there is none."""
        best = (1, 1)
        for period in range(1, min(longest, (len(keys) - at) // 2) + 1):
            times = _copies(keys, at, period)
            worth = times >= (2 if _has_group(items[at : at + period]) else self.least)
            if (
                worth
                and not self._starts_late(items, keys, at, period, times)
                and period * times > best[0] * best[1]
            ):
                best = (period, times)
        return best

    def _starts_late(
        self, items: Sequence[Item], keys: list[object], at: int, period: int, times: int
    ) -> bool:
        """Whether the run is better begun one later: not with the relu that ends the block before it."""
        first = items[at]
        ends_before = isinstance(first, Unit) and first.main is None
        return period > 1 and ends_before and _copies(keys, at + 1, period) >= times

    def _remember(self, first: Sequence[Item], copy: Sequence[Item]) -> None:
        for one, other in zip(_all_nodes(first), _all_nodes(copy), strict=True):
            self.names.setdefault(one.name, [one.name]).append(other.name)

    def names_for(self, node: Node) -> list[str]:
        """The names of all layers that a drawn one stands for, at most 200 of them written out."""
        names: list[str] = []
        waiting = [node.name]
        while waiting:  # a copy can itself stand for copies inside it
            name = waiting.pop(0)
            names.append(name)
            waiting += self.names.get(name, [name])[1:]
        return names if len(names) <= NAMES_KEPT else [*names[: NAMES_KEPT - 1], names[-1]]

    def key(self, item: Item) -> object:
        """What makes two items look the same: words, arguments and shapes, and no names."""
        if isinstance(item, Unit):
            return tuple(self._node_key(node) for node in item.nodes)
        if isinstance(item, Times):
            return (item.times, *(self.key(part) for part in item.items))
        return (self._node_key(item.node), *(tuple(self.key(part) for part in path) for path in item.paths))

    def _node_key(self, node: Node) -> object:
        key = self._keys.get(node.name)
        if key is None:
            key = self._keys[node.name] = (_bare(node), self.inference.shapes[node.name])
        return key


def _bare(node: Node) -> Any:
    """A layer's word and arguments without its name; of a composite only what is its own."""
    layer: Any = node.layer
    if isinstance(layer, Composite):
        return (layer.word, getattr(layer, "shortcut", None), getattr(layer, "weight", None))
    return (layer.word, tuple(a for a in layer.arguments() if not a.startswith("name=")))


def _copies(keys: list[object], at: int, period: int) -> int:
    times = 1
    while keys[at + times * period : at + (times + 1) * period] == keys[at : at + period]:
        times += 1
    return times


def _has_group(items: Sequence[Item]) -> bool:
    return any(isinstance(item, Group) for item in items)


def _all_nodes(items: Sequence[Item]) -> Iterator[Node]:
    for item in items:
        yield from nodes_in(item)
