"""The worked examples of CONTRIBUTING.md are real code: they run as they stand there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from convscope.data.data_set import DataSet
from convscope.net import Net

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^<!-- tested: (.*?) -->\n```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An example as the module it would be."""
    module = types.ModuleType(f"example_{name.replace(' ', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(EXAMPLES[name], "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    leakyrelu = loaded("layer", monkeypatch).leakyrelu
    net = Net(leakyrelu(0.1))
    assert str(leakyrelu()) == "leakyrelu"
    assert str(net) == "Net(leakyrelu(0.1))"
    assert net.infer((2, 3, 3)).output_shape == (2, 3, 3)
    images = torch.tensor([[[[-1.0, 2.0]]]])
    assert net.build((1, 1, 2))(images).tolist() == [[[[pytest.approx(-0.1), 2.0]]]]
    with pytest.raises(ValueError, match="leakyrelu: slope is 2. Expected a number from 0 to 1"):
        leakyrelu(2)


def test_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    data_set = loaded("data set", monkeypatch).KUZUSHIJI_MNIST
    assert isinstance(data_set, DataSet)
    assert data_set.preprocessing.input_shape == (1, 28, 28)
    assert len(data_set.class_names) == 10
