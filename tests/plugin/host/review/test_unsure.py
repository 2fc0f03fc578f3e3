"""Where the networks are unsure is kept on the series, told of its last job, and gone with it."""

from __future__ import annotations

import json

import pytest

from tests.plugin.host.conftest import Host, error_of

SHAPES = {"2": [[100, 100, 300, 100, 200, 250]], "3": [[0, 0, 100, 0, 100, 100, 0, 100]]}


def segmented(host: Host, name: str) -> str:
    host.engine.behave(grade="look", look_at=((3, 4),), unsure=SHAPES)
    series_id = host.upload(name)
    host.ended_job_of(series_id)
    return series_id


def test_it_is_told_of_the_last_job(host: Host) -> None:
    series_id = segmented(host, "unsure")
    [job] = host.jobs_of(series_id)
    told = host.orthanc.get(f"/liver/series/{series_id}/unsure")
    assert told == {"Job": job["ID"], "PartsOfPixel": 100, "Slices": SHAPES}
    host.engine.behave()
    host.job(host.segment(series_id, Force=True), "Success")
    answer = host.orthanc.call("GET", f"/liver/series/{series_id}/unsure")
    assert answer.status_code == 404
    kept = host.orthanc.call("GET", f"/series/{series_id}/attachments/4506/size")
    assert kept.status_code == 404


CHANGED = {
    "another job's": {"Job": "01234567-0123-0123-0123-0123456789ab"},
    "a text": {"Slices": {"2": [[1, 2, 3, 4, 5, "<img>"]]}},
    "an odd number": {"Slices": {"2": [[1, 2, 3, 4, 5, 6, 7]]}},
    "no slice": {"Slices": {"-1": [[1, 2, 3, 4, 5, 6]]}},
    "no list": {"Slices": {"2": {"a": 1}}},
    "no pixels": {"PartsOfPixel": 0},
}


@pytest.mark.parametrize("change", CHANGED)
def test_what_somebody_else_wrote_there_is_not_told(host: Host, change: str) -> None:
    series_id = segmented(host, f"unsure, then {change}")
    told = host.orthanc.get(f"/liver/series/{series_id}/unsure")
    path = f"/series/{series_id}/attachments/4506"
    text = json.dumps(told | CHANGED[change]).encode()
    host.orthanc.call("DELETE", path)
    host.orthanc.call("PUT", path, text).raise_for_status()
    status, _ = error_of(host.orthanc.call("GET", f"/liver/series/{series_id}/unsure"))
    assert status == 404


@pytest.mark.parametrize("text", [b"no JSON", b"[" * 100_000, b'["]",' * 50_000, b"[]"])
def test_nor_is_what_is_no_json(host: Host, text: bytes) -> None:
    series_id = segmented(host, f"unsure, then {text[:7]!r}")
    path = f"/series/{series_id}/attachments/4506"
    host.orthanc.call("DELETE", path)
    host.orthanc.call("PUT", path, text).raise_for_status()
    status, _ = error_of(host.orthanc.call("GET", f"/liver/series/{series_id}/unsure"))
    assert status == 404
