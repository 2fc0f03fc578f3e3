"""Orthanc itself does not do what it is asked, or is killed where it hurts most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.series import small_ct
from tests.plugin.host.watch import check_nothing_lost_nothing_twice
from tests.support.patience import wait_for
from tests.support.troubled_plugin import TroubledPlugin


class TroubledHost(Host):
    """Every error of the engine would be the end of a job: there are no retries."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Retries=0)
        self.plugin = TroubledPlugin(folder / "plugin")
        self.orthanc.overrides = {
            **self.orthanc.overrides,
            "PythonScript": str(self.plugin.script),
        }

    def thread(self, name: str) -> str:
        """How one of the plugin's threads is."""
        threads: dict[str, str] = self.orthanc.get("/liver/status")["Threads"]
        return threads.get(name, "")


@pytest.fixture(scope="module")
def troubled_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TroubledHost]:
    one = TroubledHost(tmp_path_factory.mktemp("troubled"))
    with one.orthanc.until_killed():
        one.ready()
        yield one
    assert "Secret" not in one.orthanc.log()


@pytest.fixture
def host(troubled_host: TroubledHost) -> Iterator[TroubledHost]:
    with troubled_host.left_as_it_was():
        yield troubled_host
    troubled_host.plugin.now("")


def test_a_database_that_is_away_costs_no_attempt(host: TroubledHost) -> None:
    host.engine.behave(seconds=0.5)
    job_id = host.segment(host.upload("no database"))
    host.job_in_engine(job_id)
    host.plugin.now("no database")
    said = f"job {job_id} waits for Orthanc"
    wait_for("a second attempt in vain", lambda: host.orthanc.log().count(said) == 2)
    waiting = host.orthanc.get(f"/liver/jobs/{job_id}")
    assert (waiting["State"], waiting["Content"]["Attempt"]) == ("Pending", 0)
    assert waiting["ErrorDescription"] == "Error with the database engine"
    host.plugin.now("")
    assert host.job(job_id, "Success", "Failure")["Content"]["Attempt"] == 1


def test_a_start_without_a_database_is_tried_again(host: TroubledHost) -> None:
    host.engine.behave("hang", times=1)
    series_id = host.upload("no database at the start")
    host.job_in_engine(host.segment(series_id))
    host.orthanc.kill9()
    host.plugin.now("no database")
    host.orthanc.start()
    wait_for("the start's trouble", lambda: "Error with the database" in host.thread("start"))
    assert host.thread("worker") == "not started"
    host.plugin.now("")
    wait_for("the start", lambda: host.thread("worker") == "running", timeout_s=60)
    check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
    assert set(host.orthanc.get("/liver/status")["Threads"].values()) == {"running"}


def test_a_thread_at_fault_rests_says_so_and_goes_on(host: TroubledHost) -> None:
    host.plugin.now("rubbish for a change log")
    series_id = host.upload("while the change log is rubbish")
    wait_for("a rest", lambda: host.thread("change log") != "running")
    fault = host.thread("change log")
    assert fault.startswith("rests after a fault of the plugin: TypeError at ")
    assert "change_log.py" in fault
    metrics = host.orthanc.call("GET", "/liver/metrics").text
    assert 'liver_thread_alive{thread="change log"} 0.0\n' in metrics
    assert 'liver_thread_alive{thread="worker"} 1.0\n' in metrics
    assert host.orthanc.log().count("the change log continues in") == 1
    host.plugin.now("")
    assert host.ended_job_of(series_id)["State"] == "Success"
    assert host.thread("change log") == "running"


@pytest.mark.parametrize("ending", ["segmented", "no liver found"])
def test_kill_9_between_storing_and_recording_and_then_a_late_slice(
    host: TroubledHost, ending: Any
) -> None:
    """What lies there although no job says so is marked by whatever takes its place."""
    ct = small_ct(f"killed, then {ending}", slices=7)
    host.plugin.now("kill -9 before the preview")
    series_id = host.store(ct[:-2])
    assert host.orthanc.process is not None
    host.orthanc.process.wait()
    host.engine.behave(ending, times=1)
    host.orthanc.start()
    [first] = host.rtstructs_beside(series_id)
    host.store(ct[-2:-1])
    if ending != "segmented":
        assert host.ended_job_of(series_id)["Content"]["Outcome"] == ending
        host.store(ct[-1:])
    wait_for("a result", lambda: host.jobs_of(series_id)[-1]["Content"]["Result"])
    check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
    note = host.orthanc.get(f"/instances/{first}/metadata/4504")
    result = host.jobs_of(series_id)[-1]["Content"]["Result"]
    assert note == {"SupersededBy": result["SopInstanceUid"]}
    uid = host.orthanc.get(f"/instances/{first}")["MainDicomTags"]["SOPInstanceUID"]
    assert result["Supersedes"] == uid


def test_a_place_beyond_the_end_of_the_change_log_is_not_believed(host: TroubledHost) -> None:
    host.orthanc.stop()
    host.orthanc.set_property(4501, '{"Version": 1, "Seq": 1000000}')
    host.orthanc.start()
    series_id = host.upload("after the end")
    assert host.ended_job_of(series_id)["State"] == "Success"
    assert "before 1000000, to where it had been read" in host.orthanc.log()
