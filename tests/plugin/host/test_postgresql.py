"""What only Orthanc on PostgreSQL can lose; make test-postgresql runs the other tests there too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.watch import check_nothing_lost_nothing_twice
from tests.support import postgresql
from tests.support.patience import wait_for

pytestmark = pytest.mark.skipif(
    postgresql.port() is None, reason="runs beside a PostgreSQL server: make test-postgresql"
)


def restarted_on_other_ports(host: Host) -> None:
    before = (host.orthanc.http_port, host.orthanc.dicom_port)
    host.orthanc.kill9()
    host.orthanc.start()
    now = (host.orthanc.http_port, host.orthanc.dicom_port)
    assert not set(before) & set(now)


def test_jobs_and_deliveries_outlive_a_restart_on_other_ports(tmp_path: Path) -> None:
    host = Host(tmp_path, Destinations=[{"Modality": "nowhere"}])
    with host.orthanc.until_killed():
        host.ready()
        done = host.ended_job_of(host.upload("done before the ports changed"))
        host.engine.behave("hang", times=1)
        running = host.upload("running before the ports changed")
        host.engine_at_work()
        waiting = host.upload("waiting before the ports changed")
        host.job(host.segment(waiting), "Pending")
        before = host.orthanc.get("/liver/jobs")
        restarted_on_other_ports(host)
        wait_for("the jobs", lambda: set(before) <= set(host.orthanc.get("/liver/jobs")))
        series = [done["Content"]["Series"], running, waiting]
        check_nothing_lost_nothing_twice(host, dict.fromkeys(series, "segmented"))
        assert host.orthanc.get("/liver/jobs") == before
        deliveries = host.orthanc.get("/liver/deliveries")
        assert {one["Job"] for one in deliveries} == set(before)


def test_without_a_name_of_the_server_no_job_runs(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.orthanc.overrides = {**host.orthanc.overrides, "DatabaseServerIdentifier": None}
    with host.orthanc.until_killed():
        status = wait_for("the start", lambda: host.orthanc.get("/liver/status"))
        [problem] = status["SettingsProblems"]
        assert problem.startswith("DatabaseServerIdentifier must be set with PostgreSQL")
        answer = host.orthanc.call("POST", f"/liver/series/{host.upload('no name')}/segment")
        assert answer.status_code == 503


def test_a_database_that_ends_all_connections_costs_no_attempt(tmp_path: Path) -> None:
    host = Host(tmp_path, Retries=0)
    with host.orthanc.until_killed():
        host.ready()
        host.engine.behave(seconds=0.5)
        series_id = host.upload("while the database goes away")
        job_id = host.segment(series_id)
        host.job_in_engine(job_id)
        with postgresql.away(host.orthanc.folder):
            said = f"job {job_id} waits for Orthanc"
            wait_for("an attempt in vain", lambda: said in host.orthanc.log())
        assert host.job(job_id, "Success", "Failure")["Content"]["Attempt"] == 1
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
