"""A GPU in trouble, played by a segmenter that claims to be on one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liver_unet.fallback import load_segmenter, segment_or_fall_back
from liver_unet.liver import Liver, NoLiver
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.weights import default_weights
from tests.support.threshold_engine import on_cpu, with_liver


class FullGpu(Segmenter):
    """Has no room for anything."""

    def segment(self, *arguments: Any) -> Liver | NoLiver:
        raise torch.OutOfMemoryError("CUDA out of memory")


def on_full_gpu() -> FullGpu:
    here = on_cpu()
    full = replace(here.fine, device=torch.device("cuda"), precision=torch.bfloat16)
    return FullGpu(full, on_cpu=here)


def test_without_room_on_the_gpu_the_cpu_takes_over() -> None:
    _, used = segment_or_fall_back(on_full_gpu(), with_liver(), Stages())
    assert used.device.type == "cpu"
    assert type(used) is Segmenter


def test_nothing_is_asked_of_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen with 3 MiB free: even reading the weights back raises there."""
    full = on_full_gpu()

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Error(s) in loading state_dict: CUDA out of memory")

    monkeypatch.setattr(full.fine.network, "state_dict", refuse)
    monkeypatch.setattr(full.fine.network, "to", refuse)
    _, used = segment_or_fall_back(full, with_liver(), Stages())
    assert used is full.on_cpu


def test_where_there_is_room_nothing_changes() -> None:
    segmenter = on_cpu()
    liver, used = segment_or_fall_back(segmenter, with_liver(), Stages())
    assert used is segmenter
    assert isinstance(liver, Liver)
    assert 700 < liver.volume_ml < 850
    assert np.count_nonzero(liver.mask) > 0


def test_no_room_on_the_cpu_is_no_reason_to_try_the_cpu() -> None:
    full = on_full_gpu()
    there = FullGpu(replace(full.fine, device=torch.device("cpu")))
    with pytest.raises(torch.OutOfMemoryError):
        segment_or_fall_back(there, with_liver(), Stages())


def test_a_gpu_that_is_seen_and_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Segmenter.load

    def load(weights: Path, device: str) -> Segmenter:
        if device != "cpu":
            raise torch.AcceleratorError("CUDA error: no device")
        return real(weights, device)

    monkeypatch.setattr(Segmenter, "load", load)
    segmenter, name = load_segmenter(default_weights(), "auto")
    assert segmenter.device.type == "cpu"
    assert name == "cpu, as the GPU failed (AcceleratorError)"
    with pytest.raises(RuntimeError):
        load_segmenter(default_weights(), "cuda")


def test_a_device_that_works_is_called_by_its_name() -> None:
    assert load_segmenter(default_weights(), "cpu")[1] == "cpu"
