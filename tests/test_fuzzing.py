"""Files that nobody wrote: thousands of mutations in the suite, hundreds of thousands by tools/fuzz_model_file.py."""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from convscope.data import from_arrays
from convscope.errors import ModelFileError, NetTextError, RunError
from convscope.model_file import load_model, parse_json
from convscope.net import Net
from convscope.training import train
from convscope.training.checkpoint import Checkpoint
from convscope.training.configuration import Configuration
from convscope.training.folder import RunFolder, kept_history, read_history

TOOLS = Path(__file__).parent.parent / "tools"
one_file = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def tool(name: str) -> Any:
    """A script in tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mutations = tool("mutations")


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    """Good model files."""
    with torch.random.fork_rng(devices=[]):
        found: list[bytes] = tool("fuzz_model_file").samples()
    return found


@one_file
@given(number=st.integers(0, 10**9))
def test_a_mutated_model_is_read_or_refused(tmp_path: Path, samples: list[bytes], number: int) -> None:
    _, content = mutations.mutated(samples, 0, number)
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with suppress(ModelFileError):
        load_model(path)


def test_good_models_are_read(tmp_path: Path, samples: list[bytes]) -> None:
    """Else every mutation would be refused for the wrong reason; and what is signed again is as good as signed."""
    for content in samples:
        for whole in (content, mutations.Parts.of(content).packed()):
            (tmp_path / "m").write_bytes(whole)
            assert load_model(tmp_path / "m").class_names == ("a", "b", "ç")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("unknown", {"unknown": {"false_alarms": 10**400}}, "an unknown rule whose false_alarms is 1000"),
        (
            "card",
            {"card": {"timm": {"name": "hf-hub:someone/evil", "sha256": ""}}},
            "a model for the network 'hf-hub",
        ),
        ("card", {"card": {"timm": {"name": "local-dir:/tmp"}}}, "the name of a network in timm's own list"),
        ("card", {"card": {"timm": "x"}}, "does not say which network"),
        ("net", {"net": {"text": "repeat(1000000000, relu)", "format_version": 1}}, "at most 10000|repeat"),
        ("net", {"net": {"text": "0x7f, dense(3)", "format_version": 1}}, "a number with letters"),
    ],
)
def test_what_the_fuzzing_found(
    tmp_path: Path, samples: list[bytes], name: str, change: dict[str, Any], text: str
) -> None:
    parts = mutations.Parts.of(samples[-1])
    path = tmp_path / "m"
    path.write_bytes(mutations.Parts(parts.header, {**parts.document, **change}, parts.data).packed())
    with pytest.raises(ModelFileError, match=text):
        load_model(path)


def test_a_number_too_large_for_a_float_is_no_json() -> None:
    assert parse_json('{"a": 1e999}') is None
    assert parse_json('{"a": 1e300}') == {"a": 1e300}


@given(st.text(st.sampled_from("conv(12,3)relu[]='\"#.-_ \n1e9xX∞classes"), max_size=60))
@example("1if True else 2")
@example("1_000_000")
@example("1e9relu")
def test_any_text_is_a_net_or_refused(text: str) -> None:
    with suppress(NetTextError):
        Net.parse(text)


# ---- the other files of a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A small finished run with everything a checkpoint can hold."""
    import numpy as np

    from convscope.training import Adam, Averaging, EarlyStopping, OneCycle, Recipe

    threads = torch.get_num_threads()
    images = np.random.default_rng(0).integers(0, 255, (24, 1, 4, 4), dtype=np.uint8)
    data = from_arrays(images, [0, 1, 2] * 8, validation=(images[:6], [0, 1, 2] * 2))
    recipe = Recipe(
        "r", Adam(), OneCycle(), batch_size=6, steps=8, averaging=Averaging(), early_stopping=EarlyStopping()
    )
    folder = tmp_path_factory.mktemp("fuzzed") / "run"
    train(data, "flatten, dense(classes)", recipe, out=folder, device="cpu")
    torch.set_num_threads(threads)
    return RunFolder(folder)


@one_file
@given(number=st.integers(0, 10**9))
@example(74_633_863)  # a loss of 10**400
def test_a_mutated_checkpoint_is_read_or_refused(tmp_path: Path, run: RunFolder, number: int) -> None:
    digest = (
        json.loads(run.config.read_text()) and Configuration.from_json(run.read_config(), run.config).digest
    )
    path = tmp_path / "checkpoint"
    path.write_bytes(mutations.mutated([run.checkpoint.read_bytes()], 1, number)[1])
    with suppress(RunError):
        Checkpoint.read(path, digest)


@one_file
@given(number=st.integers(0, 10**9))
def test_a_mutated_configuration_is_read_or_refused(run: RunFolder, number: int) -> None:
    numbers, document = random.Random(number), copy.deepcopy(run.read_config())
    for _ in range(numbers.choice([1, 1, 2, 3])):
        mutations.scramble(document, numbers)
    found = parse_json(json.dumps(document))
    if isinstance(found, dict):
        with suppress(RunError):
            assert len(Configuration.from_json(found, run.config).digest) == 64


@one_file
@given(content=st.binary(max_size=300), cut=st.integers(0, 200))
def test_a_mutated_history_is_read_or_refused(
    tmp_path: Path, run: RunFolder, content: bytes, cut: int
) -> None:
    path, whole = tmp_path / "history.jsonl", run.history.read_bytes()
    for changed in (content, whole[:cut] + content + whole[cut:], whole[: -cut or None]):
        path.write_bytes(changed)
        assert all(isinstance(line, dict) for line in read_history(path))
        with suppress(RunError):
            kept_history(path, 3, None)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory at its peak as Linux tells it")
def test_the_fuzzer_itself_notices(tmp_path: Path) -> None:
    """A few hundred files go through; a reader that runs code, or takes much memory, is caught."""
    done = subprocess.run([sys.executable, str(TOOLS / "fuzz_model_file.py"), "--files", "300", "--seed", "9"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "300 files, seed 9" in done.stdout
    assert ", 0 failures" in done.stdout
    script = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import fuzz_model_file as f, pathlib\n"
        f"w = f.Worker(0, pathlib.Path({str(tmp_path)!r}))\n"
        "bad = [lambda p: exec('1'), lambda p: bytearray(300 << 20), lambda p: 1 / 0, lambda p: open(p, 'w')]\n"
        "for load in bad:\n    w.load = load; print(w.problem(*w.read(), 10))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["ran", "took", "ZeroDivisionError:", "ran"]
