"""What a GPU says of itself: how much of its memory is free, whether it is only full or lost."""

from __future__ import annotations

import contextlib
import importlib
from types import ModuleType

import torch

# Measured on an H200: from 395 MiB free a case was computed, up to 267 MiB it did not fit.
LEAST_FREE_MIB = 300


def free_mib(device: torch.device) -> int | None:
    """Free memory, without using any of it; None where NVIDIA's driver does not tell."""
    pynvml = _nvidias_library()
    if pynvml is None:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free) >> 20
    # A driver too old, another maker's card, a part of a card: torch will tell then.
    except (pynvml.NVMLError, RuntimeError, AttributeError, AssertionError):
        return None


def name_and_driver(device: torch.device) -> str:
    """Which card, and whose word it obeys; "none" where the network runs on the CPU."""
    if device.type != "cuda":
        return "none"
    name = torch.cuda.get_device_name(device)
    pynvml = _nvidias_library()
    if pynvml is None:
        return name
    try:
        pynvml.nvmlInit()
        return f"{name}, driver {pynvml.nvmlSystemGetDriverVersion()}"
    except (pynvml.NVMLError, AttributeError):
        return name


def _nvidias_library() -> ModuleType | None:
    """None where it is not installed: a CPU needs none, and a card computes without."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def give_back_unused_memory() -> None:
    """Let other programs have what torch keeps of a card; one that is lost keeps nothing."""
    with contextlib.suppress(RuntimeError):
        torch.cuda.empty_cache()


def is_full(error: RuntimeError) -> bool:
    """Whether it says that memory is short; cuBLAS, cuDNN and the driver each have their words."""
    said = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in said
        or "alloc_failed" in said
    )


def works(device: torch.device) -> bool:
    """Whether it still computes; one that is full does, one that is lost answers this process no
    more."""
    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as error:
        return is_full(error)
    return True
