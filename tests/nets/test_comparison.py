"""The zoo side by side, what is published of it, and the table at two widths."""

from __future__ import annotations

import json

import pytest

from convscope import nets
from convscope.cli.nets import comparison_text
from convscope.errors import ConvscopeError
from convscope.nets import comparison, facts


@pytest.fixture(scope="module")
def rows() -> dict[str, comparison.Row]:
    return {row.name: row for row in comparison.compare()}


def test_published_errors(rows: dict[str, comparison.Row]) -> None:
    assert (rows["alexnet_2012"].top5_single, rows["alexnet_2012"].top5_ensemble) == (0.182, 0.16422)
    assert rows["resnet152_v1"].top5_ensemble == 0.03567
    assert rows["resnet18"].top5_single is None
    assert (rows["vgg16"].torchvision_top1, rows["vgg16"].torchvision_top5) == (0.71592, 0.90382)
    assert (rows["cifar_resnet20"].own_data, rows["cifar_resnet20"].own_data_error) == ("cifar10", 0.0875)
    assert "144 crops" in rows["googlenet"].published["top5_single"]["what"]


def test_every_number_says_where_it_is_published() -> None:
    for name in facts.document()["nets"]:
        assert name in nets.names()
        row = comparison.row(nets.get(name))
        assert row.published
        assert all(said["what"] and said["source"] for said in row.published.values())


def test_torchvision_accuracies_are_torchvisions(rows: dict[str, comparison.Row]) -> None:
    from torchvision.models import get_model_weights

    for row in rows.values():
        assert (row.torchvision is None) == (row.torchvision_top1 is None)
        if row.torchvision is not None and row.torchvision_top1 is not None:
            weights = get_model_weights(row.torchvision)["IMAGENET1K_V1"]  # type: ignore[index]
            metrics = weights.meta["_metrics"]["ImageNet-1K"]
            assert round(100 * row.torchvision_top1, 3) == metrics["acc@1"]
            assert round(100 * (row.torchvision_top5 or 0), 3) == metrics["acc@5"]


def test_the_chart_agrees_with_the_zoo(rows: dict[str, comparison.Row]) -> None:
    years = [entry["year"] for entry in facts.document()["chart"]]
    assert years == sorted(years)
    for entry in facts.document()["chart"]:
        assert entry["ensemble"]["source"] in facts.document()["sources"]
        if entry["net"] is not None:
            row = rows[entry["net"]]
            assert (entry["layers"], entry["parameters"], entry["macs"]) == (
                row.depth,
                row.parameters,
                row.macs,
            )


def test_pools_and_whether_they_overlap(rows: dict[str, comparison.Row]) -> None:
    def of(name: str) -> list[tuple[str, int, object, bool]]:
        return [(pool.kind, pool.number, pool.window, pool.overlap) for pool in rows[name].pools]

    assert of("lecture") == [("max", 1, 2, False)]
    assert of("lenet5") == [("subsample", 2, 2, False)]
    assert of("alexnet") == [("max", 3, 3, True)]  # its adaptive pool changes nothing at 224 px
    assert of("vgg16") == [("max", 5, 2, False)]
    assert of("googlenet") == [("max", 4, 3, True), ("max", 9, 3, True), ("global avg", 1, None, False)]
    assert of("resnet152") == [("max", 1, 3, True), ("global avg", 1, None, False)]
    assert of("linear") == []


@pytest.mark.parametrize("column", comparison.SORTABLE)
def test_sorting(column: str) -> None:
    values = [getattr(row, column) for row in comparison.compare(column)]
    known = [value for value in values if value is not None]
    assert known == sorted(known)
    assert values[len(known) :] == [None] * (len(values) - len(known))


def test_an_unknown_column() -> None:
    with pytest.raises(
        ConvscopeError, match="--sort 'parameter'. Expected one of name.*Did you mean 'parameters'"
    ):
        comparison.compare("parameter")


@pytest.mark.parametrize(("width", "missing"), [(200, ""), (120, "input"), (80, "input, sees, pools")])
def test_the_table_fits(width: int, missing: str, rows: dict[str, comparison.Row]) -> None:
    text = comparison_text(list(rows.values()), width)
    lines = text.splitlines()
    table = lines[: len(rows) + 1]
    assert max(map(len, table)) <= width
    assert all(row.name in text and f"{row.parameters:,}" in text for row in rows.values())
    said = next((line for line in lines if line.startswith("A wider window also shows: ")), "")
    assert missing in said
    assert bool(missing) == bool(said)


def test_rows_are_plain_json(rows: dict[str, comparison.Row]) -> None:
    for row in rows.values():
        assert json.loads(json.dumps(row.to_json()))["name"] == row.name
