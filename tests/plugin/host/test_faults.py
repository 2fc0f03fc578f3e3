"""What goes wrong while a job runs, provoked for real."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.plugin.host.conftest import FakeHost, Host, only_real
from tests.plugin.host.series import small_ct
from tests.support.patience import wait_for
from tests.support.processes import peak_mib
from tests.support.scripted_engine import Ending


def test_a_crash_is_tried_again_in_a_fresh_process(host: Host) -> None:
    host.ready()  # what an earlier test ended may still be on its way back
    host.engine.behave("crash", times=1)
    starts = len(host.engine.starts())
    series_id = host.upload("crash once")
    job_id = host.segment(series_id)
    job = host.job(job_id, "Success")
    assert job["Content"]["Attempt"] == 2
    told = f"job {job_id}, attempt 1: the inference process was ended by SIGKILL"
    wait_for("the log", lambda: told in host.orthanc.log())
    assert len(host.engine.starts()) == starts + 1
    assert len(host.rtstructs_beside(series_id)) == 1


@only_real
def test_kill_9_of_the_idle_process_costs_no_attempt(host: Host) -> None:
    host.ready()
    [pid] = host.engine.alive()
    starts = len(host.engine.starts())
    os.kill(pid, signal.SIGKILL)
    wait_for("a new process", lambda: len(host.engine.starts()) == starts + 1)
    job = host.ended_job_of(host.upload("idle engine killed"))
    assert (job["State"], job["Content"]["Attempt"]) == ("Success", 1)


def test_after_the_last_retry_the_job_fails_with_the_reason(host: Host) -> None:
    host.engine.behave("failed")
    jobs = len(host.engine.jobs())
    series_id = host.upload("always fails")
    job = host.ended_job_of(series_id)
    assert (job["State"], job["Content"]["Outcome"]) == ("Failure", "failed")
    assert job["ErrorDescription"] == "the scripted engine was told so"
    assert len(host.engine.jobs()) == jobs + 2  # Retries is 1
    assert host.rtstructs_beside(series_id) == []
    # A failure is not final for a person who asks.
    host.engine.behave()
    assert host.job(host.segment(series_id), "Success")["ID"] != job["ID"]


def test_a_job_that_hangs_is_stopped_and_tried_again(tmp_path: Path) -> None:
    # However slow the machine, one of the attempts is done before so much time has passed.
    host = FakeHost(tmp_path, JobTimeoutSeconds=2, Retries=20)
    with host.orthanc.until_killed():
        host.engine.behave("hang before reading", times=1)
        # Larger than a pipe holds, so that Orthanc's side is stuck while it writes.
        job_id = host.segment(host.upload("hangs", slices=150))
        waiting = host.job(job_id, "Retry")
        assert waiting["ErrorDescription"] == "it was stopped after JobTimeoutSeconds, 2 s"
        assert host.job(job_id, "Success")["Content"]["Attempt"] > 1


@only_real
@pytest.mark.parametrize(
    "ending",
    [
        "rubbish",
        "deeply nested",
        "4 GiB",
        "wrong types",
        "another job",
        "orphan holds the pipes",
        "orphan in a session of its own",
        "endless line on standard error",
    ],
)
def test_whatever_a_process_sends_or_leaves_the_job_is_tried_again(
    host: Host, ending: Ending
) -> None:
    host.engine.behave(ending, times=1)
    job = host.ended_job_of(host.upload(ending))
    assert (job["State"], job["Content"]["Attempt"]) == ("Success", 2)
    assert host.engine.end_orphans() == ("session" in ending)


@pytest.mark.orthanc
def test_a_deadline_frees_the_worker_though_an_orphan_holds_the_pipes(tmp_path: Path) -> None:
    host = Host(tmp_path, JobTimeoutSeconds=5, Retries=20)
    with host.orthanc.until_killed():
        host.engine.behave("hang before reading, beside an orphan", times=1)
        job_id = host.segment(host.upload("deadline beside an orphan", slices=150))
        waiting = host.job(job_id, "Retry")
        assert waiting["ErrorDescription"] == "it was stopped after JobTimeoutSeconds, 5 s"
        assert host.job(job_id, "Success")["Content"]["Attempt"] > 1
        assert host.engine.end_orphans() == 1


@only_real
def test_a_cancel_frees_the_worker_though_an_orphan_holds_the_pipes(host: Host) -> None:
    host.engine.behave("hang before reading, beside an orphan", times=1)
    job_id = host.segment(host.upload("cancel beside an orphan", slices=150))
    # Cancelled before the engine read the order, the next job would hang in its place.
    wait_for("the orphan", host.engine.orphans)
    host.orthanc.call("POST", f"/liver/jobs/{job_id}/cancel").raise_for_status()
    host.ended_job_of(host.upload("after the cancel"))
    assert host.engine.end_orphans() == 1


@only_real
def test_an_answer_without_end_does_not_fill_orthancs_memory(host: Host) -> None:
    host.engine.behave("without end", times=1)
    job = host.ended_job_of(host.upload("without end"))
    assert (job["State"], job["Content"]["Attempt"]) == ("Success", 2)
    assert host.orthanc.process
    assert peak_mib(host.orthanc.process.pid) < 1200


@only_real
def test_an_engine_that_says_ready_in_other_types_is_started_again(host: Host) -> None:
    host.ready()
    [pid] = host.engine.alive()
    host.engine.behave(start="wrong types")
    os.kill(pid, signal.SIGKILL)
    wait_for("its problem", lambda: host.orthanc.get("/liver/status")["EngineProblem"])
    assert "not a message" in host.orthanc.get("/liver/status")["EngineProblem"]
    host.engine.behave()
    assert host.ended_job_of(host.upload("after a strange ready"))["State"] == "Success"


@only_real
def test_after_its_process_died_the_engine_is_not_called_ready(host: Host) -> None:
    host.engine.behave("hang", times=1, start="hang")
    job_id = host.segment(host.upload("its process dies"))
    host.job_in_engine(job_id)
    assert host.orthanc.get("/liver/status")["Engine"] == "ready"
    starts = len(host.engine.starts())
    os.kill(host.engine_at_work(), signal.SIGKILL)
    wait_for("another process", lambda: len(host.engine.starts()) > starts)
    status = host.orthanc.get("/liver/status")
    assert (status["Engine"], status["Model"]["Name"]) == ("starting", "scripted")
    host.engine.behave()
    os.kill(host.engine.alive()[-1], signal.SIGKILL)
    host.job(job_id, "Success")
    assert host.orthanc.get("/liver/status")["Engine"] == "ready"


def test_a_result_for_another_study_is_not_kept(host: Host) -> None:
    host.engine.behave("wrong study")
    series_id = host.upload("wrong study")
    job = host.ended_job_of(series_id)
    assert job["State"] == "Failure"
    assert "study" in job["ErrorDescription"]
    assert host.rtstructs_beside(series_id) == []
    assert host.orthanc.lookup("1.2.3") == []


def test_a_series_deleted_while_it_is_segmented_leaves_nothing_behind(host: Host) -> None:
    host.engine.behave(seconds=2.0)
    ct = small_ct("deleted while running")
    series_id = host.store(ct)
    job_id = host.segment(series_id)
    host.job_in_engine(job_id)
    host.orthanc.call("DELETE", f"/series/{series_id}")
    seq = host.orthanc.get("/changes?last")["Last"]
    job = host.job(job_id, "Failure", "Success")
    assert (job["State"], job["Content"]["Outcome"]) == ("Failure", "failed")
    # Nothing was stored, not even for a moment: what is deleted takes its changes out of the log,
    # but their numbers are not given again.
    changes = host.orthanc.get(f"/changes?since={seq}&limit=1000")["Changes"]
    assert host.orthanc.get("/changes?last")["Last"] - seq == len(changes)
    assert "deleted" in job["ErrorDescription"]
    assert host.orthanc.lookup(ct[0].StudyInstanceUID) == []


@only_real
def test_a_series_deleted_before_its_turn_fails_without_a_process(host: Host) -> None:
    host.engine.behave(seconds=1.5)
    host.job_in_engine(host.segment(host.upload("runs before")))
    series_id = host.upload("deleted while pending")
    job_id = host.segment(series_id)
    jobs = len(host.engine.jobs())
    host.orthanc.call("DELETE", f"/series/{series_id}")
    job = host.job(job_id, "Failure", "Success")
    assert job["State"] == "Failure"
    assert len(host.engine.jobs()) == jobs


@only_real
def test_a_series_that_still_arrives_is_waited_for(host: Host) -> None:
    ct = small_ct("still arrives", slices=9)
    series_id = host.store(ct[:6])
    job_id = host.segment(series_id)
    last_came = datetime.now(UTC)
    host.store(ct[6:])
    job = host.job(job_id, "Success")
    # Asked for or not, a series is only read when nothing came for StableAge, 1 s.
    started = datetime.strptime(job["StartTime"] + "Z", "%Y%m%dT%H%M%S.%f%z")
    assert started - last_came > timedelta(seconds=0.9)
    assert host.told_stable(series_id)
    assert len(host.jobs_of(series_id)) == 1


def test_orthanc_answers_while_a_job_runs(host: Host) -> None:
    host.engine.behave("hang", times=1)
    job_id = host.segment(host.upload("answers meanwhile", slices=60))
    host.job_in_engine(job_id)
    for _ in range(20):
        assert host.orthanc.answers()
        assert host.orthanc.get(f"/liver/jobs/{job_id}")["State"] == "Running"
    host.orthanc.post(f"/liver/jobs/{job_id}/cancel")


@pytest.mark.parametrize("note", [b"not ours", b"[" * 50_000])
def test_a_note_of_somebody_else_on_a_series_does_no_harm(host: Host, note: bytes) -> None:
    ct = small_ct(f"foreign metadata of {len(note)} bytes")
    series_id = host.store(ct)
    host.orthanc.call("PUT", f"/series/{series_id}/metadata/4501", note)
    assert host.ended_job_of(series_id)["State"] == "Success"
    assert host.orthanc.get(f"/series/{series_id}/metadata/4501")["Job"]["State"] == "Success"
    wait_for("the log tells", lambda: f"metadata 4501 of {series_id}" in host.orthanc.log())
