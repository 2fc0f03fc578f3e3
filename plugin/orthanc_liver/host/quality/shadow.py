"""The second model, which outlines what the first has outlined and leaves nothing but figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from orthanc_liver.engine.protocol import (
    Done,
    Instance,
    Kind,
    Order,
    Outcome,
    ResultObject,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable, GivesWay, NotCompared
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.one_order import process_for_one_order
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings
from orthanc_liver.host.weights_folder import NamedModel

_LOOK_S = 0.5


class Shadow:
    """In a process of its own for each outline. problem: why it does not work until the next start;
    empty where it does."""

    def __init__(self, orthanc: Orthanc, queue: JobQueue, settings: Settings) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._settings = settings
        self._model = settings.shadow_model
        self._last: tuple[str, bytes] | None = None  # by job, for what comes right after
        self.problem = ""

    @property
    def model(self) -> NamedModel | None:
        """None where there is none, or it does not work."""
        return None if self.problem else self._model

    def give_up(self, problem: str) -> None:
        """Ask it for no more outlines; the first model's must not wait for it."""
        self.problem = problem
        self._orthanc.log_error(
            f"ShadowWeights do not work, and rest until the next start: {problem}"
        )

    def refuse_the_first(self, sha256: str) -> None:
        """The first model is known: one that is the same has nothing to tell."""
        if self.model and self.model.sha256 == sha256:
            self.give_up("they are the first model's: name another folder, or none")

    def outline(self, job: Job, series: Series, hold: Callable[[EngineProcess], None]) -> bytes:
        """The RTSTRUCT that it makes of the series, never to be stored; hold: hears of the process.

        NotCompared where it finds no liver, GivesWay where a job came, EngineGone, or
        EngineUnavailable where the model does not come up.
        """
        if self._last and self._last[0] == job.id:
            return self._last[1]
        settings = self._settings
        with process_for_one_order(
            settings.shadow_command, float(settings.job_timeout_seconds)
        ) as process:
            hold(process)
            with self._giving_way(process):
                self._refuse_another(process.wait_ready().model_sha256)
                self._feed(process, job, series)
                found = self._answer(process)
        self._last = (job.id, found)
        return found

    @contextmanager
    def _giving_way(self, process: EngineProcess) -> Iterator[None]:
        """End it as soon as a job waits, whatever it is at: loading takes as long as outlining."""
        is_over, came = threading.Event(), threading.Event()

        def watch() -> None:
            while not is_over.wait(_LOOK_S):
                if self._queue.is_busy():
                    came.set()
                    process.kill()
                    return

        watcher = threading.Thread(target=watch, name="liver-shadow", daemon=True)
        watcher.start()
        try:
            yield
        except (EngineGone, EngineUnavailable) as error:
            if came.is_set():
                raise GivesWay("a job waits") from error
            raise
        finally:
            is_over.set()
            watcher.join()

    def _refuse_another(self, sha256: str) -> None:
        if self._model is None or sha256 != self._model.sha256:
            raise EngineUnavailable("what the folder holds has changed since the start")

    def _feed(self, process: EngineProcess, job: Job, series: Series) -> None:
        settings = replace(
            self._settings.for_engine(),
            kinds=(Kind.RTSTRUCT,),
            look_here=False,
            projections=True,  # what was outlined once may be outlined again
        )
        process.send(Order(job.id, len(series.instances), settings))
        for instance in series.instances:
            process.send(Instance(job.id, self._orthanc.dicom_file(instance)))

    def _answer(self, process: EngineProcess) -> bytes:
        rtstruct = b""
        while not isinstance(message := process.receive(), Done):
            if isinstance(message, ResultObject) and message.kind is Kind.RTSTRUCT:
                rtstruct = message.content
        if message.outcome is not Outcome.SEGMENTED or not rtstruct:
            told = f": {message.reason}" if message.reason else ""
            raise NotCompared(f"the second model says: {message.outcome}{told}")
        return rtstruct
