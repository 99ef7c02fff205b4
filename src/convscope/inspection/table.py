"""The table of `inspect` as plain text, as wide as the terminal, and the comparison with fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from convscope.inference import Inference, Step, shortened
from convscope.inspection.lines import Line, all_lines, folded_lines
from convscope.inspection.totals import Dense, costs, has_lenet_extras, one_node_a_map, same_output, total
from convscope.layers._base import written_shape
from convscope.layers._composite import Composite

WIDTH = 100  # of a page where no terminal says another
MOST_COMPARED = 8  # convolutions compared with dense layers, in the short form
ARGUMENT = "A convolution has fewer weights and more nodes. Fully connected layers in its place would have:"


# Numbers ----------------------------------------------------------------------------------------------


def exact(number: int) -> str:
    """A count in full, nothing for none.

    >>> exact(1199882), exact(0)
    ('1,199,882', '')
    """
    return f"{number:,}" if number else ""


def rounded(number: float) -> str:
    """A count with three digits and its power of a thousand.

    >>> rounded(11992448), rounded(320), rounded(0)
    ('12.0 M', '320', '')
    """
    if number < 1000:
        return f"{number:g}" if number else ""
    for power, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P")):
        value = number / power
        if value < 999.5 or letter == "P":
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {letter}"
    raise AssertionError("every number has a power")


def in_bytes(number: float) -> str:
    """Bytes for people, a kB a thousand.

    >>> in_bytes(86528), in_bytes(40)
    ('86.5 kB', '40 B')
    """
    text = rounded(number)
    return f"{text}B" if " " in text else f"{text} B" if text else ""


def percent(part: float, whole: float) -> str:
    """A share of the whole, nothing for none."""
    if not part or not whole:
        return ""
    return "100 %" if part == whole else f"{100 * part / whole:.1f} %"


def pixels(value: float | list[int] | list[float] | None) -> str:
    """A number of pixels, or rows×columns; nothing where there is none."""
    return "×".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def times(ratio: float) -> str:
    """How many times as many: ×40.4, or ÷784 for a 784th.

    >>> times(3073 / 76), times(1 / 784), times(1.0)
    ('×40.4', '÷784', '×1')
    """
    mark, value = ("×", ratio) if ratio >= 0.9995 else ("÷", 1 / ratio)
    return f"{mark}{value:,.0f}" if value >= 99.95 or abs(value - 1) < 0.0005 else f"{mark}{value:.3g}"


# Columns ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which columns there are, and how their numbers are written."""

    what: int = 44  # letters of a layer's text; 0 leaves the column out
    exact_macs: bool = True
    exact_parameters: bool = True
    macs_share: bool = True
    flops: bool = True
    name: int = 60


FULL = Layout()
SHORT_MACS = replace(FULL, exact_macs=False)
ONE_SHARE = replace(SHORT_MACS, what=28, macs_share=False)
BARE = replace(ONE_SHARE, what=0)
SHORT = replace(BARE, exact_parameters=False)
LAYOUTS = (
    FULL, SHORT_MACS, replace(SHORT_MACS, what=32), replace(SHORT_MACS, what=28), ONE_SHARE,
    replace(ONE_SHARE, exact_parameters=False), replace(ONE_SHARE, what=20), BARE, SHORT, replace(SHORT, flops=False),
    replace(SHORT, flops=False, name=24), replace(SHORT, flops=False, name=16),
)  # fmt: skip


def columns(inference: Inference, layout: Layout) -> list[tuple[str, Callable[[Line], str]]]:
    """Headings, and what stands under each in a line."""
    whole = total(step for step in inference.steps if not step.training_only)
    parameters = exact if layout.exact_parameters else rounded
    macs = exact if layout.exact_macs else rounded

    def share(part: int, of: int, line: Line) -> str:
        return "" if line.training_only else percent(part, of)

    shown: list[tuple[str, Callable[[Line], str], bool]] = [
        ("layer", lambda line: shortened(line.name, layout.name), True),
        ("what", lambda line: _what(line, layout.what), layout.what > 0),
        ("output", lambda line: written_shape(line.last.output_shape), True),
        (
            "parameters" if layout.exact_parameters else "params",
            lambda line: parameters(line.costs.parameters),
            True,
        ),
        ("share", lambda line: share(line.costs.parameters, whole.parameters, line), True),
        ("MACs", lambda line: macs(line.costs.macs), True),
        ("share", lambda line: share(line.costs.macs, whole.macs, line), layout.macs_share),
        ("FLOPs", lambda line: rounded(line.costs.flops), layout.flops),
        ("memory", lambda line: in_bytes(line.costs.activation_bytes), True),
        ("sees", lambda line: pixels(line.last.receptive_field), True),
        ("jump", lambda line: pixels(line.last.jump), True),
    ]
    return [(heading, cell) for heading, cell, there in shown if there]


