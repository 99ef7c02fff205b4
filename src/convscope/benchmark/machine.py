"""What the machine is: cores, instruction sets, memory, GPU. Facts only; what follows from them is the plan."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from convscope.engine.plan import available_cores

CPUINFO = Path("/proc/cpuinfo")

# What decides which arithmetic is fast, as Linux names it, and how people write it.
INSTRUCTION_SETS = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16", "amx_tile": "AMX", "amx_bf16": "AMX BF16", "amx_int8": "AMX INT8",
    "asimd": "NEON", "sve": "SVE", "bf16": "BF16", "i8mm": "I8MM",
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """One computer as far as speed goes; what could not be found out is None.

    Args:
        cpu: the processor's own name.
        cores: how many this process may use.
        instruction_sets: those of INSTRUCTION_SETS that it has.
        memory_bytes: of the whole machine.
        gpu: the GPU's name.
        torch: its version.
        system: operating system and kind of processor.
    """

    cpu: str | None
    cores: int
    instruction_sets: tuple[str, ...]
    memory_bytes: int | None
    gpu: str | None
    torch: str
    system: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"instruction_sets": list(self.instruction_sets)}


def machine() -> Machine:
    """This machine.

    >>> machine().cores >= 1
    True
    """
    facts = cpu_facts(CPUINFO.read_text(errors="replace") if CPUINFO.exists() else "")
    return Machine(
        cpu=facts.get("model name") or platform.processor() or None,
        cores=available_cores(),
        instruction_sets=_instruction_sets(facts),
        memory_bytes=_memory_bytes(),
        gpu=_gpu(),
        torch=str(torch.__version__),
        system=f"{platform.system()} {platform.machine()}",
    )


def cpu_facts(text: str) -> dict[str, str]:
    """The first processor of what /proc/cpuinfo says, key by key.

    >>> cpu_facts("model name\\t: EPYC\\nflags\\t\\t: fpu avx2\\n\\nmodel name\\t: another")
    {'model name': 'EPYC', 'flags': 'fpu avx2'}
    """
    first = text.strip().partition("\n\n")[0]
    pairs = (line.partition(":")[::2] for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _instruction_sets(facts: dict[str, str]) -> tuple[str, ...]:
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    found = tuple(name for flag, name in INSTRUCTION_SETS.items() if flag in flags)
    # Where the system does not list them, torch's own view: "AVX2", "AVX512", "NO AVX" …
    return found or (str(torch.backends.cpu.get_cpu_capability()),)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _gpu() -> str | None:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "Apple GPU" if torch.backends.mps.is_available() else None
