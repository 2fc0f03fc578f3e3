"""The thread that sees to it that results reach their destinations."""

from __future__ import annotations

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Destination, Sending
from orthanc_liver.host.delivery.ending import Fate
from orthanc_liver.host.errors import CannotSend
from orthanc_liver.host.jobs.job import WAITING
from orthanc_liver.host.server.api import Missing, Orthanc
from orthanc_liver.host.server.background import Background

_LOOK_S = 0.25
_IDLE_S = 1.0
_LOOKED_AT_ONCE = 20


class Transmitter:
    """Hands deliveries to Orthanc's own jobs, at most one at a time for each destination.

    Orthanc's own jobs are Orthanc's to stop.
    """

    def __init__(self, orthanc: Orthanc, deliveries: Deliveries, sending: Sending) -> None:
        self._orthanc = orthanc
        self._deliveries = deliveries
        self._sending = sending
        self._looked_at = 0  # how many of those that wait this look is done with
        self._told: set[tuple[Destination, str]] = set()  # who takes which kind of object never
        self.thread = Background("transmitter", orthanc, self._turn)
        deliveries.on_change = self.thread.wake

    def _turn(self) -> float:
        for one in self._deliveries.running():
            self._follow(one)
        for one in self._deliveries.awaiting_proof():
            self._ask_for_proof(one)
        self._lose_what_is_gone()
        for one in self._deliveries.due():
            self._send(one)
        return _LOOK_S if self._deliveries.running() else _IDLE_S

    def _follow(self, one: Delivery) -> None:
        try:
            ending = self._sending.ended(one.orthanc_job, is_of_one_kind=bool(one.others))
        except Missing:
            self._deliveries.lose_track(one)
            name = one.destination.name
            self._orthanc.log_error(f"job {one.job}, its result on the way to {name}: {one.reason}")
            return
        if ending is None:
            return
        match ending.fate:
            case Fate.ARRIVED:
                self._deliveries.succeed(one, ending.transaction)
            case Fate.NO_PROOF:
                self._deliveries.go_without_proof(one)
            case Fate.NEVER:
                self._give_up(one, ending.reason)
            case Fate.DUPLICATE:
                self._deliveries.go_one_by_one(one)
            case Fate.FAILED:
                self._fail(one, ending.reason)

    def _ask_for_proof(self, one: Delivery) -> None:
        try:
            ending = self._sending.committed(one.transaction)
        except Missing:
            self._deliveries.lose_proof(one)
            return
        if ending is None:
            self._deliveries.wait_for_proof(one)
        elif ending.fate is Fate.ARRIVED:
            self._deliveries.commit(one)
        elif ending.fate is Fate.NEVER:
            self._give_up(one, ending.reason)
        else:
            self._fail(one, ending.reason)

    def _lose_what_is_gone(self) -> None:
        """A deleted result does not wait until its destination has rested; some at a time."""
        waiting = [one for one in self._deliveries.unfinished() if one.state in WAITING]
        if self._looked_at >= len(waiting):
            self._looked_at = 0
        for one in waiting[self._looked_at :][:_LOOKED_AT_ONCE]:
            if not any(map(self._orthanc.has_instance, one.instances)):  # the first tells mostly
                self._deliveries.lose(one)
        self._looked_at += _LOOKED_AT_ONCE

    def _send(self, one: Delivery) -> None:
        there = [instance for instance in one.instances if self._orthanc.has_instance(instance)]
        if not there:
            self._deliveries.lose(one)
            return
        try:
            proof = not one.is_without_proof
            job = self._sending.begin(one.destination, there, proof=proof)
            self._deliveries.begin(one, job)
        except CannotSend as error:
            self._fail(one, str(error))

    def _give_up(self, one: Delivery, reason: str) -> None:
        name, kind = one.destination.name, one.kind or "such objects"
        if (one.destination, kind) not in self._told:
            self._told.add((one.destination, kind))
            self._orthanc.log_error(
                f"{name} does not take {kind}: {reason}; none is sent there again until somebody "
                "asks for it"
            )
        self._deliveries.never(one, f"it does not take {kind}: {reason}")

    def _fail(self, one: Delivery, reason: str) -> None:
        self._orthanc.log_error(
            f"the {one.kind} of job {one.job} did not reach {one.destination.name}: {reason}; "
            "it is sent again later"
        )
        self._deliveries.fail(one, reason)
