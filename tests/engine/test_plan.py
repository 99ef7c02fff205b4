"""The machine plan says where and why, and survives being written down."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from convscope.engine import Plan, make_plan
from convscope.engine.plan import available_cores
from convscope.errors import RunError


def test_the_cpu_plan_names_its_cores():
    plan = make_plan("cpu")
    assert (plan.device, plan.precision, plan.threads) == ("cpu", "float32", available_cores())
    assert "as asked" in plan.reason


def test_auto_takes_what_is_there():
    assert make_plan().device == ("cuda" if torch.cuda.is_available() else make_plan().device)


def test_a_plan_survives_json():
    plan = make_plan("cpu", threads=1)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_with_other_fields_is_refused():
    with pytest.raises(RunError, match="a machine plan with"):
        Plan.from_json({"device": "cpu"})


def test_unknown_and_absent_devices():
    with pytest.raises(RunError, match=r"device .tpu.. Expected auto, cpu, cuda or mps"):
        make_plan("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="Try --device cpu"):
            make_plan("cuda")


def test_apply_sets_the_threads():
    before = torch.get_num_threads()
    make_plan("cpu", threads=1).apply()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_apply_asks_for_the_same_bits_without_loading_a_compiler():
    code = (
        "import sys, torch; from convscope.engine import make_plan; make_plan('cpu', threads=1).apply();"
        "print(torch.are_deterministic_algorithms_enabled(), 'torch._inductor' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "False"]


@pytest.mark.parametrize(("wished", "cores"), [("1", 1), ("0", 1), ("", None), ("many", None)])
def test_the_user_may_wish_for_fewer_threads(wished, cores, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    there = available_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", wished)
    assert available_cores() == (cores or there)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_large_maps_are_kept_for_the_next_step_and_given_back_after_a_training():
    code = """
import resource, torch
from convscope.engine.plan import give_back_memory, make_plan

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**25)  # 128 MB: more than glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

make_plan("cpu", threads=1).apply()
first, *_, later = [faults_of_a_step() for _ in range(8)]
kept = resident_mb()
give_back_memory()
print(first, later, kept - resident_mb())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, later, given_back_mb = map(float, said.split())
    assert later < first / 20
    assert given_back_mb > 100
