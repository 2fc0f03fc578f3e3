"""A GPU without room and a GPU that is lost, as far as a machine without one can tell."""

from __future__ import annotations

import os
import signal

import pytest

from liver_unet.fallback import TOO_FULL
from tests.plugin.host.conftest import RealEngineHost
from tests.support.ct_writer import write_ct_series
from tests.support.patience import wait_for
from tests.support.threshold_engine import Trouble, with_liver


def fresh_engine(host: RealEngineHost, trouble: Trouble) -> None:
    """A new process that has this trouble."""
    host.ready()
    host.real_engine.behave(trouble)
    starts = host.real_engine.starts()
    os.kill(starts[-1], signal.SIGKILL)
    wait_for("a new process", lambda: len(host.real_engine.starts()) > len(starts), 30)
    host.ready()


@pytest.fixture
def host(real_engine_host: RealEngineHost) -> RealEngineHost:
    return real_engine_host


def test_too_little_memory_falls_back_to_the_cpu_and_says_so(host: RealEngineHost) -> None:
    fresh_engine(host, "out of memory")
    assert host.orthanc.get("/liver/status")["Device"] == "cuda"
    series_id = host.store(write_ct_series(with_liver(), uid_seed="out of memory"))
    job = host.ended_job_of(series_id)
    assert (job["State"], job["Content"]["Attempt"]) == ("Success", 1)
    assert TOO_FULL in job["Content"]["Report"]["warnings"]
    assert job["Content"]["Report"]["device"] == "cpu"
    assert len(host.rtstructs_beside(series_id)) == 1
    told = "cuda, but the CPU computed the last series"
    assert host.orthanc.get("/liver/status")["Device"] == told
    assert host.orthanc.log().count("cuda failed or was full: the CPU computed a series") == 1
    fresh_engine(host, "")


def test_a_lost_device_costs_no_job_and_a_fresh_process_comes_after_it(
    host: RealEngineHost,
) -> None:
    fresh_engine(host, "lost device")
    starts = len(host.real_engine.starts())
    log = host.orthanc.log()
    series_id = host.store(write_ct_series(with_liver(), uid_seed="lost device"))
    host.real_engine.behave("")
    job = host.ended_job_of(series_id)
    assert (job["State"], job["Content"]["Attempt"]) == ("Success", 1)
    report = job["Content"]["Report"]
    told = "The GPU failed in this series (AcceleratorError); it was computed on the CPU."
    assert told in report["warnings"]
    assert report["device"] == "cpu"
    assert len(host.rtstructs_beside(series_id)) == 1
    wait_for("a fresh process", lambda: len(host.real_engine.starts()) == starts + 1)
    host.ready()
    assert "ended while it was idle" not in host.orthanc.log().removeprefix(log)
