"""Every result on its way to every destination: what waits, what goes, what failed and why.

A delivery is not given up while its result is in Orthanc and nobody cancels it. Those under way
are in global property 4502, those that ended in metadata 4503 of their CT series.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orthanc_liver.host.delivery.destinations import Destination
from orthanc_liver.host.jobs.job import UNFINISHED, WAITING, Job, NotAllowed, State
from orthanc_liver.host.jobs.records import StateUnreadable
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.times import growing_wait_s, text_of, time_of
from orthanc_liver.host.server.untrusted_json import parse_clients_json

DELIVERIES_PROPERTY = 4502
DELIVERIES_METADATA = 4503
_KEPT_PER_SERIES = 20
_ENDED_IN_MEMORY = 1000


@dataclass
class Delivery:
    """The objects of one result to one destination. Instances and series are Orthanc's ids."""

    job: str
    series: str
    instances: tuple[str, ...]
    destination: Destination
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = State.PENDING
    attempts: int = 0
    reason: str = ""
    completed: datetime | None = None
    orthanc_job: str = ""

    def as_json(self) -> dict[str, Any]:
        """In the manner of Orthanc's jobs."""
        return {
            "ID": self.id,
            "Job": self.job,
            "Series": self.series,
            "Instances": list(self.instances),
            "Destination": self.destination.as_json(),
            "State": str(self.state),
            "Attempts": self.attempts,
            "Reason": self.reason,
            "OrthancJob": self.orthanc_job,
            "CreationTime": text_of(self.created),
            "CompletionTime": text_of(self.completed) if self.completed else None,
        }

    @classmethod
    def from_json(cls, shown: dict[str, Any]) -> Delivery:
        """The delivery that as_json showed."""
        completed = shown["CompletionTime"]
        return cls(
            job=shown["Job"],
            series=shown["Series"],
            instances=tuple(shown["Instances"]),
            destination=Destination.from_json(shown["Destination"]),
            id=shown["ID"],
            created=time_of(shown["CreationTime"]),
            state=State(shown["State"]),
            attempts=shown["Attempts"],
            reason=shown["Reason"],
            completed=time_of(completed) if completed else None,
            orthanc_job=shown["OrthancJob"],
        )


@dataclass
class Rest:
    """How often a destination has failed since it last took something, and until when it rests."""

    failures: int
    until: datetime


