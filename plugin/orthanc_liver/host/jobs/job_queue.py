"""All jobs of this server: who is next, who is a duplicate, and what is kept over a restart."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.errors import NotAllowed, UnknownJob
from orthanc_liver.host.jobs.job import UNFINISHED, WAITING, Event, Job, State
from orthanc_liver.host.jobs.records import Ledger, ServerState
from orthanc_liver.host.server.api import OrthancError, Series

_STORING = "store"


class JobQueue:
    """Shared by Orthanc's threads, the worker and the reader of the change log.

    What must outlive a restart is in the ledger before a call returns that changed it.
    """

    def __init__(
        self, jobs_kept: int, ledger: Ledger, note_end: Callable[[Job], None] = lambda job: None
    ) -> None:
        self._jobs: dict[str, Job] = {}
        self._not_before_s: dict[str, float] = {}  # by job, on the monotonic clock
        self._not_noted: dict[str, Job] = {}  # finished, but their series do not say so yet
        self._is_kept = True
        self._seq = 0
        self._jobs_kept = jobs_kept
        self._ledger = ledger
        self._note_end = note_end
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    def restore(self, state: ServerState) -> None:
        """Take up what was kept; what ran when Orthanc stopped is pending again, and that attempt
        does not count."""
        with self._changed:
            self._seq = state.seq
            for job in [*state.finished, *state.unfinished]:
                if job.state is State.RUNNING:
                    job.apply(Event.INTERRUPT)
                self._jobs.setdefault(job.id, job)
            ended = (job for job in state.unfinished if job.state not in UNFINISHED)
            self._not_noted = {job.id: job for job in ended}
            self._persist()

    def write_again(self) -> None:
        """Write what the disk had no room for, if there is any."""
        with self._changed:
            if self._not_noted or not self._is_kept:
                self._persist()

    def advance(self, seq: int) -> None:
        """Everything in the change log up to seq is done with."""
        with self._changed:
            if seq != self._seq:
                self._seq = seq
                self._persist()

    def standing_still(self) -> AbstractContextManager[object]:
        """Meanwhile no other thread changes a job."""
        return self._changed

    def submit(self, series: Series, *, force: bool, priority: int = 0) -> Job:
        """Return the job that will segment the series as it is now: a new one, or the unfinished
        one that does so anyway."""
        with self._changed:
            for job in self._jobs.values():
                same_source = job.source_key == series.source_key and (
                    job.source_updated in (None, series.last_update)
                )
                if job.series == series.id and (
                    job.state in WAITING or (job.state is State.RUNNING and same_source)
                ):
                    if (force and not job.force) or priority > job.priority:
                        job.force, job.priority = job.force or force, max(job.priority, priority)
                        self._persist()
                    return job
            job = Job(series.id, series.study, series.source_key, force, priority)
            self._jobs[job.id] = job
            self._persist()
            return job

    def adopt(self, job: Job) -> None:
        """List a finished job that is known from its series only."""
        with self._changed:
            self._jobs.setdefault(job.id, job)
            self._persist()

    def take(self, as_long_as: Callable[[], bool] = lambda: True) -> Job | None:
        """Wait for the next job, which is running then; None when the queue is closed, or when
        `wake` was called and there is no longer a reason to wait."""
        with self._changed:
            while not self._closed and as_long_as():
                job = self._next()
                if job:
                    job.apply(Event.START)
                    return job
                self._changed.wait(self._seconds_to_next())
            return None

    def give_back(self, job: Job, wait_s: float, reason: str = "") -> None:
        """The running job cannot go on now and is not to blame."""
        self._update(job, Event.INTERRUPT, wait_s=wait_s, reason=reason)

    def try_again(self, job: Job, wait_s: float, reason: str) -> None:
        """The running job failed, but not for the last time."""
        self._update(job, Event.TRY_AGAIN, wait_s=wait_s, reason=reason)

    def succeed(self, job: Job, outcome: Outcome) -> None:
        """The running job ended well; its result and report are set already."""
        self._update(job, Event.SUCCEED, outcome=outcome)

    def fail(self, job: Job, outcome: Outcome, reason: str) -> None:
        """The running job ended badly, for good."""
        self._update(job, Event.FAIL, outcome=outcome, reason=reason)

    def claim_storing(self, job: Job, uids: Sequence[str]) -> bool:
        """From now on the job cannot be cancelled; False where it has been already.

        uids: what it is about to store, SOP Instance UIDs; OrthancError where they cannot be kept.
        """
        with self._changed:
            if job.state is not State.RUNNING:
                return False
            job.stage = _STORING
            job.intended_uids = list(dict.fromkeys([*job.intended_uids, *uids]))
            self._persist()
            if not self._is_kept:
                raise OrthancError("what is about to be stored could not be written down")
            return True

    def cancel(self, job_id: str, by: str = "") -> Job:
        """End an unfinished job; UnknownJob, or NotAllowed where it has ended."""
        with self._changed:
            job = self.job(job_id)
            if job.state is State.RUNNING and job.stage == _STORING:
                raise NotAllowed("the job is storing its result and cannot be cancelled any more")
            reason = f"cancelled by {by}" if by else "cancelled"
            self._update(job, Event.CANCEL, outcome=Outcome.CANCELLED, reason=reason)
            return job

    def put_first(self, job_id: str) -> Job:
        """Let a waiting job be the next; UnknownJob, or NotAllowed where it does not wait."""
        with self._changed:
            job = self.job(job_id)
            if job.state not in WAITING:
                raise NotAllowed(f"a job in state {job.state} does not wait")
            others = [one.priority for one in self._jobs.values() if one.state in WAITING]
            if self.in_order()[0] is not job:
                job.priority = max(others) + 1
            self._not_before_s.pop(job_id, None)
            self._persist()
            return job

    def resubmit(self, job_id: str) -> Job:
        """Run a failed job again, under its id; UnknownJob and NotAllowed as for cancel."""
        with self._changed:
            job = self.job(job_id)
            others = (one for one in self._jobs.values() if one is not job)
            if any(one.series == job.series and one.state in UNFINISHED for one in others):
                raise NotAllowed("another job for the same series is not finished yet")
            # Its former self stays ended: a worker may not know yet that it was cancelled.
            again = replace(job)
            again.apply(Event.RESUBMIT)
            # The oldest finished jobs are forgotten first, and this one is new again.
            del self._jobs[job_id]
            self._jobs[job_id] = again
            self._not_noted.pop(job_id, None)
            self._not_before_s.pop(job_id, None)
            self._persist()
            return again

    def ids(self, *, series: str = "", study: str = "") -> list[str]:
        """Every job we know of, or those of a series or study alone, oldest first."""
        with self._changed:
            return [job.id for job in self._of(series, study)]

    def job(self, job_id: str) -> Job:
        """One job; UnknownJob where there is no such job."""
        with self._changed:
            if job_id not in self._jobs:
                raise UnknownJob("there is no such job")
            return self._jobs[job_id]

    def jobs_of(self, series_id: str) -> list[Job]:
        """Those of one series, oldest first."""
        with self._changed:
            return [job for job in self._jobs.values() if job.series == series_id]

    def show(self, job_id: str) -> dict[str, Any]:
        """One job as JSON; UnknownJob where there is no such job."""
        with self._changed:
            return self.job(job_id).as_json()

    def show_all(self, *, series: str = "", study: str = "") -> list[dict[str, Any]]:
        """Every job, or those of a series or study alone, as JSON, oldest first."""
        with self._changed:
            return [job.as_json() for job in self._of(series, study)]

    def _of(self, series: str, study: str) -> list[Job]:
        """Of hundreds of jobs only those are shown that are asked for: each costs time."""
        return [
            job
            for job in self._jobs.values()
            if series in ("", job.series) and study in ("", job.study)
        ]

    def in_order(self) -> list[Job]:
        """The unfinished jobs, what runs first and then in the order in which they will."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.state in UNFINISHED]
            return sorted(jobs, key=self._rank)

    def finished(self) -> list[Job]:
        """The last job of each series that has ended, newest first."""
        with self._changed:
            last = {job.series: job for job in self._jobs.values()}
            ended = [job for job in last.values() if job.state not in UNFINISHED]
            return sorted(ended, key=lambda job: job.completed or job.created, reverse=True)

    def unfinished(self) -> int:
        """How many jobs are not finished."""
        with self._changed:
            return sum(job.state in UNFINISHED for job in self._jobs.values())

    def is_busy(self) -> bool:
        """Whether any job is not finished."""
        return self.unfinished() > 0

    def count(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._changed:
            counted = Counter(job.state for job in self._jobs.values())
            return {str(state): counted[state] for state in State}

    def oldest_waiting_s(self) -> int:
        """For how long the oldest of those that wait has waited; 0 where none does."""
        with self._changed:
            since = [job.created for job in self._jobs.values() if job.state in WAITING]
            return int((datetime.now(UTC) - min(since)).total_seconds()) if since else 0

    def wake(self) -> None:
        """Let whoever waits for a job see whether to go on."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _update(
        self,
        job: Job,
        event: Event,
        *,
        wait_s: float = 0.0,
        outcome: Outcome | None = None,
        reason: str = "",
    ) -> None:
        with self._changed:
            job.apply(event)
            job.outcome, job.reason = outcome, reason
            self._not_before_s[job.id] = time.monotonic() + wait_s
            if job.state not in UNFINISHED:
                # An older job of the series must not be noted over this one.
                for other in [o for o in self._not_noted.values() if o.series == job.series]:
                    del self._not_noted[other.id]
                self._not_noted[job.id] = job
                self._note_end(job)
            self._persist()

    def _next(self) -> Job | None:
        now_s = time.monotonic()
        due = [job for job in self._free() if self._not_before_s.get(job.id, 0.0) <= now_s]
        return min(due, key=lambda job: (-job.priority, job.created), default=None)

    def _free(self) -> list[Job]:
        """Those that wait, and not for another job of their series: the two would write over each
        other's notes."""
        running = {job.series for job in self._jobs.values() if job.state is State.RUNNING}
        waiting = (job for job in self._jobs.values() if job.state in WAITING)
        return [job for job in waiting if job.series not in running]

    def _rank(self, job: Job) -> tuple[object, ...]:
        rests_until_s = self._not_before_s.get(job.id, 0.0)
        rest_s = rests_until_s if rests_until_s > time.monotonic() else 0.0
        return (job.state is not State.RUNNING, rest_s, -job.priority, job.created)

    def _seconds_to_next(self) -> float | None:
        times_s = [self._not_before_s.get(job.id, 0.0) for job in self._free()]
        return max(min(times_s) - time.monotonic(), 0.0) if times_s else None

    def _persist(self) -> None:
        # On its series first, so that a finished job is never in neither place.
        for job in list(self._not_noted.values()):
            if self._ledger.record(job):
                del self._not_noted[job.id]
        to_tell = [job for job in self._jobs.values() if job.id in self._not_noted]
        unfinished = [job for job in self._jobs.values() if job.state in UNFINISHED]
        finished = [
            job
            for job in self._jobs.values()
            if job.state not in UNFINISHED and job.id not in self._not_noted
        ]
        for job in finished[: -self._jobs_kept]:
            del self._jobs[job.id]
            self._not_before_s.pop(job.id, None)
        state = ServerState(self._seq, unfinished + to_tell, finished[-self._jobs_kept :])
        self._is_kept = self._ledger.keep(state)
        self._changed.notify_all()
