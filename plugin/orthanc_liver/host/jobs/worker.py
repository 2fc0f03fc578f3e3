"""The worker thread: takes one job after the other and owns the inference process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.engine.protocol import (
    Done,
    Kind,
    Outcome,
    Preview,
    Progress,
    Ready,
    ResultObject,
    Unsure,
)
from orthanc_liver.host.errors import (
    EngineGone,
    EngineUnavailable,
    JobFailed,
    NotAllowed,
    StoredElsewhere,
    fault_of_ours,
)
from orthanc_liver.host.jobs.engine_process import Deadline
from orthanc_liver.host.jobs.engines import Engine, Engines
from orthanc_liver.host.jobs.job import UNFINISHED, Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.results import Results
from orthanc_liver.host.jobs.source import warnings_of_parts
from orthanc_liver.host.jobs.storing import Pictures
from orthanc_liver.host.server.api import (
    BadFile,
    Missing,
    Orthanc,
    OrthancError,
    Series,
    ServerStopping,
)
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.image_series import image_series
from orthanc_liver.host.server.waits import growing_wait_s
from orthanc_liver.host.settings import Settings

_NOT_STABLE = "waits until the series is stable: images still arrive, or did a moment ago"


@dataclass(frozen=True)
class Answer:
    """What the inference process sent for one job."""

    done: Done
    objects: list[tuple[str, bytes]]
    pictures: Pictures


class DeviceInUse:
    """Where jobs are computed: a GPU that is full or lost leaves them to the CPU, which is logged
    once until the GPU, or another process, computes again."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._of_process = ""
        self._is_cpu_instead = False

    def begin(self, device: str) -> None:
        """A process is ready on this device."""
        self._of_process, self._is_cpu_instead = device, False

    def computed_on(self, device: str) -> None:
        """As the report of a job says."""
        is_cpu_instead = self._of_process.startswith("cuda") and device == "cpu"
        if is_cpu_instead and not self._is_cpu_instead:
            self._log(f"{self._of_process} failed or was full: the CPU computed a series instead")
        self._is_cpu_instead = is_cpu_instead

    def __str__(self) -> str:
        instead = ", but the CPU computed the last series" if self._is_cpu_instead else ""
        return f"{self._of_process}{instead}"


