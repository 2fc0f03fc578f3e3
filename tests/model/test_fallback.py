"""A GPU in trouble, played by a segmenter that claims to be on one."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pynvml
import pytest
import torch

from liver_unet import fallback, gpu
from liver_unet.fallback import TOO_FULL, load_segmenter, segment_or_fall_back
from liver_unet.liver import Liver, NoLiver
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.weights import default_weights
from tests.support.threshold_engine import on_cpu, with_liver

# As seen on cards with next to nothing free, and on one that was lost.
FULL = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("Error(s) in loading state_dict for Net: CUDA out of memory"),
)
LOST = torch.AcceleratorError("CUDA error: unspecified launch failure")


class BadGpu(Segmenter):
    """Has no room for anything, or is lost."""

    says: RuntimeError = FULL[0]

    def segment(self, *arguments: Any) -> Liver | NoLiver:
        raise self.says


def on_bad_gpu() -> BadGpu:
    here = on_cpu()
    full = replace(here.fine, device=torch.device("cuda"), precision=torch.bfloat16)
    return BadGpu(full, on_cpu=here)


@pytest.mark.parametrize(
    ("says", "warning"),
    [
        *((one, TOO_FULL) for one in FULL),
        (LOST, "The GPU failed in this series (AcceleratorError); it was computed on the CPU."),
    ],
    ids=["torch", "cuBLAS", "weights", "lost"],
)
def test_whatever_the_gpu_says_the_cpu_takes_over(says: RuntimeError, warning: str) -> None:
    bad = on_bad_gpu()
    bad.__dict__["says"] = says
    computed = segment_or_fall_back(bad, with_liver(), Stages())
    assert computed.by is bad.on_cpu
    assert isinstance(computed.found, Liver)
    assert computed.warnings == (warning,)


def test_nothing_is_asked_of_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen with 3 MiB free: even reading the weights back raises there."""
    full = on_bad_gpu()

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Error(s) in loading state_dict: CUDA out of memory")

    monkeypatch.setattr(full.fine.network, "state_dict", refuse)
    monkeypatch.setattr(full.fine.network, "to", refuse)
    assert segment_or_fall_back(full, with_liver(), Stages()).by is full.on_cpu


def test_where_there_is_room_nothing_changes() -> None:
    segmenter = on_cpu()
    computed = segment_or_fall_back(segmenter, with_liver(), Stages())
    assert computed.by is segmenter
    assert computed.warnings == ()
    liver = computed.found
    assert isinstance(liver, Liver)
    assert 700 < liver.volume_ml < 850
    assert np.count_nonzero(liver.mask) > 0


def test_no_room_on_the_cpu_is_no_reason_to_try_the_cpu() -> None:
    full = on_bad_gpu()
    there = BadGpu(replace(full.fine, device=torch.device("cpu")))
    with pytest.raises(torch.OutOfMemoryError):
        segment_or_fall_back(there, with_liver(), Stages())


def test_a_gpu_that_is_seen_and_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Segmenter.load

    def load(weights: Path, device: str) -> Segmenter:
        if device != "cpu":
            raise torch.AcceleratorError("CUDA error: no device")
        return real(weights, device)

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loaded = load_segmenter(default_weights(), "auto")
    assert loaded.segmenter.device.type == "cpu"
    assert loaded.device == "cpu, as the GPU failed (AcceleratorError)"
    assert loaded.in_place_of_gpu
    with pytest.raises(RuntimeError):
        load_segmenter(default_weights(), "cuda")


# torch's own words where the machine has no memory left.
NO_MEMORY = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: 400000000 bytes"
)


@pytest.mark.parametrize(
    ("has_gpu", "says"), [(False, RuntimeError("bad operator")), (True, NO_MEMORY)]
)
def test_what_the_cpu_says_is_not_blamed_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, says: RuntimeError
) -> None:
    left = [says]

    def load(weights: Path, device: str) -> Segmenter:
        if left:
            raise left.pop()
        return on_cpu()

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    with pytest.raises(RuntimeError) as raised:
        load_segmenter(default_weights(), "auto")
    assert raised.value is says


