"""What arrives while the plugin is away is announced before it is segmented."""

from __future__ import annotations

from pathlib import Path

from tests.plugin.host.conftest import FakeHost
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.patience import wait_for


def test_only_what_arrived_meanwhile_counts(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    with host.orthanc.until_killed():
        host.ended_job_of(host.upload("segmented before"))
        host.engine.behave("hang")
        host.upload("had its job before")
        host.engine_at_work()
        assert host.orthanc.get("/liver/status")["ArrivedWhileAway"] == 0
    away = [small_ct("first"), small_ct("an mr", modality="MR"), small_ct("second")]
    for dataset in [one for series in away for one in series]:
        host.orthanc.archive.rest("POST", "/instances", to_bytes(dataset))
    with host.orthanc:
        wait_for("both", lambda: host.orthanc.get("/liver/status")["ArrivedWhileAway"] == 2)
        said = "series that arrived while the plugin was away: 2"
        wait_for("the log", lambda: said in host.orthanc.log())
        assert host.orthanc.get("/liver/status")["Queue"]["Success"] == 1
