"""The thread that sees to it that results reach their destinations."""

from __future__ import annotations

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Sending
from orthanc_liver.host.errors import CannotSend
from orthanc_liver.host.server.api import Missing, Orthanc
from orthanc_liver.host.server.background import Background

_LOOK_S = 0.25
_IDLE_S = 1.0


class Transmitter:
    """Hands deliveries to Orthanc's own jobs, at most one at a time for each destination.

    Orthanc's own jobs are Orthanc's to stop.
    """

    def __init__(self, orthanc: Orthanc, deliveries: Deliveries, sending: Sending) -> None:
        self._orthanc = orthanc
        self._deliveries = deliveries
        self._sending = sending
        self.thread = Background("transmitter", orthanc, self._turn)
        deliveries.on_change = self.thread.wake

    def _turn(self) -> float:
        for one in self._deliveries.running():
            self._follow(one)
        for one in self._deliveries.due():
            self._send(one)
        return _LOOK_S if self._deliveries.running() else _IDLE_S

    def _follow(self, one: Delivery) -> None:
        try:
            reason = self._sending.ended(one.orthanc_job)
        except Missing:
            self._deliveries.lose_track(one)
            name = one.destination.name
            self._orthanc.log_error(f"job {one.job}, its result on the way to {name}: {one.reason}")
            return
        if reason == "":
            self._deliveries.succeed(one)
        elif reason:
            self._fail(one, reason)

    def _send(self, one: Delivery) -> None:
        if not all(self._orthanc.has_instance(instance) for instance in one.instances):
            self._deliveries.lose(one)
            return
        try:
            self._deliveries.begin(one, self._sending.begin(one.destination, one.instances))
        except CannotSend as error:
            self._fail(one, str(error))

    def _fail(self, one: Delivery, reason: str) -> None:
        self._orthanc.log_error(
            f"the result of job {one.job} did not reach {one.destination.name}: {reason}; "
            "it is sent again later"
        )
        self._deliveries.fail(one, reason)