def test_no_memory_for_a_series_is_not_blamed_on_the_gpu() -> None:
    bad = on_bad_gpu()
    bad.__dict__["says"] = NO_MEMORY
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        segment_or_fall_back(bad, with_liver(), Stages())


def test_a_card_that_was_full_at_warm_up_gets_back_what_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    did = []

    def load(weights: Path, device: str) -> Segmenter:
        did.append(f"load on {device}")
        return on_cpu() if device == "cpu" else on_bad_gpu()

    def warm_up(segmenter: Segmenter) -> None:
        if isinstance(segmenter, BadGpu):
            raise FULL[0]

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(Segmenter, "warm_up", warm_up)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: did.append("empty the cache"))
    monkeypatch.setattr(fallback, "free_mib", lambda device: None)
    assert load_segmenter(default_weights(), "cuda").in_place_of_gpu
    assert did == ["load on cuda", "empty the cache", "load on cpu"]


def test_a_device_that_works_is_called_by_its_name() -> None:
    loaded = load_segmenter(default_weights(), "cpu")
    assert loaded.device == "cpu"
    assert not loaded.in_place_of_gpu


@pytest.mark.parametrize("at", ["weights", "first patch"])
@pytest.mark.parametrize("says", FULL, ids=["torch", "cuBLAS", "weights"])
def test_a_gpu_asked_for_by_name_may_be_full(
    monkeypatch: pytest.MonkeyPatch, says: RuntimeError, at: str
) -> None:
    real = Segmenter.load

    def load(weights: Path, device: str) -> Segmenter:
        if device == "cpu":
            return real(weights, device)
        if at == "weights":
            raise says
        return on_bad_gpu()

    def warm_up(segmenter: Segmenter) -> None:
        if isinstance(segmenter, BadGpu):
            raise says

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(Segmenter, "warm_up", warm_up)
    monkeypatch.setattr(fallback, "free_mib", lambda device: None)
    loaded = load_segmenter(default_weights(), "cuda:1")
    assert loaded.segmenter.device.type == "cpu"
    assert loaded.device == f"cpu, as the GPU failed ({type(says).__name__})"


def test_nothing_is_put_on_a_gpu_that_says_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Segmenter.load

    def load(weights: Path, device: str) -> Segmenter:
        asked.append(device)
        return real(weights, device)

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(fallback, "free_mib", lambda device: 43)
    loaded = load_segmenter(default_weights(), "cuda")
    assert loaded.device == "cpu, as the GPU has only 43 MiB free"
    assert asked == ["cpu"]


def test_free_memory_is_that_of_the_very_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch and the driver may number cards differently: they agree on the UUID."""
    uuid = "8c2f1d90-aaaa-bbbb-cccc-0123456789ab"
    free_bytes = {f"GPU-{uuid}": 395 * 2**20 + 5}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=uuid))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", str)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda card: SimpleNamespace(free=free_bytes[card])
    )
    assert gpu.free_mib(torch.device("cuda:1")) == 395


def test_without_a_driver_nothing_is_known() -> None:
    assert gpu.free_mib(torch.device("cuda")) is None


def test_without_nvidias_library_nothing_is_known_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A card")
    importlib.reload(gpu)
    assert gpu.free_mib(torch.device("cuda")) is None
    assert gpu.name_and_driver(torch.device("cuda")) == "A card"


@pytest.mark.parametrize(
    ("says", "works"), [*((one, True) for one in FULL), (LOST, False), (None, True)]
)
def test_a_full_card_works_and_a_lost_one_does_not(
    monkeypatch: pytest.MonkeyPatch, says: RuntimeError | None, works: bool
) -> None:
    real = torch.zeros

    def zeros(*shape: int, **_: Any) -> torch.Tensor:
        if says:
            raise says
        return real(*shape)

    monkeypatch.setattr(torch, "zeros", zeros)
    assert gpu.works(torch.device("cuda")) is works
