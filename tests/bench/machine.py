"""The processor that times are of."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

# As Linux calls them, and what they mean for a network.
_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bf16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
}


def processor(cpuinfo: str = "") -> dict[str, Any]:
    """Its name, what it offers, and what torch uses of it; cpuinfo: the text of /proc/cpuinfo."""
    told: dict[str, str] = {}
    for line in (cpuinfo or Path("/proc/cpuinfo").read_text()).splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    flags = told.get("flags", "").split()
    return {
        "processor": told.get("model name") or platform.machine(),
        "instructions": [name for flag, name in _INSTRUCTIONS.items() if flag in flags],
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
    }
