"""Older studies: bounded, behind what is new, cancellable, over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.host.intake.paced import MAX_STUDIES
from tests.plugin.host.conftest import HOSTS, FakeHost, Host, error_of
from tests.plugin.host.series import small_ct
from tests.support.patience import wait_for


@pytest.fixture(scope="module", params=HOSTS)
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """An Orthanc that segments nothing by itself, so that everything in it is old."""
    kind = HOSTS[request.param]
    host = kind(tmp_path_factory.mktemp("archive"), Automatic=False, BackfillPauseSeconds=0)
    with host.orthanc.until_killed():
        host.ready()
        yield host


@pytest.fixture
def host(archive: Host) -> Iterator[Host]:
    with archive.left_as_it_was():
        yield archive


def upload(host: Host, name: str, date: str, **series: Any) -> tuple[str, str]:
    """Store a study of a date; returns Orthanc's ids of its series and of itself."""
    ct = small_ct(name, **series)
    for dataset in ct:
        dataset.StudyDate = date
    series_id = host.store(ct)
    return series_id, host.orthanc.get(f"/series/{series_id}")["ParentStudy"]


def backfill(host: Host, state: str) -> dict[str, Any]:
    """The backfill as soon as it is in a state."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = host.orthanc.get("/liver/status")["Backfill"]
        return found if found["State"] == state else None

    return wait_for(f"backfill {state}", look, 40.0)


def test_a_range_of_dates_takes_its_ct_and_nothing_else(host: Host) -> None:
    inside = [upload(host, f"january {day}", f"202501{day}")[0] for day in ("01", "31")]
    outside = [upload(host, day, day)[0] for day in ("20241231", "20250201")]
    mr = upload(host, "january mr", "20250115", modality="MR")[0]
    begun = host.orthanc.post("/liver/backfill", {"From": "20250101", "To": "20250131"})
    assert begun["Studies"] == 3
    done = backfill(host, "Done")
    assert (done["Done"], done["Submitted"], done["Skipped"]) == (3, 2, 0)
    for series_id in inside:
        [job] = host.jobs_of(series_id)
        assert (job["State"], job["Priority"]) == ("Success", -100)
    for series_id in (*outside, mr):
        assert host.jobs_of(series_id) == []
    # The second time there is nothing new to find.
    host.orthanc.post("/liver/backfill", {"From": "2025-01-01", "To": "2025-01-31"})
    done = backfill(host, "Done")
    assert (done["Submitted"], done["Skipped"]) == (0, 2)


@pytest.mark.parametrize(("kind", "pages_finds"), [("fake", 0), ("fake", 1), ("real", None)])
def test_limited_finds_cut_no_backfill_short(
    kind: str, pages_finds: int | None, tmp_path: Path
) -> None:
    host = HOSTS[kind](tmp_path, Automatic=False, BackfillPauseSeconds=0)
    host.orthanc.overrides = {**host.orthanc.overrides, "LimitFindResults": 3}
    if isinstance(host, FakeHost):
        host.orthanc.archive.pages_finds = bool(pages_finds)
    with host.orthanc.until_killed():
        old = [upload(host, f"of eight {day}", f"2020010{day}")[0] for day in range(1, 9)]
        begun = host.orthanc.post("/liver/backfill", {"From": "20200101", "To": "20200131"})
        assert begun["Studies"] == 8
        assert backfill(host, "Done")["Submitted"] == 8
        assert all(len(host.jobs_of(series_id)) == 1 for series_id in old)


def pages(host: Host) -> bool:
    """Whether this Orthanc goes on beyond LimitFindResults when it is asked to."""
    query = {"StudyDate": "20000101-20301231"}
    body = {"Level": "Study", "Query": query, "Since": 4, "Limit": 1}
    return bool(host.orthanc.post("/tools/find", body))


def test_years_have_four_digits(host: Host) -> None:
    """Orthanc compares texts: 999 would be after 2021."""
    upload(host, "since the year 999", "20210504")
    ask = {"From": "09990101", "To": "20210504"}
    assert host.orthanc.post("/liver/backfill", ask)["Studies"] == 1
    backfill(host, "Done")


@pytest.mark.parametrize("kind", HOSTS)
def test_a_day_that_cannot_be_found_whole_is_refused(kind: str, tmp_path: Path) -> None:
    host = HOSTS[kind](tmp_path, Automatic=False)
    host.orthanc.overrides = {**host.orthanc.overrides, "LimitFindResults": 3}
    with host.orthanc:
        for number in range(5):
            upload(host, f"of one day {number}", "20200205")
        body = b'{"From": "20200201", "To": "20200228"}'
        if not pages(host):
            status, message = error_of(host.orthanc.call("POST", "/liver/backfill", body))
            assert status == 400
            assert "LimitFindResults, 3, at a time, and has more studies of 20200205" in message
        else:
            begun = host.orthanc.call("POST", "/liver/backfill", body).json()
            assert begun["Studies"] == 5


def test_what_is_asked_for_meanwhile_goes_first(host: Host) -> None:
    host.engine.behave(seconds=0.5)
    old = [upload(host, f"old {number}", "20240101") for number in range(3)]
    host.orthanc.post("/liver/backfill", {"Studies": [study for _, study in old]})
    wait_for("the first old one", lambda: host.orthanc.get("/liver/status")["Queue"]["Running"])
    new = [host.segment(upload(host, f"new {number}", "20260101")[0]) for number in range(2)]
    last_new = max(host.job(one, "Success")["StartTime"] for one in new)
    assert backfill(host, "Done")["Submitted"] == 3
    started = sorted(host.ended_job_of(series_id)["StartTime"] for series_id, _ in old)
    # The one that ran already is finished; the others wait for what is new.
    assert started[0] < last_new < started[1]


def test_a_cancelled_backfill_takes_up_no_more(host: Host) -> None:
    host.engine.behave("hang")
    old = [upload(host, f"cancelled {number}", "20230101") for number in range(3)]
    studies = {"Studies": [study for _, study in old]}
    host.orthanc.post("/liver/backfill", studies)
    wait_for("the first", lambda: host.orthanc.get("/liver/status")["Queue"]["Running"])
    answer = host.orthanc.call("POST", "/liver/backfill", b'{"Studies": []}')
    assert error_of(answer) == (409, "a backfill runs already; cancel it first")
    assert host.orthanc.post("/liver/backfill/cancel") == {}
    assert host.orthanc.get("/liver/status")["Backfill"]["State"] == "Cancelled"
    answer = host.orthanc.call("POST", "/liver/backfill/cancel")
    assert error_of(answer) == (409, "no backfill is running")
    [running] = host.jobs_of(old[0][0])
    host.orthanc.post(f"/liver/jobs/{running['ID']}/cancel")
    host.idle()
    assert host.jobs_of(old[1][0]) + host.jobs_of(old[2][0]) == []


def test_a_backfill_goes_on_after_kill_9(host: Host) -> None:
    host.engine.behave("hang")
    old = [upload(host, f"killed {number}", "20220101") for number in range(3)]
    host.orthanc.post("/liver/backfill", {"Studies": [study for _, study in old]})
    host.engine_at_work()
    host.orthanc.kill9()
    host.engine.behave()
    host.orthanc.start()
    assert backfill(host, "Done")["Done"] == 3
    for series_id, _ in old:
        assert [job["State"] for job in host.jobs_of(series_id)] == ["Success"]


def test_a_new_model_reaches_old_series_only_so(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, BackfillPauseSeconds=0)
    with host.orthanc.until_killed():
        series_id, study = upload(host, "seen by the old model", "20210101")
        assert host.ended_job_of(series_id)["Content"]["Model"]["Sha256"] == "a" * 64
        host.orthanc.kill9()
        host.engine.behave(model_sha256="b" * 64)
        host.orthanc.start()
        host.ended_job_of(host.upload("after the new model"))
        assert len(host.jobs_of(series_id)) == 1
        host.orthanc.post("/liver/backfill", {"Studies": [study]})
        assert host.ended_job_of(series_id, 2)["Content"]["Model"]["Sha256"] == "b" * 64
        assert len(host.rtstructs_beside(series_id)) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "the body must be"),
        (b"[]", "the body must be a JSON object"),
        (b'{"From": "20250101"}', "the body must be"),
        (b'{"From": "20250101", "To": "soon"}', "To must be a date"),
        (b'{"From": 20250101, "To": "20250102"}', "From must be a date"),
        (b'{"From": "20250102", "To": "20250101"}', "From must not be after To"),
        (b'{"Studies": "all"}', "Studies must be a list"),
        (b'{"Studies": ["../system"]}', "Studies must be a list"),
        (b'{"Studies": [], "From": "20250101"}', "the body must be"),
    ],
)
def test_bad_bodies_are_refused(host: Host, body: bytes, why: str) -> None:
    status, message = error_of(host.orthanc.call("POST", "/liver/backfill", body))
    assert status == 400
    assert message.startswith(why)


def test_a_backfill_is_bounded(host: Host) -> None:
    ids = ["-".join([f"{number:08x}"] * 5) for number in range(MAX_STUDIES + 1)]
    body = ('{"Studies": ["' + '", "'.join(ids) + '"]}').encode()
    status, message = error_of(host.orthanc.call("POST", "/liver/backfill", body))
    assert (status, message) == (
        400,
        f"these are more than {MAX_STUDIES} studies: ask for fewer at a time",
    )


def test_studies_that_are_gone_are_passed_over(host: Host) -> None:
    nothing = "-".join(["00000000"] * 5)
    host.orthanc.post("/liver/backfill", {"Studies": [nothing]})
    done = backfill(host, "Done")
    assert (done["Done"], done["Submitted"]) == (1, 0)
