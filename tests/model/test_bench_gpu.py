"""make bench-gpu, as far as a machine without a GPU can run it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.bench import gpu
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.threshold_engine import on_cpu, with_liver


def test_what_it_measures_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_RUNS", 2)
    instances = [to_bytes(one) for one in write_ct_series(with_liver())]
    found = json.loads(json.dumps(gpu.measured(replace(on_cpu(), on_cpu=on_cpu()), instances)))
    assert (found["device"], found["card"], found["slices"]) == ("cpu", "none", 24)
    assert 700 < found["liver_ml"] < 850
    assert found["dsc_with_cpu"] == 1
    assert [set(run) for run in found["seconds"]] == [{*found["seconds"][0]}] * 2
    assert found["case_s"] == pytest.approx(sum(found["seconds"][1].values()))
    assert found["patch_ms"]["1"] > 0