class Worker:
    """Runs jobs from the queue, one at a time, until stopped."""

    def __init__(
        self,
        orthanc: Orthanc,
        queue: JobQueue,
        settings: Settings,
        stable_age_s: float,
        results: Results,
        engines: Engines,
        name: str = "worker",
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._settings = settings
        self._stable_age_s = stable_age_s
        self._results = results
        self._engines = engines
        # The model is loaded first of all, so that the status can tell of it.
        self.thread = Background(name, orthanc, self._turn, self._unblock)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._current: Job | None = None
        self._loaded: Engine | None = None  # the last that said it was ready
        self._ready: Ready | None = None  # what it said, which the next one will say as well
        self._device = DeviceInUse(orthanc.log_error)
        self._problem = ""
        self._failures = 0  # of starts of the process, in a row
        self._deaths = 0  # of processes that had nothing to do, in a row
        self._troubles: Counter[str] = Counter()  # errors of Orthanc itself, by unfinished job

    def interrupt(self, job: Job) -> None:
        """A running job was cancelled: end the process that works on it."""
        with self._lock:
            if self._current is job and self._engine:
                self._engine.kill()

    def status(self) -> dict[str, Any]:
        """What GET /liver/status tells of the model."""
        ready, loaded = self._ready, self._loaded
        is_up = ready and loaded and loaded.alive
        broker = self._engines.broker
        problem = self._problem or (broker.problem if broker else "")
        return {
            "Engine": "unavailable" if problem else "ready" if is_up else "starting",
            "EngineProblem": problem,
            "Model": self._model(),
            "Device": str(self._device) if ready else None,
        }

    @property
    def model_sha256(self) -> str:
        """Which model would run now, empty as long as none is loaded."""
        return self._ready.model_sha256 if self._ready else ""

    def _model(self) -> dict[str, str] | None:
        ready = self._ready
        return {"Name": ready.model_name, "Sha256": ready.model_sha256} if ready else None

    def _turn(self) -> float:
        """Work on the next job, or start a process for it; returns how long to wait then."""
        engine = self._engine
        if not (engine and engine.alive and self._ready):
            return self._renew_engine()
        job = self._queue.take(lambda: engine.alive)
        if job:
            self._deaths = 0
            self._work(job, engine)
        elif not self.thread.stopping:
            self._ready = None
            self._orthanc.log_error("the inference process ended while it was idle")
            self._deaths += 1
            return growing_wait_s(self._deaths - 1)
        return 0.0

    def _unblock(self) -> None:
        """End the inference process and the wait for jobs."""
        self._queue.close()
        with self._lock:
            engine, self._engine = self._engine, None
        if engine:
            engine.leave()

    def _renew_engine(self) -> float:
        """No job is to blame for a process that does not come up, so jobs wait until one does."""
        self._end_engine()
        try:
            self._start_engine()
        except EngineUnavailable as error:
            if self.thread.stopping:
                return 0.0
            if str(error) != self._problem:
                self._orthanc.log_error(f"no job can run: {error}")
            self._problem = str(error)
            self._failures += 1
            return growing_wait_s(self._failures - 1)
        self._failures = 0
        return 0.0

    def _start_engine(self) -> None:
        with self._lock:
            if self.thread.stopping:
                raise EngineUnavailable("Orthanc is stopping")
            self._engine = engine = self._engines.start(self._queue.wake)
        ready = engine.wait_ready()
        if ready.model_sha256 != (self._settings.weights_sha256 or ready.model_sha256):
            self._end_engine()
            raise EngineUnavailable(
                f"the weights that are loaded have the SHA-256 {ready.model_sha256}, and "
                "WeightsSha256 names another: correct that setting, or Weights"
            )
        self._device.begin(ready.device)
        self._ready = ready
        self._loaded = engine
        self._problem = ""
        self._orthanc.log(f"{ready.model_name} is ready on {ready.device}")

    def _end_engine(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        if engine:
            engine.close()

    def _work(self, job: Job, engine: Engine) -> None:
        with self._lock:
            self._current = job
        try:
            self._attempt_and_judge(job, engine)
        except NotAllowed:
            pass  # it was cancelled in the meantime, and the queue knows
        except Exception:
            if job.state is State.RUNNING:  # the judging itself went wrong
                self._queue.give_back(job, growing_wait_s(0))
            raise
        finally:
            with self._lock:
                self._current = None

    def _attempt_and_judge(self, job: Job, engine: Engine) -> None:
        try:
            self._attempt_unless_gone(job, engine)
        except ServerStopping:
            raise
        except EngineGone as gone:
            if not self.thread.stopping:
                self._judge(job, str(gone))
        except (JobFailed, StoredElsewhere, BadFile) as error:
            self._end_engine()
            self._judge(job, str(error))
        except OrthancError as error:
            self._end_engine()
            self._wait_for_orthanc(job, str(error))
        except Exception as error:  # noqa: BLE001 the next attempt may go well
            self._end_engine()
            self._judge(job, fault_of_ours(error))
        if job.state not in UNFINISHED:
            del self._troubles[job.id]

    def _attempt_unless_gone(self, job: Job, engine: Engine) -> None:
        try:
            self._attempt(job, engine)
        except Missing:
            self._end_engine()  # it may still wait for instances
            self._series_changed(job)

    def _wait_for_orthanc(self, job: Job, reason: str) -> None:
        """Orthanc itself is in trouble, its database or its disk: that costs no attempt."""
        if job.state is not State.RUNNING:
            return
        self._orthanc.log_error(f"job {job.id} waits for Orthanc: {reason}")
        self._queue.give_back(job, growing_wait_s(self._troubles[job.id]), reason)
        self._troubles[job.id] += 1

    def _judge(self, job: Job, reason: str) -> None:
        """This attempt failed: is there another one?"""
        if job.state is not State.RUNNING:
            return
        self._orthanc.log_error(f"job {job.id}, attempt {job.attempt}: {reason}")
        if job.attempt <= self._settings.retries:
            self._queue.try_again(job, growing_wait_s(job.attempt - 1), reason)
        else:
            self._queue.fail(job, Outcome.FAILED, reason)

    def _series_changed(self, job: Job) -> None:
        try:
            self._orthanc.series(job.series)
        except Missing:
            reason = "the series was deleted before its job was done"
            self._queue.fail(job, Outcome.FAILED, reason)
        else:
            self._queue.give_back(job, self._stable_age_s, _NOT_STABLE)

    def _attempt(self, job: Job, engine: Engine) -> None:
        series = image_series(self._orthanc, self._orthanc.series(job.series))
        wait_s = series.seconds_until_settled(datetime.now(UTC), self._stable_age_s)
        if wait_s > 0:
            self._queue.give_back(job, wait_s, _NOT_STABLE)
            return
        job.source_key, job.source_updated = series.source_key, series.last_update
        job.files_key = ""
        deadline = Deadline(self._engines.limit_s, engine)
        try:
            self._engines.feed(job, series, engine)
            answer = self._answer(job, engine)
        except EngineGone as gone:
            if deadline.passed:
                limit_s = self._settings.job_timeout_seconds
                raise JobFailed(f"it was stopped after JobTimeoutSeconds, {limit_s} s") from gone
            raise
        finally:
            deadline.cancel()
        if answer.done.is_last:
            self._end_engine()
        self._finish(job, series, answer)

    def _answer(self, job: Job, engine: Engine) -> Answer:
        objects: list[tuple[str, bytes]] = []
        pictures = Pictures()
        while True:
            match engine.receive():
                case Progress(_, stage, fraction):
                    job.show_progress(stage, fraction)
                case ResultObject(_, kind, content):
                    objects.append((kind, content))
                case Preview(_, content):
                    pictures = replace(pictures, preview_png=content)
                case Unsure(_, content):
                    pictures = replace(pictures, unsure=content)
                case Done() as done:
                    return Answer(done, objects, pictures)

    def _finish(self, job: Job, series: Series, answer: Answer) -> None:
        done = answer.done
        job.model = self._model()
        job.report = done.report
        if done.report is not None:
            self._device.computed_on(str(done.report.get("device")))
        if job.report is not None and done.outcome is not Outcome.REFUSED:
            told = warnings_of_parts(self._orthanc, series)
            job.report = {**job.report, "warnings": [*job.report.get("warnings", ()), *told]}
        match done.outcome:
            case Outcome.SEGMENTED:
                self._store(job, series, answer)
            case Outcome.NO_LIVER | Outcome.REFUSED:
                self._results.end_without(job, done.outcome, done.reason)
            case _ if done.is_final:
                self._queue.fail(job, done.outcome, done.reason)
            case _:
                raise JobFailed(done.reason or "the inference process gave no reason")

    def _store(self, job: Job, series: Series, answer: Answer) -> None:
        names = [name for name, _ in answer.objects]
        if names[:1] != [Kind.RTSTRUCT]:
            raise JobFailed(f"no RTSTRUCT came first, but: {', '.join(names) or 'nothing'}")
        self._results.keep(job, series, answer.objects, answer.pictures)