class Deliveries:
    """Shared by Orthanc's threads, the worker and the courier.

    What must outlive a restart is in Orthanc before the call returns that changed it.
    """

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._all: dict[str, Delivery] = {}
        self._rests: dict[Destination, Rest] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    def restore(self, series_ids: Iterable[str]) -> None:
        """Take up what was under way, and what the given series tell of those that ended."""
        with self._changed:
            for series_id in dict.fromkeys(series_ids):
                self._all |= {one.id: one for one in self._read_ended(series_id)}
            # Orthanc may have been killed after an end was noted on the series and before here.
            self._all = {one.id: one for one in self._read_under_way()} | self._all

    def add(self, job: Job, instances: Sequence[str], destinations: Iterable[Destination]) -> None:
        """Send a job's result, unless it is under way there already."""
        with self._changed:
            under_way = {
                (one.instances, one.destination)
                for one in self._all.values()
                if one.state in UNFINISHED
            }
            for destination in destinations:
                if (tuple(instances), destination) not in under_way:
                    one = Delivery(job.id, job.series, tuple(instances), destination)
                    self._all[one.id] = one
            self._keep()

    def end_rests(self) -> None:
        """Somebody asks: what failed before is tried again now."""
        with self._changed:
            self._rests.clear()
            self._changed.notify_all()

    def cancel(self, delivery_id: str) -> None:
        """Give up; KeyError where there is no such delivery, NotAllowed where it has ended."""
        with self._changed:
            one = self._all[delivery_id]
            if one.state not in UNFINISHED:
                raise NotAllowed(f"a delivery in state {one.state} cannot cancel")
            self._end(one, State.FAILURE, "cancelled")

    def running(self) -> list[Delivery]:
        """Those that one of Orthanc's jobs works on."""
        with self._changed:
            return [one for one in self._all.values() if one.state is State.RUNNING]

    def due(self) -> list[Delivery]:
        """One for each destination that has nothing running: what was tried least comes first.

        So what is always refused holds nothing else up. What failed before goes only when its
        destination has rested.
        """
        with self._changed:
            now = datetime.now(UTC)
            busy = {one.destination for one in self.running()}
            resting = {place for place, rest in self._rests.items() if rest.until > now}
            found: dict[Destination, Delivery] = {}
            for one in sorted(self._all.values(), key=lambda d: (d.attempts, d.created)):
                may_go = one.attempts == 0 or one.destination not in resting
                if one.state in WAITING and one.destination not in busy and may_go:
                    found.setdefault(one.destination, one)
            return list(found.values())

    def begin(self, one: Delivery, orthanc_job: str) -> bool:
        """One of Orthanc's jobs works on it now; False where it has been cancelled meanwhile."""
        with self._changed:
            if one.state in WAITING:
                one.state, one.orthanc_job = State.RUNNING, orthanc_job
                one.attempts += 1
                self._keep()
            return one.state is State.RUNNING

    def succeed(self, one: Delivery) -> None:
        """The destination has it."""
        with self._changed:
            self._rests.pop(one.destination, None)
            if one.state in UNFINISHED:
                self._end(one, State.SUCCESS, "")

    def fail(self, one: Delivery, reason: str) -> None:
        """This attempt failed; the next one follows when the destination has rested."""
        with self._changed:
            if one.state not in UNFINISHED:
                return
            one.attempts += one.state is not State.RUNNING  # it did not come to that
            one.state, one.reason, one.orthanc_job = State.RETRY, reason, ""
            before = self._rests.get(one.destination)
            failures = before.failures + 1 if before else 1
            until = datetime.now(UTC) + timedelta(seconds=growing_wait_s(failures - 1))
            self._rests[one.destination] = Rest(failures, until)
            self._keep()

    def lose(self, one: Delivery) -> None:
        """Its result was deleted from Orthanc, so there is nothing left to send."""
        with self._changed:
            if one.state in UNFINISHED:
                self._end(one, State.FAILURE, "the result is no longer in Orthanc")

    def show_all(self) -> list[dict[str, Any]]:
        """Every delivery that is remembered, as JSON, oldest first."""
        with self._changed:
            return [self._show(one) for one in sorted(self._all.values(), key=_age)]

    def show_by_job(self) -> dict[str, list[dict[str, Any]]]:
        """The same by the id of the job whose result it is."""
        by_job: dict[str, list[dict[str, Any]]] = {}
        for one in self.show_all():
            by_job.setdefault(one["Job"], []).append(one)
        return by_job

    def count(self) -> dict[str, int]:
        """How many are in each state."""
        with self._changed:
            counted = Counter(one.state for one in self._all.values())
            return {str(state): counted[state] for state in State}

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something changed, or so long; False when closed."""
        with self._changed:
            if not self._closed:
                self._changed.wait(timeout_s)
            return not self._closed

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _show(self, one: Delivery) -> dict[str, Any]:
        rest = self._rests.get(one.destination)
        waits = one.state is State.RETRY and rest is not None
        return one.as_json() | {"NextAttempt": text_of(rest.until) if waits and rest else None}

    def _end(self, one: Delivery, state: State, reason: str) -> None:
        one.state, one.reason, one.completed = state, reason, datetime.now(UTC)
        self._note_end(one)  # first, so that it is never in neither place
        ended = sorted((d for d in self._all.values() if d.completed), key=_age)
        for old in ended[:-_ENDED_IN_MEMORY]:
            del self._all[old.id]
        self._keep()

    def _note_end(self, one: Delivery) -> None:
        ended = [d.as_json() for d in [*self._read_ended(one.series), one]]
        text = json.dumps(ended[-_KEPT_PER_SERIES:])
        try:
            self._orthanc.put(f"/series/{one.series}/metadata/{DELIVERIES_METADATA}", text.encode())
        except Missing:
            pass  # the series is gone, and its notes with it
        except OrthancError as error:
            self._orthanc.log_error(f"delivery {one.id} could not be noted: {error}")

    def _read_ended(self, series_id: str) -> list[Delivery]:
        try:
            text = self._orthanc.get_bytes(f"/series/{series_id}/metadata/{DELIVERIES_METADATA}")
            return [Delivery.from_json(one) for one in parse_clients_json(text)]
        except Missing:
            return []
        except (ValueError, KeyError, TypeError, AttributeError):
            # Any client of Orthanc may write metadata. Ours will take its place.
            self._orthanc.log_error(f"metadata {DELIVERIES_METADATA} of {series_id} is not ours")
            return []

    def _keep(self) -> None:
        under_way = [d.as_json() for d in self._all.values() if d.state in UNFINISHED]
        try:
            self._orthanc.set_property(DELIVERIES_PROPERTY, json.dumps(under_way))
        except OrthancError as error:
            self._orthanc.log_error(f"the list of deliveries could not be kept: {error}")
        self._changed.notify_all()

    def _read_under_way(self) -> list[Delivery]:
        text = self._orthanc.property(DELIVERIES_PROPERTY)
        try:
            return [Delivery.from_json(one) for one in json.loads(text or "[]")]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateUnreadable(
                f"Orthanc's global property {DELIVERIES_PROPERTY} does not hold orthanc-liver's "
                f"deliveries; another program or another version wrote it ({type(error).__name__})"
            ) from error


def _age(one: Delivery) -> datetime:
    return one.created
