"""Orthanc stops, and is killed, at bad moments; nothing is lost and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin.host.conftest import Host
from tests.support.orthanc_server import wait_for


@pytest.fixture(scope="module")
def restarted_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("restarted"))
    with one.orthanc.until_killed():
        yield one
    wait_for("the end of the engine", lambda: one.engine.alive() == [], timeout_s=5)
    assert "Secret" not in one.orthanc.log()


@pytest.fixture
def host(restarted_host: Host) -> Iterator[Host]:
    """An Orthanc that one test after the other stops or kills."""
    yield restarted_host
    restarted_host.engine.behave()
    restarted_host.idle()


def test_kill_9_with_one_job_running_and_one_waiting(host: Host) -> None:
    host.engine.behave("hang")
    running, waiting = host.upload("running"), host.upload("waiting")
    ids = [host.segment(running), host.segment(waiting, Force=True)]
    pid = host.engine_at_work()
    host.orthanc.kill9()
    wait_for("no orphan", lambda: pid not in host.engine.alive(), timeout_s=5)
    host.engine.behave()
    host.orthanc.start()
    for series_id, job_id in zip((running, waiting), ids, strict=True):
        assert host.job(job_id, "Success")["Content"]["Series"] == series_id
        assert len(host.rtstructs_beside(series_id)) == 1
        assert len(host.jobs_of(series_id)) == 1


def test_a_stop_with_a_job_running_is_quick_and_the_job_is_taken_up_again(host: Host) -> None:
    host.engine.behave("hang")
    series_id = host.upload("stopped")
    job_id = host.segment(series_id)
    host.engine_at_work()
    host.orthanc.stop()  # raises where it takes too long
    assert host.engine.alive() == []
    assert host.orthanc.process is not None
    assert host.orthanc.process.returncode == 0
    host.engine.behave()
    host.orthanc.start()
    assert host.job(job_id, "Success")["Content"]["Attempt"] == 1
    assert len(host.rtstructs_beside(series_id)) == 1


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_stop_before_the_series_was_stable(host: Host, end: str) -> None:
    series_id = host.upload(f"just arrived before {end}")
    jobs = len(host.engine.jobs())
    getattr(host.orthanc, end)()
    host.orthanc.start()
    assert host.ended_job_of(series_id)["State"] == "Success"
    assert len(host.engine.jobs()) == jobs + 1
    # Orthanc itself never says so: this is the event that it loses. (To stop takes it longer than
    # StableAge here, so that then it may say so while it stops.)
    assert end == "stop" or not host.told_stable(series_id)


def test_what_ended_before_a_restart_is_still_told_and_not_done_again(host: Host) -> None:
    done = host.ended_job_of(host.upload("done"))
    host.engine.behave("refused")
    refused = host.ended_job_of(host.upload("refused"))
    host.engine.behave()
    jobs = len(host.engine.jobs())
    listed = host.orthanc.get("/liver/jobs")
    host.orthanc.restart()
    host.ended_job_of(host.upload("after the restart"))
    for before in (done, refused):
        after = host.orthanc.get(f"/liver/jobs/{before['ID']}")
        for key in ("State", "ErrorDescription", "CreationTime", "CompletionTime"):
            assert after[key] == before[key]
        assert after["Content"] == before["Content"]
    assert len(host.engine.jobs()) == jobs + 1
    assert host.orthanc.get("/liver/jobs")[:-1] == listed


def test_tools_reset_is_a_restart(host: Host) -> None:
    host.engine.behave("hang")
    series_id = host.upload("reset")
    job_id = host.segment(series_id)
    pid = host.engine_at_work()
    host.engine.behave()
    starts = host.orthanc.log().count("Orthanc has started")
    host.orthanc.call("POST", "/tools/reset")
    wait_for("no orphan", lambda: pid not in host.engine.alive(), timeout_s=5)
    wait_for("a start", lambda: host.orthanc.log().count("Orthanc has started") == starts + 1)
    assert host.job(job_id, "Success")["Content"]["Series"] == series_id
    assert len(host.rtstructs_beside(series_id)) == 1
