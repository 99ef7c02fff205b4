"""The notebook runs from first cell to last, on the bundled digits and for a few steps, and says what it must."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "lecture.ipynb"
DOCUMENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"]
SHORT: dict[str, Any] = {
    "DATA": "mnist-10k",
    "LENGTH": {"steps": 25},
}  # in place of the cell tagged "parameters"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Any]]:
    """Every code cell by its id: what it printed, and the value of a last line that is an expression."""
    results: dict[str, tuple[str, Any]] = {}
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path_factory.mktemp("notebook")):
        for cell in CODE:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                value = run_cell("".join(cell["source"]), names)
            results[cell["id"]] = printed.getvalue(), value
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(SHORT) <= set(names)
                names |= SHORT
    return results


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; the value of its last line, or None."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), NOTEBOOK.name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_it_is_stored_without_outputs() -> None:
    assert DOCUMENT["nbformat"] == 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    assert len({cell["id"] for cell in DOCUMENT["cells"]}) == len(DOCUMENT["cells"])


def test_it_has_the_lecture_s_steps_in_the_lecture_s_order() -> None:
    steps = ["load", "size", "reshape", "normalise", "one-hot", "model", "compile", "fit", "evaluate"]
    assert [cell["id"] for cell in CODE if cell["id"] in steps] == steps


@pytest.mark.slow
def test_shapes(ran: dict[str, tuple[str, Any]]) -> None:
    printed = {name: result[0].splitlines() for name, result in ran.items()}
    assert printed["load"][1:] == ["(9000, 28, 28)", "(9000,)", "(1000, 28, 28)", "(1000,)"]
    assert printed["size"] == ["28", "28"]
    assert printed["reshape"] == ["(28, 28, 1)"]
    assert printed["normalise"][0] == "x_train shape: (9000, 28, 28, 1)"
    assert printed["one-hot"] == ["(9000, 10)"]
    assert printed["same"] == ["True"]


@pytest.mark.slow
def test_the_network_is_the_lecture_s_and_shows_itself(ran: dict[str, tuple[str, Any]]) -> None:
    from convscope import nets

    net = ran["model"][1]
    assert net == nets.get("lecture").net
    assert "<table" in net._repr_html_()
    assert ran["counts"][0] == "1,199,882 parameters, 11,992,448 multiplications for one image\n"
    assert ran["compile"][0].splitlines()[0] == "Adadelta(rate=1.0, rho=0.95, eps=1e-07, weight_decay=0.0)"


@pytest.mark.slow
def test_it_learns_and_prints_the_score_last(ran: dict[str, tuple[str, Any]]) -> None:
    assert "epoch 1: loss" in ran["fit"][0]
    loss, accuracy = ran["evaluate"][0].splitlines()
    assert loss.startswith("Test loss: ")
    assert accuracy.startswith("Test accuracy: 0.")
    assert float(accuracy.split()[2]) > 0.6  # 25 steps
    assert list(ran)[-1] == "evaluate"
