"""What is said of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convscope.benchmark import machine as machine_module
from convscope.benchmark.machine import cpu_facts, machine
from convscope.engine.plan import available_cores

XEON = "model name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile amx_bf16\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16 i8mm\n"


def on(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> machine_module.Machine:
    """The machine whose /proc/cpuinfo says `text`."""
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine_module, "CPUINFO", tmp_path / "cpuinfo")
    return machine()


def test_this_machine_is_told_in_plain_values() -> None:
    found = machine()
    assert found.cores == available_cores()
    assert found.instruction_sets
    assert found.memory_bytes is None or found.memory_bytes > 2**28
    assert found.torch == torch.__version__
    assert found.to_json()["instruction_sets"] == list(found.instruction_sets)


def test_instruction_sets_in_a_fixed_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = on(XEON, tmp_path, monkeypatch)
    assert found.cpu == "Xeon"
    assert found.instruction_sets == ("AVX2", "AVX-512", "AVX-512 BF16", "AMX", "AMX BF16")


def test_arm_calls_its_flags_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(ARM, tmp_path, monkeypatch).instruction_sets == ("NEON", "BF16", "I8MM")


def test_without_a_list_torch_says_what_it_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "CPUINFO", tmp_path / "there is none")
    assert machine().instruction_sets == (torch.backends.cpu.get_cpu_capability(),)


def test_empty_cpuinfo() -> None:
    assert cpu_facts("") == {}
