"""What arrives in Orthanc becomes jobs: reads the server's own change log, so nothing is missed.

Orthanc says StableSeries when nothing arrived for StableAge, but never for what arrived shortly
before it stopped. So the place in the log that is kept over a restart stays behind by a little
more than StableAge, and after a start everything from there on is considered, stable or not.
Considering a series twice does no harm.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from orthanc_liver.host.intake.series_filter import why_not
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError, ServerStopping
from orthanc_liver.host.settings import Settings

_CHANGES_AT_ONCE = 200
# Orthanc looks for stable series once a second, and later when it is busy.
_MARGIN_S = 30.0
_LONGEST_SLEEP_S = 10.0


class ChangeLog:
    """Reads the change log in a thread of its own whenever it is woken."""

    def __init__(
        self, orthanc: Orthanc, queue: JobQueue, ledger: Ledger, settings: Settings, lag_s: float
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._ledger = ledger
        self._settings = settings
        self._lag_s = lag_s
        self._thread = threading.Thread(target=self._run, name="liver-change-log", daemon=True)
        self._stopping = False
        self._woken = threading.Event()
        self._read_to = 0
        self._not_done_with: deque[tuple[int, float]] = deque()  # (seq, when read)
        self._to_consider: dict[str, None] = {}  # a set in the order of arrival

    def start(self, seq: int) -> None:
        """Begin with what arrived since that place in the log."""
        self._read_to = seq
        self._thread.start()

    def wake(self) -> None:
        """Something changed in Orthanc."""
        self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        interesting = {"NewSeries", "NewInstance", "StableSeries"}
        while not self._stopping:
            try:
                if self._read_log(interesting):
                    interesting = {"StableSeries"}
                self._consider_all()
                self._queue.write_again()
            except ServerStopping:
                return
            self._woken.wait(_LONGEST_SLEEP_S)
            self._woken.clear()

    def _read_log(self, interesting: set[str]) -> bool:
        """Read on to the end of the log; False where Orthanc could not give it."""
        done = False
        try:
            while not done:
                path = f"/changes?since={self._read_to}&limit={_CHANGES_AT_ONCE}"
                answer = self._orthanc.get(path)
                for change in answer["Changes"]:
                    if self._settings.automatic and change["ChangeType"] in interesting:
                        self._note(change)
                done = answer["Done"]
                if answer["Changes"]:
                    self._read_to = answer["Last"]
                    self._not_done_with.append((self._read_to, time.monotonic()))
        except OrthancError as error:
            self._orthanc.log_error(f"the change log is read again shortly: {error}")
        return done

    def _note(self, change: dict[str, Any]) -> None:
        series_id = change["ID"]
        if change["ResourceType"] == "Instance":
            try:
                series_id = self._orthanc.get(f"/instances/{change['ID']}")["ParentSeries"]
            except Missing:
                return
        self._to_consider[series_id] = None

    def _consider_all(self) -> None:
        for series_id in list(self._to_consider):
            try:
                self._consider(series_id)
            except OrthancError as error:
                self._orthanc.log_error(f"series {series_id} is looked at again shortly: {error}")
            else:
                del self._to_consider[series_id]
        if not self._to_consider:
            self._advance()

    def _consider(self, series_id: str) -> None:
        try:
            series = self._orthanc.series(series_id)
        except Missing:
            return
        if why_not(series, self._settings):
            return
        record = self._ledger.read_record(series_id)
        # Also after another model's job: an old series gets a new model only when somebody asks.
        if record is None or record.job.source_key != series.source_key:
            job = self._queue.submit(series, force=False)
            self._orthanc.log(f"series {series_id} is segmented by job {job.id}")

    def _advance(self) -> None:
        lag_s = self._lag_s + _MARGIN_S if self._settings.automatic else 0.0
        safe = None
        while self._not_done_with and time.monotonic() - self._not_done_with[0][1] >= lag_s:
            safe = self._not_done_with.popleft()[0]
        if safe is not None:
            self._queue.advance(safe)


def end_of_log(orthanc: Orthanc) -> int:
    """The place in the change log from which on everything is still to come."""
    return int(orthanc.get("/changes?last")["Last"])
