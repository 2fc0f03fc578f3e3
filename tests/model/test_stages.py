"""One object tells where a computation is and what it took."""

from __future__ import annotations

import pytest

from liver_unet.stages import Stages


def test_what_is_told_and_in_which_order() -> None:
    told: list[tuple[str, float]] = []
    stages = Stages(lambda stage, fraction: told.append((stage, fraction)))
    with stages("read"):
        assert told == [("read", 0.0)]
    with stages("infer") as at:
        at(0.25)
        at(1.0)
    assert told == [("read", 0.0), ("infer", 0.0), ("infer", 0.25), ("infer", 1.0)]
    assert list(stages.seconds) == ["read", "infer"]


def test_what_runs_twice_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the CPU begins again with what the GPU had no memory for."""
    clock = iter([10.0, 12.0, 20.0, 20.5, 30.0, 37.0])
    monkeypatch.setattr("liver_unet.stages.time.perf_counter", lambda: next(clock))
    stages = Stages()
    for stage in ("infer", "clean", "infer"):
        with stages(stage):
            pass
    assert stages.seconds == {"infer": 9.0, "clean": 0.5}
