"""make bench-gpu, as far as a machine without a GPU can run it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.bench import gpu
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.threshold_engine import Threshold, on_cpu, with_liver


def test_what_it_measures_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_RUNS", 2)
    instances = [to_bytes(one) for one in write_ct_series(with_liver())]
    *_, found = gpu.measured(replace(on_cpu(), on_cpu=on_cpu()), instances)
    found = json.loads(json.dumps(found))
    assert (found["device"], found["card"], found["slices"]) == ("cpu", "none", 24)
    assert (found["runtime"], found["precision"]) == (f"torch {torch.__version__}", "float32")
    assert 700 < found["liver_ml"] < 850
    assert found["dsc_with_cpu"] == 1
    assert [set(run) for run in found["seconds"]] == [{*found["seconds"][0]}] * 2
    assert found["case_s"] == pytest.approx(sum(found["seconds"][1].values()))
    assert found["patch_ms"]["1"] > 0
    assert found["of_the_limit"]["1"] > 0


class RoomForOne(Threshold):
    """On a card that has no room for two patches."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch)


def _no_room(*_: object) -> float:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_a_card_has_no_room_for_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_RUNS", 2)
    monkeypatch.setattr(gpu, "_is_gpu", lambda _: True)
    monkeypatch.setattr(gpu, "limit_gflops", _no_room)
    segmenter = on_cpu()
    instances = [to_bytes(one) for one in write_ct_series(with_liver())]
    small = replace(segmenter, fine=replace(segmenter.fine, network=RoomForOne()))
    cases, found = gpu.measured(small, instances)
    assert cases["case_s"] == found["case_s"]
    assert list(found["patch_ms"]) == ["1"]
    assert (found["limit_gflops"], found["of_the_limit"]) == (None, {})


def test_another_fault_of_the_card_is_none_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> float:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(gpu, "_RUNS", 2)
    monkeypatch.setattr(gpu, "limit_gflops", lost)
    instances = [to_bytes(one) for one in write_ct_series(with_liver())]
    known = gpu.measured(on_cpu(), instances)
    assert next(known)["case_s"] > 0
    with pytest.raises(RuntimeError, match="launch failure"):
        next(known)
