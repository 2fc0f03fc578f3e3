"""What goes with its study, however that is deleted, and what goes before it."""

from __future__ import annotations

import ast
import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orthanc_liver.host.retention import Retention
from orthanc_liver.host.server.api import OrthancError
from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.quality.drawn import (
    compared,
    comparisons,
    liver,
    looked_at,
    returned,
    segmented,
)
from tests.support import postgresql
from tests.support.patience import wait_for

OF_JOBS = range(4510, 4574)


def kept(host: Host) -> str:
    """All that the plugin keeps in properties, but for the list of jobs; Orthanc must not run."""
    text = host.orthanc.properties()
    if postgresql.port():
        return text
    return str([value for number, value in ast.literal_eval(text) if number not in OF_JOBS])


def accepted(host: Host, name: str) -> tuple[str, str]:
    """Segmented, with an outline that came back, accepted; Orthanc's ids of series and study."""
    series, series_id = segmented(host, name)
    compared(host, series_id, returned(host, liver(series)))
    [job] = host.jobs_of(series_id)
    decision = {
        "Verdict": "accepted",
        "By": "Ada",
        "Rtstruct": job["Content"]["Result"]["Instance"],
    }
    host.orthanc.post(f"/liver/series/{series_id}/decision", decision)
    return series_id, host.orthanc.get(f"/series/{series_id}")["ParentStudy"]


def test_nothing_is_left_of_a_study_that_is_deleted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    orthanc = host.orthanc
    with orthanc.until_killed():
        host.ready()
        seen, seen_study = accepted(host, "deleted under our eyes")
        unseen, unseen_study = accepted(host, "deleted while we were away")
        orthanc.call("DELETE", f"/studies/{seen_study}")
        wait_for("its end", lambda: seen not in orthanc.call("GET", "/liver/quality").text)
        orthanc.stop()
        assert seen not in kept(host)
        assert unseen in kept(host)

        usual, orthanc.overrides = orthanc.overrides, {**orthanc.overrides, "PythonScript": None}
        with orthanc.until_killed():
            orthanc.call("DELETE", f"/studies/{unseen_study}")
        orthanc.overrides = usual
        orthanc.start()
        wait_for("a look", lambda: "deleted unseen, and are forgotten: 1" in orthanc.log())
        assert orthanc.get("/liver/jobs") == orthanc.get("/liver/quality/chart") == []
        orthanc.stop()
        text = kept(host)
        for series, study in ((seen, seen_study), (unseen, unseen_study)):
            assert series not in text
            assert study not in text
        assert "Ada" not in text
        attachments = [one for one in (orthanc.folder / "storage").rglob("*") if one.is_file()]
        assert {one.name.split(".")[0] for one in attachments} <= {
            "index",
            "index-wal",
            "index-shm",
        }


def test_pictures_and_comparisons_go_after_their_time_and_stay_away(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, RetentionDays=30)
    with host.orthanc:
        host.ready()
        old, _ = accepted(host, "of a year ago")
        new, _ = accepted(host, "of today")
        host.orthanc.kill9()
        note = host.orthanc.archive.notes[old]["metadata/4501"]
        record = json.loads(note)
        record["Job"]["CompletionTime"] = "20200101T000000.000000"
        host.orthanc.archive.notes[old]["metadata/4501"] = json.dumps(record).encode()
        asked = len(host.engine.comparisons())
        host.orthanc.start()
        wait_for("its figures' end", lambda: not comparisons(host, old))
        looked_at(host)
        assert len(host.engine.comparisons()) == asked
        assert comparisons(host, new) != []
        assert host.orthanc.call("GET", f"/liver/series/{old}/preview").status_code == 404
        assert host.orthanc.call("GET", f"/liver/series/{new}/preview").status_code == 200
        assert set(host.orthanc.archive.notes[old]) == {"metadata/4501", "metadata/4505"}
        wait_for("no trace", lambda: old not in host.orthanc.archive.properties[4506])
        told = f"deleted by age (RetentionDays 30): 1 pictures and 1 comparisons of 1 series: {old}"
        assert host.orthanc.log().count(told) == 1


def test_what_went_before_orthanc_failed_is_logged() -> None:
    said: list[str] = []
    old = SimpleNamespace(job=SimpleNamespace(completed=datetime(2020, 1, 2, tzinfo=UTC)))

    def drop(series_id: str) -> int:
        if series_id == "second":
            raise OrthancError("Error")
        return 3

    orthanc: Any = SimpleNamespace(
        get=lambda path: ["first", "second", "third"],
        get_bytes=lambda path: b"7",
        delete=lambda path: None,
        log=said.append,
    )
    ledger: Any = SimpleNamespace(read_record=lambda series_id: old)
    queue: Any = SimpleNamespace(standing_still=nullcontext, jobs_of=lambda series_id: [])
    quality: Any = SimpleNamespace(drop=drop, series=list)
    pull: Any = SimpleNamespace(forget=lambda before: 0)
    retention = Retention(orthanc, ledger, queue, quality, quality, pull, days=1)
    with pytest.raises(OrthancError):
        retention._turn()
    went = "4 pictures and 3 comparisons of 2 series: first, second"
    assert said == [f"deleted by age (RetentionDays 1): {went}"]
