"""Workers behind a broker, as worker threads see them: one dispatcher process, a lane for each.

The dispatcher is cluster/dispatcher.py, in the project's own environment: nothing of a broker's
client is loaded into Orthanc.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from orthanc_liver.engine.cluster_case import Case, uid_or_none
from orthanc_liver.engine.protocol import (
    AboutAJob,
    BrokerState,
    Connect,
    Done,
    Errand,
    Rank,
    Ready,
    Recall,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.jobs.engines import Engine
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.source import files_key, stored_md5
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings

_CONNECTING = BrokerState("the broker has not answered yet", 0, 0)


class Fleet:
    """Starts the dispatcher when the first lane is asked for, and again when it ended."""

    # The worker counts what it computes; to wait for a worker takes as long as it takes.
    limit_s = threading.TIMEOUT_MAX

    def __init__(self, orthanc: Orthanc, settings: Settings) -> None:
        self._orthanc = orthanc
        self._settings = settings
        self._starting = threading.Lock()
        self._lock = threading.Lock()  # of all below, and of the pipe to the dispatcher
        self._process: EngineProcess | None = None
        self._ready: Ready | None = None
        self._lanes: dict[str, Lane] = {}  # by job
        self._is_closed = False
        self.broker: BrokerState | None = _CONNECTING

    def start(self, on_end: Callable[[], None]) -> Lane:
        """See Engines."""
        with self._starting:
            process, ready = self._process, self._ready
            if not (process and process.alive and ready):
                process, ready = self._begin()
            return Lane(self, process, ready, on_end)

    def feed(self, job: Job, series: Series, engine: Engine) -> None:
        """See Engines. The worker reads the files, and only those that are there now."""
        if not isinstance(engine, Lane):
            raise TypeError("an engine that start did not make")
        study = self._orthanc.study_tags(series)
        md5 = {one: stored_md5(self._orthanc, one) for one in series.instances}
        case = Case(
            orthanc=self._settings.broker["Orthanc"],
            job=job.id,
            attempt=job.attempt,
            series=series.id,
            study_uid=uid_or_none(study.get("StudyInstanceUID", "")),
            series_uid=uid_or_none(series.tags.get("SeriesInstanceUID", "")),
            instances=tuple(md5),
            md5=tuple(md5.values()),
            settings=replace(self._settings.for_engine(), projections=job.force),
            model_sha256=engine.wait_ready().model_sha256,
            limit_s=self._settings.job_timeout_seconds,
        )
        job.files_key = files_key(md5)
        if job.state is not State.RUNNING:
            engine.kill()
        engine.send(Errand(job.id, _rank(job), case.as_text().encode()))

    def close(self) -> None:
        """End the dispatcher; what the broker has, workers finish."""
        with self._lock:
            self._is_closed, process = True, self._process
        if process:
            process.close()

    def ask(self, lane: Lane, errand: Errand) -> None:
        """Let this lane hear of the errand's job; EngineGone, also where nobody wants it now."""
        with self._lock:
            if lane.is_over:
                raise EngineGone("the job was cancelled")
            self._lanes[errand.job] = lane
            lane.process.send(errand)

    def lane_of(self, job: str) -> Lane | None:
        """Which one hears of it."""
        with self._lock:
            return self._lanes.get(job)

    def forget(self, lane: Lane, job: str) -> None:
        """This lane listens for the job no more; another may have it by now."""
        with self._lock:
            self._take_from(lane, job)

    def recall(self, lane: Lane, job: str) -> None:
        """Have whoever works on the job for this lane stop."""
        with self._lock:
            if self._take_from(lane, job) and lane.process.alive:
                try:
                    lane.process.send(Recall(job))
                except EngineGone:
                    return  # with it went what it had not published

    def _take_from(self, lane: Lane, job: str) -> bool:
        had_it = self._lanes.get(job) is lane
        if had_it:
            del self._lanes[job]
        return had_it

    def _begin(self) -> tuple[EngineProcess, Ready]:
        former = self._process
        if former:
            former.close()
        with self._lock:
            if self._is_closed:
                raise EngineUnavailable("Orthanc is stopping")
            self._ready = None
            self._process = process = EngineProcess(self._settings.command)
        broker = self._settings.broker
        try:
            process.send(
                Connect(
                    broker["Url"], broker["Password"], broker.get("CaFile", ""), broker["Orthanc"]
                )
            )
        except EngineGone as gone:
            raise EngineUnavailable(str(gone)) from gone
        self._ready = ready = process.wait_ready()
        self.broker = _CONNECTING
        threading.Thread(target=self._hear, args=(process,), name="fleet", daemon=True).start()
        return process, ready

    def _hear(self, process: EngineProcess) -> None:
        """Take what the dispatcher says to whom it concerns, until it ends."""
        try:
            while True:
                message = process.hear()
                if isinstance(message, BrokerState):
                    self._note(message)
                elif isinstance(message, AboutAJob) and (lane := self.lane_of(message.job)):
                    lane.hear(message)
        except EngineGone as gone:
            with self._lock:
                left = [one for one in self._lanes.values() if one.process is process]
            for lane in left:
                lane.hear(gone)

    def _note(self, state: BrokerState) -> None:
        before, self.broker = self.broker, state
        if before and before.problem != state.problem:
            if state.problem:
                self._orthanc.log_error(f"{state.problem}; jobs wait")
            else:
                self._orthanc.log("the broker serves")


class Lane:
    """An engine (engines.py) of one worker thread; all of them share the dispatcher."""

    def __init__(
        self, fleet: Fleet, process: EngineProcess, ready: Ready, on_end: Callable[[], None]
    ) -> None:
        self.process = process
        self._fleet = fleet
        self._ready = ready
        self._on_end = on_end
        self._messages: queue.SimpleQueue[AboutAJob | EngineGone] = queue.SimpleQueue()
        self.is_over = False
        self._job = ""

    @property
    def alive(self) -> bool:
        """See Engine."""
        return not self.is_over and self.process.alive

    def wait_ready(self) -> Ready:
        """See Engine; known already."""
        return self._ready

    def send(self, errand: Errand) -> None:
        """Have a worker do it; EngineGone where nobody wants it any more."""
        self._job = errand.job
        self._fleet.ask(self, errand)

    def receive(self) -> AboutAJob:
        """See Engine."""
        message = self._messages.get()
        if isinstance(message, EngineGone):
            self.is_over = True
            self._fleet.forget(self, self._job)
            raise message
        if isinstance(message, Done):
            self._fleet.forget(self, self._job)
        return message

    def hear(self, message: AboutAJob | EngineGone) -> None:
        """Something comes for this lane."""
        self._messages.put(message)

    def kill(self) -> None:
        """See Engine."""
        self.is_over = True  # first: what is asked from now on is not sent, what was is recalled
        self._fleet.recall(self, self._job)
        self.leave()

    def close(self) -> None:
        """See Engine."""
        self.kill()

    def leave(self) -> None:
        """See Engine; a worker finishes the case, and the broker keeps what came of it."""
        self.is_over = True
        self._messages.put(EngineGone("the job was cancelled"))
        self._on_end()


def _rank(job: Job) -> Rank:
    if job.force or job.priority > 0:
        return Rank.PEOPLE
    return Rank.ARRIVALS if job.priority == 0 else Rank.BACKFILL
