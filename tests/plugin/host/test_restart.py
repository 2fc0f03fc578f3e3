"""What a restart must not lose although no job runs; while one does: test_nothing_lost.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.watch import answered_throughout, check_nothing_lost_nothing_twice
from tests.support.patience import wait_for


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
    with restarted_host.left_as_it_was():
        yield restarted_host


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_stop_before_the_series_was_stable(host: Host, end: str) -> None:
    series_id = host.upload(f"just arrived before {end}")
    jobs = len(host.engine.jobs())
    with answered_throughout(host):
        getattr(host.orthanc, end)()
        host.orthanc.start()
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
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
    host.orthanc.restart()
    host.ended_job_of(host.upload("after the restart"))
    for before in (done, refused):
        after = host.orthanc.get(f"/liver/jobs/{before['ID']}")
        for key in ("State", "ErrorDescription", "CreationTime", "CompletionTime"):
            assert after[key] == before[key]
        assert after["Content"] == before["Content"]
    assert len(host.engine.jobs()) == jobs + 1
    assert host.orthanc.get("/liver/jobs")[-3:-1] == [done["ID"], refused["ID"]]
