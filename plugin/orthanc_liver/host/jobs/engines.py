"""Who computes for a worker thread: a process beside Orthanc, or workers behind a broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from orthanc_liver.engine.protocol import AboutAJob, BrokerState, Instance, Order, Ready
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.source import files_key, md5_of
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings


class Engine(Protocol):
    """Takes one job at a time. `kill` may be called from any thread and unblocks every call."""

    @property
    def alive(self) -> bool:
        """Whether it takes another job."""
        ...

    def wait_ready(self) -> Ready:
        """Wait until the model is known; EngineUnavailable where it will not be."""
        ...

    def receive(self) -> AboutAJob:
        """Wait for one message about the job; EngineGone where none will come."""
        ...

    def kill(self) -> None:
        """Nobody wants the job any more."""
        ...

    def close(self) -> None:
        """Nor this engine."""
        ...

    def leave(self) -> None:
        """Orthanc stops: what the engine can finish without it, it may."""
        ...


class Engines(Protocol):
    """Where engines come from; used by several threads at once."""

    @property
    def limit_s(self) -> float:
        """For how long Orthanc waits for a job."""
        ...

    @property
    def broker(self) -> BrokerState | None:
        """How the broker stands, where there is one."""
        ...

    def start(self, on_end: Callable[[], None]) -> Engine:
        """An engine of one's own; EngineUnavailable. on_end is called when it is at its end."""
        ...

    def feed(self, job: Job, series: Series, engine: Engine) -> None:
        """Give the job to an engine from here, noting in it which files it is about."""
        ...

    def close(self) -> None:
        """Leave nothing running."""
        ...


class Embedded:
    """A process beside Orthanc, which gets every file over its pipe."""

    broker = None

    def __init__(self, orthanc: Orthanc, settings: Settings) -> None:
        self._orthanc = orthanc
        self._settings = settings

    @property
    def limit_s(self) -> float:
        """JobTimeoutSeconds."""
        return float(self._settings.job_timeout_seconds)

    def start(self, on_end: Callable[[], None]) -> EngineProcess:
        """See Engines."""
        return EngineProcess(self._settings.command, on_end)

    def feed(self, job: Job, series: Series, engine: Engine) -> None:
        """See Engines."""
        if not isinstance(engine, EngineProcess):
            raise TypeError("an engine that start did not make")
        settings = replace(self._settings.for_engine(), projections=job.force)
        engine.send(Order(job.id, len(series.instances), settings))
        md5 = {}
        for instance in series.instances:
            if job.state is not State.RUNNING:
                engine.kill()
            file = self._orthanc.dicom_file(instance)
            engine.send(Instance(job.id, file))
            md5[instance] = md5_of(file)
        job.files_key = files_key(md5)

    def close(self) -> None:
        """The worker thread has closed the one that there was."""
