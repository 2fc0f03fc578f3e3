"""The states of a job, cell by cell, and the queue with a ledger on paper."""

from __future__ import annotations

import itertools
import threading
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.errors import NotAllowed, UnknownJob
from orthanc_liver.host.jobs.job import TRANSITIONS, Event, Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Record, ServerState
from orthanc_liver.host.server.api import Series

P, R, T, S, F = State.PENDING, State.RUNNING, State.RETRY, State.SUCCESS, State.FAILURE
# One row per state, one column per event, in the order of the two enumerations; None: refused.
#       start interrupt try again succeed fail cancel resubmit
TABLE = {
    P: (R, None, None, None, None, F, None),
    R: (None, P, T, S, F, F, None),
    T: (R, None, None, None, None, F, None),
    S: (None, None, None, None, None, None, None),
    F: (None, None, None, None, None, None, P),
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_each_cell_of_the_table(state: State, event: Event) -> None:
    expected = TABLE[state][list(Event).index(event)]
    assert TRANSITIONS.get((state, event)) == expected
    job = Job("series", "study", "key", state=state)
    if expected is None:
        with pytest.raises(NotAllowed, match=f"a job in state {state} cannot {event}"):
            job.apply(event)
        assert job.state is state
    else:
        job.apply(event)
        assert job.state is expected


def test_progress_counts_over_all_stages_and_never_goes_back() -> None:
    job = Job("series", "study", "key")
    seen = []
    for stage, fraction in [("read", 0), ("localise", 0.5), ("infer", 0.0), ("infer", 0.5)]:
        job.show_progress(stage, fraction)
        seen.append(job.progress_percent)
    for stage, fraction in [("infer", 7.0), ("clean", 0.0), ("preview", 1.0), ("read", 0)]:
        job.show_progress(stage, fraction)
        seen.append(job.progress_percent)
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[3] < seen[-1] <= 99


class Paper:
    """A ledger that keeps everything, and checks that a record is written before the state."""

    def __init__(self) -> None:
        self.state: ServerState | None = None
        self.records: list[Job] = []
        self.is_full = False

    def keep(self, state: ServerState) -> bool:
        if self.is_full:
            return False
        noted = {job.id for job in self.records}
        known = {job.id for job in self.state.finished} if self.state else noted
        older = {job.id for job in state.finished if job.reason == "noted over"}
        assert {job.id for job in state.finished} <= noted | known | older
        self.state = state
        return True

    def record(self, job: Job) -> bool:
        if not self.is_full:
            self.records.append(job)
        return not self.is_full


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def queue(paper: Paper) -> JobQueue:
    return JobQueue(jobs_kept=3, ledger=paper)  # type: ignore[arg-type] # as much as is used of one


def series(name: str, *instances: str, **more: Any) -> Series:
    now = datetime.now(UTC)
    return Series(name, "study", instances or ("i1", "i2"), {}, True, now, **more)


def test_the_source_key_does_not_depend_on_the_order() -> None:
    assert series("s", "a", "b", "c").source_key == series("s", "c", "a", "b").source_key
    assert series("s", "a", "b").source_key != series("s", "a", "b", "c").source_key
    assert series("s", "ab", "c").source_key != series("s", "a", "bc").source_key


@pytest.mark.parametrize(
    ("age_s", "is_stable", "wait_s"),
    [(0, True, 10), (4, True, 6), (10, True, 0), (-5, True, 0), (4, False, 6), (99, False, 1)],
)
def test_a_series_is_settled_when_nothing_came_for_stable_age(
    age_s: float, is_stable: bool, wait_s: float
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    one = Series("s", "study", ("i",), {}, is_stable, now - timedelta(seconds=age_s))
    assert one.seconds_until_settled(now, 10.0) == wait_s


def test_one_series_waits_once(queue: JobQueue, paper: Paper) -> None:
    job = queue.submit(series("a"), force=False)
    assert queue.submit(series("a"), force=False) is job
    assert queue.submit(series("a", "i1", "i2", "i3"), force=False) is job
    assert queue.submit(series("b"), force=False) is not job
    assert paper.state is not None
    assert [one.series for one in paper.state.unfinished] == ["a", "b"]


def test_a_running_series_is_a_duplicate_only_with_the_same_instances(queue: JobQueue) -> None:
    running = queue.submit(series("a"), force=False)
    assert queue.take() is running
    assert queue.submit(series("a"), force=False) is running
    late = queue.submit(series("a", "i1", "i2", "i3"), force=False)
    assert late is not running
    assert queue.submit(series("a", "i1", "i2", "i3"), force=False) is late


def test_higher_priority_first_then_the_older(queue: JobQueue) -> None:
    names = [("a", 0), ("b", 0), ("c", 1)]
    for name, priority in names:
        queue.submit(series(name), force=False, priority=priority)
    taken = [queue.take() for _ in names]
    assert [job.series for job in taken if job] == ["c", "a", "b"]


def test_a_job_that_must_wait_lets_others_pass_and_then_runs(queue: JobQueue) -> None:
    first = queue.submit(series("a"), force=False)
    second = queue.submit(series("b"), force=False)
    assert queue.take() is first
    queue.try_again(first, wait_s=0.2, reason="why")
    assert first.state is State.RETRY
    assert first.as_json()["ErrorDescription"] == "why"
    assert queue.take() is second
    assert queue.take() is first  # waits for it
    assert first.attempt == 2


def test_giving_back_does_not_count_as_an_attempt(queue: JobQueue) -> None:
    job = queue.submit(series("a"), force=False)
    for _ in range(3):
        queue.take()
        queue.give_back(job, 0.0)
    assert (job.state, job.attempt) == (State.PENDING, 0)


def test_what_was_cancelled_while_running_can_neither_end_nor_store(queue: JobQueue) -> None:
    job = queue.submit(series("a"), force=False)
    queue.take()
    queue.cancel(job.id)
    assert not queue.claim_storing(job, [])
    with pytest.raises(NotAllowed):
        queue.succeed(job, Outcome.SEGMENTED)


def test_a_job_that_stores_cannot_be_cancelled(queue: JobQueue) -> None:
    job = queue.submit(series("a"), force=False)
    queue.take()
    assert queue.claim_storing(job, [])
    with pytest.raises(NotAllowed, match="storing"):
        queue.cancel(job.id)
    queue.succeed(job, Outcome.SEGMENTED)


def test_a_resubmitted_job_must_not_double_another(queue: JobQueue) -> None:
    job = queue.submit(series("a"), force=False)
    queue.cancel(job.id)
    other = queue.submit(series("a"), force=False)
    with pytest.raises(NotAllowed):
        queue.resubmit(job.id)
    queue.cancel(other.id)
    again = queue.resubmit(job.id)
    assert queue.take() is again
    assert again.id == job.id


def test_a_job_that_runs_again_hears_nothing_of_whom_it_was_taken_from(queue: JobQueue) -> None:
    """A worker may learn only later that its job was cancelled."""
    former = queue.submit(series("a"), force=False)
    assert queue.take() is former
    queue.cancel(former.id)
    again = queue.resubmit(former.id)
    assert queue.take() is again
    assert (former.state, again.state) == (F, R)
    with pytest.raises(NotAllowed):
        queue.try_again(former, 0.0, "the job was cancelled")
    assert not queue.claim_storing(former, [])
    assert queue.claim_storing(again, [])
    assert queue.job(former.id) is again


def test_a_job_that_cannot_run_again_keeps_what_is_to_be_noted_of_it(
    queue: JobQueue, paper: Paper
) -> None:
    paper.is_full = True
    job = queue.submit(series("a"), force=False)
    queue.take()
    queue.succeed(job, Outcome.NO_LIVER)
    with pytest.raises(NotAllowed):
        queue.resubmit(job.id)
    paper.is_full = False
    queue.write_again()
    assert paper.records == [job]


def test_only_so_many_finished_jobs_are_kept_but_every_unfinished_one(queue: JobQueue) -> None:
    waiting = queue.submit(series("waits"), force=False, priority=-1)
    for number in range(5):
        job = queue.submit(series(f"s{number}"), force=False)
        queue.take()
        queue.succeed(job, Outcome.NO_LIVER)
    shown = queue.show_all()
    assert [one["Content"]["Series"] for one in shown] == ["waits", "s2", "s3", "s4"]
    assert queue.count()["Pending"] == 1
    assert waiting.id in queue.ids()


def test_of_hundreds_of_jobs_those_of_a_series_alone_are_shown(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [queue.submit(series(f"s{number}"), force=False) for number in range(3)]
    monkeypatch.setattr(Job, "as_json", lambda job: {"ID": job.id} if job is jobs[1] else 1 / 0)
    assert queue.show_all(series=jobs[1].series) == [{"ID": jobs[1].id}]
    assert queue.ids(series=jobs[1].series) == [jobs[1].id]
    assert queue.ids() == [job.id for job in jobs]


def test_a_restart_takes_up_what_was_not_finished(queue: JobQueue, paper: Paper) -> None:
    queue.advance(41)
    running, waiting = (queue.submit(series(name), force=True) for name in "ab")
    done = queue.submit(series("c"), force=False, priority=1)
    queue.take()
    queue.succeed(done, Outcome.SEGMENTED)
    queue.take()
    assert paper.state is not None
    after = JobQueue(jobs_kept=3, ledger=paper)  # type: ignore[arg-type] # see above
    after.restore(paper.state)
    assert sorted(after.ids()) == sorted([running.id, waiting.id, done.id])
    taken = [after.take(), after.take()]
    assert [(job.id, job.force, job.attempt) for job in taken if job] == [
        (running.id, True, 1),
        (waiting.id, True, 1),
    ]


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(
    queue: JobQueue, paper: Paper
) -> None:
    job = queue.submit(series("a"), force=False)
    queue.take()
    paper.is_full = True
    queue.fail(job, Outcome.FAILED, "no room")
    queue.write_again()
    assert paper.records == []
    assert queue.show(job.id)["State"] == "Failure"
    paper.is_full = False
    queue.write_again()
    queue.write_again()
    assert paper.records == [job]
    assert paper.state is not None
    assert [one.id for one in paper.state.finished] == [job.id]


def test_a_note_that_only_its_series_could_not_take_outlives_a_restart(
    queue: JobQueue, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.submit(series("a"), force=False)
    queue.take()
    with monkeypatch.context() as full:
        full.setattr(paper, "record", lambda job: False)
        queue.fail(job, Outcome.FAILED, "no room")
    assert paper.state is not None
    assert [one.id for one in paper.state.unfinished] == [job.id]
    after = JobQueue(jobs_kept=3, ledger=paper)  # type: ignore[arg-type] # see above
    after.restore(paper.state)
    assert after.show(job.id)["State"] == "Failure"  # and is not run again
    assert after.count()["Pending"] == 0
    assert [one.id for one in paper.records] == [job.id]


def test_an_older_job_is_not_noted_over_a_newer_one(queue: JobQueue, paper: Paper) -> None:
    paper.is_full = True
    for reason in ("noted over", "newest"):
        job = queue.submit(series("a", reason), force=False)
        queue.take()
        queue.fail(job, Outcome.REFUSED, reason)
    paper.is_full = False
    queue.write_again()
    assert [one.reason for one in paper.records] == ["newest"]


def test_whoever_waits_for_a_job_in_vain_can_be_woken(queue: JobQueue) -> None:
    reasons = [True, False]
    threading.Timer(0.1, queue.wake).start()
    assert queue.take(as_long_as=lambda: reasons.pop(0)) is None


def test_what_is_not_there_is_an_unknown_job(queue: JobQueue) -> None:
    for ask in (queue.job, queue.show, queue.cancel, queue.resubmit):
        with pytest.raises(UnknownJob):
            ask("no such")


def test_closing_ends_a_wait(queue: JobQueue) -> None:
    threading.Timer(0.1, queue.close).start()
    assert queue.take() is None


@pytest.mark.parametrize(
    ("outcome", "key", "model", "settled"),
    [
        (Outcome.SEGMENTED, "key", "m", True),
        (Outcome.NO_LIVER, "key", "m", True),
        (Outcome.REFUSED, "key", "m", True),
        (Outcome.FAILED, "key", "m", False),
        (Outcome.CANCELLED, "key", "m", False),
        (Outcome.SEGMENTED, "other key", "m", False),
        (Outcome.SEGMENTED, "key", "other model", False),
    ],
)
def test_what_a_record_settles(outcome: Outcome, key: str, model: str, settled: bool) -> None:
    job = Job("series", "study", "key", outcome=outcome, model={"Name": "n", "Sha256": "m"})
    assert Record(job, None).settles(key, model) is settled


def test_attempts_are_counted_over_a_restart_and_what_was_cut_off_is_none(
    queue: JobQueue, paper: Paper
) -> None:
    failed, cut_off = (queue.submit(series(name), force=False) for name in "ab")
    for reason in ("first", "second"):
        assert queue.take() is failed
        queue.try_again(failed, 0.0, reason)
    assert queue.take() is failed
    queue.fail(failed, Outcome.FAILED, "third")
    anew = queue.resubmit(failed.id)
    assert queue.take() is anew
    queue.try_again(anew, 3600.0, "once more")
    assert queue.take() is cut_off
    queue.submit(series("c"), force=False)  # what runs is written down with it
    assert paper.state is not None
    again = JobQueue(jobs_kept=3, ledger=paper)  # type: ignore[arg-type]
    again.restore(ServerState(7, deepcopy(paper.state.unfinished), []))
    found = {job.series: (job.state, job.attempt, job.reason) for job in again.in_order()}
    assert found == {"a": (T, 1, "once more"), "b": (P, 0, ""), "c": (P, 0, "")}
