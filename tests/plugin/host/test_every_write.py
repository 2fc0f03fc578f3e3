"""Orthanc is killed before each of its writes for a job in turn: nothing lost, nothing twice.

On the fake, which can be killed so exactly; what a real kill does is in test_nothing_lost.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.host.conftest import FakeHost
from tests.plugin.host.series import small_ct
from tests.plugin.host.watch import is_superseded
from tests.support.patience import wait_for

# The notes on a series that its job and its delivery have ended.
BOTH_ENDED = {"metadata/4501", "metadata/4503"}

WRITES = 12


def segmented(host: FakeHost, kill_before: int) -> tuple[str, list[str]]:
    """Let a series be segmented and delivered, and kill Orthanc before that write at the latest;
    returns the series and what was written. Nothing is asked of Orthanc: killed, it waits for ever.
    """
    module, notes = host.orthanc.module, host.orthanc.archive.notes
    before = len(module.writes)
    module.dies_before = before + kill_before
    series_id = host.upload("killed")
    wait_for("the end", lambda: module.dead.is_set() or {*notes.get(series_id, ())} >= BOTH_ENDED)
    return series_id, module.writes[before:]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    one = FakeHost(tmp_path, Destinations=[{"Modality": "pacs"}])
    one.orthanc.archive.modalities["pacs"] = {"AET": "PACS"}
    one.orthanc.archive.takes.add("pacs")
    one.orthanc.start()
    one.ready()
    return one


@pytest.mark.parametrize("kill_before", range(WRITES))
def test_a_kill_before_a_write(host: FakeHost, kill_before: int) -> None:
    series_id, _ = segmented(host, kill_before)
    host.orthanc.kill9()
    host.orthanc.start()
    job = host.ended_job_of(series_id)
    assert job["Content"]["Outcome"] == "segmented"
    [rtstruct] = host.rtstructs_beside(series_id)
    assert job["Content"]["Result"]["Instance"] == rtstruct
    [delivery] = wait_for(
        "the delivery's end",
        lambda: [d for d in host.orthanc.get("/liver/deliveries") if d["State"] == "Success"],
    )
    assert delivery["Instances"] == [rtstruct]
    assert [one["ID"] for one in host.jobs_of(series_id)] == [job["ID"]]
    host.orthanc.stop()


@pytest.mark.parametrize("kill_before", range(WRITES))
def test_a_kill_before_a_write_and_then_a_late_slice(host: FakeHost, kill_before: int) -> None:
    series_id, _ = segmented(host, kill_before)
    host.orthanc.kill9()
    host.store(small_ct("killed", slices=7)[-1:])
    host.orthanc.start()
    wait_for("all slices", lambda: any(one["instances"] == 7 for one in host.engine.jobs()))
    host.idle()
    last = host.jobs_of(series_id)[-1]
    assert last["Content"]["Outcome"] == "segmented"
    rtstructs = host.rtstructs_beside(series_id)
    standing = [one for one in rtstructs if not is_superseded(host, one)]
    assert standing == [last["Content"]["Result"]["Instance"]]
    host.orthanc.stop()


def test_no_job_writes_more_often(host: FakeHost) -> None:
    _, writes = segmented(host, kill_before=1000)
    host.orthanc.stop()
    assert len(writes) <= WRITES, writes