def _what(line: Line, most: int) -> str:
    """A line's layers; where they do not fit, the first one is cut and not those behind it."""
    behind = "".join(f", {word}" for word in line.followers) + (
        " (training only)" if line.training_only else ""
    )
    first = line.what
    if len(first) + len(behind) > most and line.followers:
        first = positions_only(line.steps[0])
    return shortened(shortened(first, max(most - len(behind), 12)) + behind, most)


def positions_only(step: Step) -> str:
    """A layer's text without its keyword arguments, a composite's without its layers."""
    if isinstance(step.layer, Composite):
        return step.kind
    positions = [argument for argument in step.layer.arguments() if "=" not in argument]
    return f"{step.kind}({', '.join(positions)})" if positions else step.kind


def rows(inference: Inference, lines: Sequence[Line], layout: Layout) -> list[list[str]]:
    """The table's cells: headings, a row a line, the total."""
    shown = columns(inference, layout)
    counted = [step for step in inference.steps if not step.training_only]
    whole = Line("total", "", tuple(counted))
    last = [cell(whole) if heading not in ("output", "sees", "jump") else "" for heading, cell in shown]
    return [[heading for heading, _ in shown], *([cell(line) for _, cell in shown] for line in lines), last]


def aligned(cells: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns lined up: the first `left` to the left, numbers to the right."""
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    return [
        "  ".join(
            f"{cell:<{w}}" if k < left else f"{cell:>{w}}"
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def render(
    inference: Inference, width: int | None = None, all_layers: bool = False, against_dense: bool = False
) -> str:
    """The whole answer of `inspect`: the table, its totals, the comparison with fully connected layers.

    Args:
        width: letters a line may have.
        all_layers: a line for each layer, however many there are.
        against_dense: the comparison with all its numbers instead of the short one.
    """
    lines = all_lines(inference) if all_layers else folded_lines(inference)
    most = width or WIDTH
    said = [part for sentence in _totals(inference, lines) for part in wrap(sentence, max(most, 40))]
    parts = [_title(inference), *_table(inference, lines, most), "", *said]
    comparison = exact_comparison(inference) if against_dense else short_comparison(inference, most)
    return "\n".join([*parts, *(["", *comparison] if comparison else [])])


def _title(inference: Inference) -> str:
    return f"Input {written_shape(inference.input_shape)} → scores {written_shape(inference.output_shape)}\n"


def _table(inference: Inference, lines: Sequence[Line], width: int) -> list[str]:
    drawn: list[str] = []
    for layout in LAYOUTS:
        drawn = aligned(rows(inference, lines, layout), left=2 if layout.what else 1)
        if max(map(len, drawn)) <= width:
            break
    return drawn


def _totals(inference: Inference, lines: Sequence[Line]) -> list[str]:
    counted = [step for step in inference.steps if not step.training_only]
    whole, largest = total(counted), max(costs(step).activation_bytes for step in counted)
    said = [
        f"{inference.parameters:,} parameters, {inference.macs:,} MACs a picture "
        "(multiply-adds of convolutions and dense layers).",
        f"{whole.flops:,} FLOPs: two a MAC, and one for each addition of a bias.",
    ]
    if inference.parameters_training_only:
        said.append(
            f"{inference.parameters_training_only:,} parameters more in outputs that only training uses."
        )
    if has_lenet_extras(counted):
        said.append(f"{whole.connections:,} connections, as the LeNet-5 paper counts them.")
    said += [
        f"“memory” is what leaves a layer, float32, one picture: {in_bytes(largest)} at most, "
        f"{in_bytes(whole.activation_bytes)} in all.",
        "“sees” is the receptive field and “jump” the distance of neighbours, in pixels of the picture.",
    ]
    if len(lines) < len(inference.steps):
        said.append(
            f"{len(inference.steps)} layers on {len(lines)} lines: norms and activations stand with their layer, and a "
            "line that begins with 2× is the lines above twice more; --all gives each its own."
        )
    return said


# Against fully connected layers -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Compared:
    """Convolutions, and what dense layers in their place would have."""

    name: str
    own: Dense
    one_node: Dense
    same: Dense

    def __add__(self, other: _Compared) -> _Compared:
        return _Compared(
            self.name, self.own + other.own, self.one_node + other.one_node, self.same + other.same
        )

    @property
    def ratios(self) -> list[str]:
        """Parameters, nodes, MACs of each dense layer by those of the convolution."""
        return [
            times(getattr(dense, number) / getattr(self.own, number))
            for dense in (self.one_node, self.same)
            for number in ("parameters", "nodes", "macs")
        ]


def _convolutions(inference: Inference) -> list[_Compared]:
    """Each kind of convolution once, with how many there are of it, then all together."""
    kinds: dict[object, list[Step]] = {}
    for step in inference.steps:
        if step.kind == "conv" and not step.training_only:
            kinds.setdefault((step.layer, step.input_shape), []).append(step)
    return [_compared(steps) for steps in kinds.values()]


def _compared(steps: list[Step]) -> _Compared:
    first = steps[0]
    more = f" ({len(steps)}×)" if len(steps) > 1 else ""
    one = _Compared(first.name + more, _own(first), one_node_a_map(first), same_output(first))
    return sum([one] * (len(steps) - 1), one)


def _own(step: Step) -> Dense:
    own = costs(step)
    return Dense(own.parameters, own.nodes, own.macs)


def _all_of(compared: list[_Compared], inference: Inference) -> list[_Compared]:
    """One more line, all together, where there are several."""
    if len(compared) < 2:
        return []
    count = sum(step.kind == "conv" and not step.training_only for step in inference.steps)
    return [replace(sum(compared[1:], compared[0]), name=f"all {count} convolutions")]


def short_comparison(inference: Inference, width: int = WIDTH) -> list[str]:
    """The lecture's argument in a few lines: how many times as many weights, nodes and MACs dense layers would have."""
    compared = _convolutions(inference)
    if not compared:
        return []
    left_out = len(compared) - MOST_COMPARED
    shown = compared if left_out <= 1 else compared[:MOST_COMPARED]
    rows = [*shown, *_all_of(compared, inference)]
    headings = ["parameters", "nodes", "MACs"] * 2
    numbers = sum(
        2 + max(map(len, column)) for column in zip(headings, *(c.ratios for c in rows), strict=True)
    )
    most = max(width - numbers, 12)  # what is left for names
    names = [c.name if len(c.name) <= most else f"…{c.name[1 - most :]}" for c in rows]
    table = [["layer", *headings], *([name, *c.ratios] for name, c in zip(names, rows, strict=True))]
    drawn = aligned(table, left=1)
    lines = [
        *wrap(ARGUMENT, width),
        _groups(table),
        *drawn,
    ]
    if shown is not compared:
        lines.append(f"{left_out} more kinds of convolution, and the numbers: --against-dense.")
    return lines


def _groups(table: list[list[str]]) -> str:
    """What stands over the headings: which dense layer the three columns are about."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    first, second = sum(widths[:1]) + 2, sum(widths[:4]) + 8
    return f"{'':{first}}{'with one node a map':<{second - first}}with the same output"


def exact_comparison(inference: Inference) -> list[str]:
    """All numbers of the comparison: each convolution, then the two dense layers with their ratios."""
    compared = _convolutions(inference)
    if not compared:
        return [
            "No convolution stands in this net, so there is nothing to compare with fully connected layers."
        ]
    table = [["layer", "as", "parameters", "", "nodes", "", "MACs", ""]]
    for c in [*compared, *_all_of(compared, inference)]:
        table.append([shortened(c.name, 34), "convolution", *_spread(c.own, [""] * 3)])
        table.append(["", "dense, one node a map", *_spread(c.one_node, c.ratios[:3])])
        table.append(["", "dense, the same output", *_spread(c.same, c.ratios[3:])])
    return ["Against fully connected layers, with how many times as many:", "", *aligned(table, left=2)]


def _spread(dense: Dense, ratios: list[str]) -> list[str]:
    numbers = (dense.parameters, dense.nodes, dense.macs)
    return [cell for number, ratio in zip(numbers, ratios, strict=True) for cell in (f"{number:,}", ratio)]
