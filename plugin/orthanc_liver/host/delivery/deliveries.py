"""Every object on its way to every destination: what waits, what goes, what failed and why.

A delivery is not given up while its object is in Orthanc and nobody cancels it, unless the
destination takes no such object or nobody can tell whether it arrives.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orthanc_liver.host.delivery.delivery import Arrival, Delivery
from orthanc_liver.host.delivery.destinations import Destination
from orthanc_liver.host.errors import NotAllowed, UnknownDelivery
from orthanc_liver.host.jobs.job import UNFINISHED, WAITING, Job, State
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.server.times import text_of
from orthanc_liver.host.server.waits import growing_wait_s

_ENDED_IN_MEMORY = 1000
_SENT_UNKNOWN_AT_MOST = 3
_UNKNOWN = "Orthanc no longer knows its sending job"
_HELD = "until a person accepts the outline"
_NO_PROOF = "the destination offers no storage commitment"
_NO_ANSWER = "the destination has not answered about storage commitment for an hour"
_PROOF_UNKNOWN = "Orthanc no longer knows whether the destination committed to it"
_LONGEST_WAIT_FOR_PROOF_S = 3600.0
_OVERTAKEN = "a newer outline came before a person accepted this one"


@dataclass
class Rest:
    """How often a destination has failed since it last took something, and until when it rests.

    until_s: on the monotonic clock, for the other one may be set back.
    """

    failures: int
    until_s: float


class Deliveries:
    """Shared by Orthanc's threads, the worker and the transmitter.

    What must outlive a restart is in Orthanc before the call returns that changed it.
    on_change: called whenever there may be something to send.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._all: dict[str, Delivery] = {}
        self._rests: dict[Destination, Rest] = {}
        self._asked_for_proof_s: dict[str, float] = {}  # by id, on the monotonic clock
        self._lock = threading.RLock()
        self.on_change: Callable[[], None] = lambda: None

    def restore(self, series_ids: Iterable[str]) -> None:
        """Take up what was under way, and what the given series tell of those that ended."""
        with self._lock:
            for series_id in dict.fromkeys(series_ids):
                self._all |= {one.id: one for one in self._ledger.read_ended_deliveries(series_id)}
            # Orthanc may have been killed after an end was noted on the series and before here.
            self._all = {one.id: one for one in self._ledger.read_deliveries()} | self._all

    def add(self, job: Job, new: Iterable[Delivery], *, again: bool) -> None:
        """Send the objects of a job's result, each unless it is under way there already.

        again: also where this job's result has arrived, or was refused; a job that is run again
        after a crash brings the same. What of another result of the series waited for a person is
        given up.
        """
        with self._lock:
            for one in self.unfinished():
                is_own = {one.instance, one.outline} & set(job.result_instances)  # or of its parts
                is_other = one.series == job.series and not is_own
                if one.is_held and one.state in WAITING and is_other:
                    self._end(one, State.FAILURE, _OVERTAKEN)
            needless = {
                (one.instance, one.destination)
                for one in self._all.values()
                if one.state in UNFINISHED or (one.job == job.id and one.is_answered and not again)
            }
            for one in new:
                if (one.instance, one.destination) not in needless:
                    one.reason = _HELD if one.is_held else ""
                    self._all[one.id] = one
            self._keep()

    def end_rests(self) -> None:
        """Somebody asks: what failed before is tried again now."""
        with self._lock:
            self._rests.clear()
            self.on_change()

    def cancel(self, delivery_id: str) -> None:
        """Give up; UnknownDelivery, or NotAllowed where it has ended."""
        with self._lock:
            if delivery_id not in self._all:
                raise UnknownDelivery("there is no such delivery")
            one = self._all[delivery_id]
            if one.state not in UNFINISHED:
                raise NotAllowed(f"a delivery in state {one.state} cannot be cancelled")
            self._end(one, State.FAILURE, "cancelled")

    def unfinished(self) -> list[Delivery]:
        """Those that have not ended."""
        with self._lock:
            return [one for one in self._all.values() if one.state in UNFINISHED]

    def hold(self, one: Delivery) -> None:
        """From now on it waits to be released, unless it is being sent."""
        with self._lock:
            if one.state in WAITING:
                one.state, one.is_held, one.reason = State.PENDING, True, _HELD
                self._keep()

    def release(self, rtstruct: str, approved: str) -> None:
        """A person accepted this outline; approved goes in its place."""
        with self._lock:
            for one in self.unfinished():
                if one.outline not in (rtstruct, approved):  # 0.1.0 knew no other than what it sent
                    continue
                if one.instance == rtstruct:
                    if one.state not in WAITING:
                        continue
                    one.instance = approved
                if one.is_held:
                    one.is_held, one.reason = False, ""
            self._keep()

    def refuse(self, rtstruct: str, reason: str) -> None:
        """This RTSTRUCT, an outline or its parts, is not to leave: a person rejected it, or newer
        ones took its place. What one of Orthanc's jobs works on is Orthanc's, but there is no other
        attempt."""
        with self._lock:
            for one in [*self.unfinished(), *self.awaiting_proof()]:
                if rtstruct in (one.outline, one.instance):
                    one.is_held, one.reason = True, reason
                    if one.state in WAITING:
                        self._end(one, State.FAILURE, reason)

    def running(self) -> list[Delivery]:
        """Those that one of Orthanc's jobs works on."""
        with self._lock:
            return [one for one in self._all.values() if one.state is State.RUNNING]

    def awaiting_proof(self) -> list[Delivery]:
        """Those that are sent, and whose destination has not said yet that it keeps them."""
        with self._lock:
            return [one for one in self._all.values() if one.transaction]

    def due(self) -> list[Delivery]:
        """One for each destination that has nothing running: what was tried least comes first.

        So what is always refused holds nothing else up. What failed before goes only when its
        destination has rested, and so do the other objects of that result.
        """
        with self._lock:
            now_s = time.monotonic()
            busy = {one.destination for one in self.running()}
            resting = {place for place, rest in self._rests.items() if rest.until_s > now_s}
            found: dict[Destination, Delivery] = {}
            failed = {
                (one.job, one.destination)
                for one in self._all.values()
                if one.state is State.RETRY and one.destination in resting
            }
            for one in sorted(self._all.values(), key=lambda d: (d.attempts, d.created)):
                is_new = one.attempts == 0 and (one.job, one.destination) not in failed
                may_go = (is_new or one.destination not in resting) and not one.is_held
                if one.state in WAITING and one.destination not in busy and may_go:
                    found.setdefault(one.destination, one)
            return list(found.values())

    def begin(self, one: Delivery, orthanc_job: str) -> bool:
        """One of Orthanc's jobs works on it now; False where it has been cancelled meanwhile."""
        with self._lock:
            if one.state in WAITING:
                one.state, one.orthanc_job = State.RUNNING, orthanc_job
                one.attempts += 1
                self._keep()
            return one.state is State.RUNNING

    def succeed(self, one: Delivery, transaction: str = "") -> None:
        """The destination took it; transaction: of the storage commitment that it is to answer."""
        with self._lock:
            self._rests.pop(one.destination, None)
            if one.state not in UNFINISHED:
                return
            one.arrival = Arrival.SENT
            if not transaction:
                self._end(one, State.SUCCESS, _NO_PROOF if one.is_without_proof else "")
                return
            one.state, one.reason, one.transaction = State.SUCCESS, "", transaction
            self._asked_for_proof_s[one.id] = time.monotonic()
            self._keep()

    def go_without_proof(self, one: Delivery) -> None:
        """The destination offers no storage commitment: it is sent again without, at once."""
        with self._lock:
            if one.state in UNFINISHED and self._send_once_more(one, _NO_PROOF):
                one.state, one.is_without_proof = State.PENDING, True
                self._keep()

    def go_one_by_one(self, one: Delivery) -> None:
        """The destination has some of its objects already, so each goes as one of its own."""
        with self._lock:
            others, one.others = one.others, ()
            if one.state not in UNFINISHED or not self._send_once_more(one, ""):
                return
            for instance in others:
                part = replace(one, id=str(uuid.uuid4()), instance=instance)
                self._all[part.id] = part
            self._keep()

    def commit(self, one: Delivery) -> None:
        """The destination says that it keeps it."""
        with self._lock:
            one.arrival = Arrival.COMMITTED
            self._end(one, State.SUCCESS, "")

    def lose_proof(self, one: Delivery) -> None:
        """Nobody can tell whether the destination keeps it: sent again, but not for ever."""
        with self._lock:
            one.times_unknown += 1
            if one.times_unknown < _SENT_UNKNOWN_AT_MOST:
                self._send_once_more(one, _PROOF_UNKNOWN)
                self._keep()
            else:
                self._end(one, State.SUCCESS, _PROOF_UNKNOWN)

    def wait_for_proof(self, one: Delivery) -> None:
        """Its destination has not answered; at last it counts as sent and no more."""
        with self._lock:
            asked_s = self._asked_for_proof_s.setdefault(one.id, time.monotonic())
            if time.monotonic() - asked_s > _LONGEST_WAIT_FOR_PROOF_S:
                self._end(one, State.SUCCESS, _NO_ANSWER)

    def never(self, one: Delivery, reason: str) -> None:
        """The destination takes no such object; it answers, so others need not rest."""
        with self._lock:
            self._rests.pop(one.destination, None)
            if one.state in UNFINISHED or one.transaction:
                one.arrival = Arrival.REFUSED
                self._end(one, State.FAILURE, reason)

    def fail(self, one: Delivery, reason: str) -> None:
        """This attempt failed; the next one follows when the destination has rested."""
        with self._lock:
            if one.state not in UNFINISHED and not one.transaction:
                return
            one.attempts += one.state in WAITING  # it did not come to that
            if not self._send_once_more(one, reason):
                return
            before = self._rests.get(one.destination)
            failures = before.failures + 1 if before else 1
            until_s = time.monotonic() + growing_wait_s(failures - 1)
            self._rests[one.destination] = Rest(failures, until_s)
            self._keep()

    def _send_once_more(self, one: Delivery, reason: str) -> bool:
        """False where a person rejected the outline while it ran."""
        one.arrival, one.transaction = Arrival.UNKNOWN, ""
        if one.is_held:
            self._end(one, State.FAILURE, one.reason)
            return False
        one.state, one.reason, one.orthanc_job = State.RETRY, reason, ""
        return True

    def lose_track(self, one: Delivery) -> None:
        """Nobody can tell how this attempt ended; one more follows, but not for ever."""
        with self._lock:
            if one.state not in UNFINISHED:
                return
            one.times_unknown += 1
            if one.times_unknown < _SENT_UNKNOWN_AT_MOST:
                self.fail(one, _UNKNOWN)
            else:
                reason = f"{_UNKNOWN}; sent {one.times_unknown} times: check whether it has arrived"
                self._end(one, State.FAILURE, reason)

    def lose(self, one: Delivery) -> None:
        """Its result was deleted from Orthanc, so there is nothing left to send."""
        with self._lock:
            if one.state in UNFINISHED:
                self._end(one, State.FAILURE, "the result is no longer in Orthanc")

    def show_all(self) -> list[dict[str, Any]]:
        """Every delivery that is remembered, as JSON, oldest first."""
        with self._lock:
            return [self._show(one) for one in sorted(self._all.values(), key=_age)]

    def show_by_job(self, jobs: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """The same by the id of the job whose result it is, of these jobs alone."""
        by_job: dict[str, list[dict[str, Any]]] = {job: [] for job in jobs}
        with self._lock:
            for one in sorted((d for d in self._all.values() if d.job in by_job), key=_age):
                by_job[one.job].append(self._show(one))
        return by_job

    def count(self) -> dict[str, int]:
        """How many are in each state."""
        with self._lock:
            counted = Counter(one.state for one in self._all.values())
            return {str(state): counted[state] for state in State}

    def count_arrivals(self) -> dict[str, int]:
        """How many have arrived, and how surely, and how many were refused for good."""
        with self._lock:
            counted = Counter(one.arrival for one in self._all.values())
            return {str(arrival): counted[arrival] for arrival in Arrival if arrival}

    def _show(self, one: Delivery) -> dict[str, Any]:
        rest = self._rests.get(one.destination) if one.state is State.RETRY else None
        return one.as_json() | {"NextAttempt": text_of(_wall_clock(rest.until_s)) if rest else None}

    def _end(self, one: Delivery, state: State, reason: str) -> None:
        one.state, one.reason, one.completed = state, reason, datetime.now(UTC)
        one.transaction = ""
        self._asked_for_proof_s.pop(one.id, None)
        self._ledger.record_delivery(one)  # first, so that it is never in neither place
        ended = sorted((d for d in self._all.values() if d.completed), key=_age)
        for old in ended[:-_ENDED_IN_MEMORY]:
            del self._all[old.id]
        self._keep()

    def _keep(self) -> None:
        self._ledger.keep_deliveries(d for d in self._all.values() if not d.completed)
        self.on_change()


def _wall_clock(monotonic_s: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=monotonic_s - time.monotonic())


def _age(one: Delivery) -> datetime:
    return one.created
