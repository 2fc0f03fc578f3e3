"""The thread that sees to it that results reach their destinations."""

from __future__ import annotations

import threading

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Sending
from orthanc_liver.host.errors import CannotSend
from orthanc_liver.host.server.api import Orthanc, OrthancError, ServerStopping

_LOOK_S = 0.25
_IDLE_S = 1.0


class Transmitter:
    """Hands deliveries to Orthanc's own jobs, at most one at a time for each destination."""

    def __init__(self, orthanc: Orthanc, deliveries: Deliveries, sending: Sending) -> None:
        self._orthanc = orthanc
        self._deliveries = deliveries
        self._sending = sending
        self._thread = threading.Thread(target=self._run, name="liver-transmitter", daemon=True)

    def start(self) -> None:
        """Begin with whatever is due."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; Orthanc's own jobs are Orthanc's to stop."""
        self._deliveries.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            go_on = True
            while go_on:
                self._look_after()
                go_on = self._deliveries.wait(_LOOK_S if self._deliveries.running() else _IDLE_S)
        except ServerStopping:
            pass

    def _look_after(self) -> None:
        try:
            for one in self._deliveries.running():
                self._follow(one)
            for one in self._deliveries.due():
                self._send(one)
        except OrthancError as error:
            self._orthanc.log_error(f"deliveries are looked after again shortly: {error}")
        except (ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            self._orthanc.log_error(f"Orthanc's answer about a delivery is not understood: {kind}")

    def _follow(self, one: Delivery) -> None:
        reason = self._sending.ended(one.orthanc_job)
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
