"""Puts the parts together inside Orthanc."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orthanc_liver import __version__
from orthanc_liver.host.activity.activity_of_series import (
    activity_of_series,
    documents_asked,
    store_activity,
)
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.destinations import Sending
from orthanc_liver.host.delivery.transmitter import Transmitter
from orthanc_liver.host.delivery.webhook import Webhook
from orthanc_liver.host.errors import NoResult, NotAdmitted, NotAllowed, NotRunning, StateUnreadable
from orthanc_liver.host.intake.arriving import Arriving
from orthanc_liver.host.intake.backfill import Backfill, studies_wanted
from orthanc_liver.host.intake.change_log import ChangeLog, end_of_log, place_to_begin
from orthanc_liver.host.intake.intake import Door, Intake, Settled
from orthanc_liver.host.intake.paced import Pace
from orthanc_liver.host.intake.pull import Pull
from orthanc_liver.host.intake.remote_study import Way
from orthanc_liver.host.intake.series_filter import SeriesFilter
from orthanc_liver.host.intake.sources import Sources
from orthanc_liver.host.jobs.engines import Embedded, Engines
from orthanc_liver.host.jobs.fleet import Fleet
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger, read_unsure
from orthanc_liver.host.jobs.results import Results
from orthanc_liver.host.jobs.storing import is_result_in
from orthanc_liver.host.jobs.worker import Worker
from orthanc_liver.host.quality.quality_control import WORSE, QualityControl
from orthanc_liver.host.retention import Retention
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.review.outlines import outline_text, outlines_of, stack_of
from orthanc_liver.host.review.parts import Parts
from orthanc_liver.host.review.review import Verdict
from orthanc_liver.host.review.reviews import Reviews, review_asked
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancModule, Series
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.few_at_once import Gate
from orthanc_liver.host.server.image_series import image_series
from orthanc_liver.host.server.journal import Journal
from orthanc_liver.host.server.orthanc_settings import OrthancSettings, read_orthanc_settings
from orthanc_liver.host.server.times import text_of
from orthanc_liver.host.settings import read_settings
from orthanc_liver.host.web.metrics import Ended, exposition
from orthanc_liver.host.web.routes import Routes
from orthanc_liver.sirt.activity import Activity

OnChange = Callable[[int, int, str], None]

# What only Orthanc still refers to when Python ends crashes it (seen with plugin 5.0).
_callbacks: list[Callable[..., None]] = []

_START_TIMEOUT_S = 10.0
# At once, with the one that is read. Orthanc answers HTTP with 50 threads.
_OUTLINES_ASKED_FOR = 8
# Orthanc waits for us as long, and no longer.
_STOP_TIMEOUT_S = 10.0


def register(module: OrthancModule, also: OnChange | None = None, explorer_js: str = "") -> None:
    """Add orthanc-liver to the Orthanc that imported the calling script; never raises.

    also: your own callback for Orthanc's changes. Orthanc takes only one from all of Python, so
    ours calls yours with the same arguments.
    explorer_js: your own JavaScript for Orthanc Explorer, of which there is likewise only one.
    """
    try:
        plugin = Plugin(module)
        answer = Routes(plugin).answer
        module.RegisterRestCallback("/liver/(.*)", answer)
        buttons = (Path(__file__).parent / "web" / "explorer.js").read_text(encoding="utf-8")
        _extend_explorer(module, f"{explorer_js}\n{buttons}")
    except Exception as error:  # noqa: BLE001 any exception here would stop Orthanc
        module.LogError(f"orthanc-liver is not available: {type(error).__name__}: {error}")
        if also:
            module.RegisterOnChangeCallback(also)
        _extend_explorer(module, explorer_js)
        return

    def on_change(change: int, level: int, resource: str) -> None:
        try:
            plugin.on_change(change, level, resource)
        finally:
            if also:
                also(change, level, resource)

    module.RegisterOnChangeCallback(on_change)
    _callbacks.extend([answer, on_change])


def _extend_explorer(module: OrthancModule, javascript: str) -> None:
    # Where Orthanc was built without its Explorer, everything else works all the same.
    extend = getattr(module, "ExtendOrthancExplorer", None)
    if extend and javascript:
        extend(javascript)


class Plugin:
    """The plugin in one running Orthanc. Nothing runs before Orthanc says that it has started."""

    def __init__(self, module: OrthancModule) -> None:
        configuration = json.loads(module.GetConfiguration())
        self._changes, self._levels = module.ChangeType, module.ResourceType
        self._started = threading.Event()
        self._start_was_tried = threading.Event()
        self.orthanc = Orthanc(module)
        self.settings, self._problems = read_settings(configuration)
        sends = bool(self.settings.destinations) or self.settings.return_to_sender
        of_orthanc = read_orthanc_settings(configuration, sends=sends)
        self._problems += of_orthanc.problems
        self._find_limit = of_orthanc.find_limit
        self._ledger = Ledger(self.orthanc)
        self.arriving = Arriving(self.orthanc, self.settings.modality)
        self._ended = Ended()
        self._webhook = Webhook(self.orthanc, self.settings.webhook)
        self.journal = Journal(self.orthanc, self.settings.log_format)
        self.queue = JobQueue(self.settings.jobs_kept, self._ledger, self._note_end)
        self.deliveries = Deliveries(self._ledger)
        self.reviews = Reviews(self._ledger)
        self._clearances = Clearances(self._ledger)
        self._outline_gate = Gate(
            _OUTLINES_ASKED_FOR, "too many outlines are being asked for: ask again shortly"
        )
        self._compose_results(of_orthanc)
        self._compose_computing(of_orthanc)
        self._compose_intake(of_orthanc)
        self._compose_quality()
        self._starting = Background("start", self.orthanc, self._try_to_start)
        self._threads = [
            *(worker.thread for worker in self._workers),
            self._change_log.thread,
            self._transmitter.thread,
            self._backfill.thread,
            self._pull.thread,
            self._retention.thread,
            self.quality.thread,
            *([self._webhook.thread] if self.settings.webhook else []),
        ]

    def _compose_results(self, of_orthanc: OrthancSettings) -> None:
        self._transmitter = Transmitter(
            self.orthanc,
            self.deliveries,
            Sending(self.orthanc, self.settings, of_orthanc.dicom_web_root),
        )
        self._results = Results(
            self.orthanc,
            self.queue,
            self._ledger,
            self.deliveries,
            self.reviews,
            self._clearances,
            self.settings,
        )
        self._parts = Parts(
            self.orthanc, self._ledger, self._clearances, self._results, self.settings
        )

    def _compose_computing(self, of_orthanc: OrthancSettings) -> None:
        at_once = self.settings.jobs_at_once if self.settings.broker else 1
        computing = Fleet if self.settings.broker else Embedded
        self._engines: Engines = computing(self.orthanc, self.settings)
        self._workers = [
            Worker(
                self.orthanc,
                self.queue,
                self.settings,
                of_orthanc.stable_age_s,
                self._results,
                self._engines,
                "worker" if number == 1 else f"worker {number}",
            )
            for number in range(1, at_once + 1)
        ]
        self._worker = self._workers[0]

    def _compose_intake(self, of_orthanc: OrthancSettings) -> None:
        self._filter = SeriesFilter(self.orthanc, self.settings)
        self._intake = Intake(
            self.orthanc,
            self.queue,
            self._ledger,
            self.settings,
            lambda: self._worker.model_sha256,
        )
        self._change_log = ChangeLog(
            self.orthanc, self.queue, self._intake, self.settings, of_orthanc.stable_age_s
        )
        pace = Pace(self.settings.backfill_pause_seconds, len(self._workers))
        self._backfill = Backfill(self.orthanc, self.queue, self._intake, pace)
        self._pull = Pull(
            self.orthanc,
            self.queue,
            self._intake,
            Sources(self.orthanc, of_orthanc.dicom_web_root, of_orthanc.web_servers),
            self._filter,
            pace,
        )

    def _compose_quality(self) -> None:
        self.quality = QualityControl(
            self.orthanc,
            self._ledger,
            self.queue,
            self.settings,
            self._tell_of_quality,
            lambda: self._worker.model_sha256,
        )
        self._change_log.on_arrived = self.quality.arrived
        self._change_log.on_gone = self._note_gone
        self._retention = Retention(
            self.orthanc,
            self._ledger,
            self.queue,
            self.quality,
            self._clearances,
            self._pull,
            self.settings.retention_days,
        )

    def on_change(self, change: int, level: int, resource: str) -> None:
        """Orthanc's changes: only noted here, worked on elsewhere."""
        if change == self._changes.ORTHANC_STARTED:
            self._starting.start()
        elif change == self._changes.ORTHANC_STOPPED:
            self._stop()
        elif change == self._changes.NEW_SERIES:
            self.arriving.begin(resource)
        elif change in (self._changes.STABLE_SERIES, self._changes.STABLE_STUDY):
            self.arriving.end(resource)
            self._change_log.thread.wake()
        elif change == self._changes.DELETED and level == self._levels.SERIES:
            self._change_log.series_is_gone(resource)

    def wait_until_started(self) -> bool:
        """Orthanc answers HTTP a moment before it says that it has started; wait that moment.

        Not longer: where the start is in trouble, all who ask would hold Orthanc's HTTP threads.
        """
        self._start_was_tried.wait(_START_TIMEOUT_S)
        return self._started.is_set()

    def status(self) -> dict[str, Any]:
        """The answer to GET /liver/status."""
        return {
            "Version": __version__,
            **self._worker.status(),
            **({"Engine": "stopped: settings"} if self._problems else {}),
            "Modality": self.settings.modality,
            "Automatic": self.settings.automatic and not self._problems,
            "Queue": self.queue.count(),
            "OldestWaitingSeconds": self.queue.oldest_waiting_s(),
            "Deliveries": self.deliveries.count(),
            "Arrivals": self.deliveries.count_arrivals(),
            "ArrivedWhileAway": self._change_log.arrived_while_away,
            "Reviews": self.reviews.count(),
            "ReturnedOutlines": self.quality.count(),
            "Quality": self.quality.summary(),
            "ShadowProblem": self.quality.shadow.problem,
            "LabelsProblem": self._results.labels.problem,
            "Viewer": self.settings.viewer,
            "Backfill": self._backfill.show(),
            "Pull": self._pull.show(),
            "Broker": self._show_broker(),
            "Threads": self._states(),
            "SettingsProblems": self._problems,
        }

    def _show_broker(self) -> dict[str, Any] | None:
        broker = self._engines.broker
        if broker is None:
            return None
        state = "away" if broker.problem else "serves"
        return {
            "State": state,
            "Workers": broker.workers,
            "Waiting": broker.waiting,
            "DoneBy": {one.worker: [one.cases, one.seconds] for one in broker.done},
        }

    def metrics(self) -> str:
        """The answer to GET /liver/metrics."""
        return exposition(self.status(), self._ended)

    def segment_series(self, series_id: str, *, force: bool) -> Job:
        """Somebody asks for a series; Missing, NotAdmitted or NotRunning."""
        self._refuse_unless_running()
        return self._ask(series_id, force=force)

    def segment_study(self, study_id: str, *, force: bool) -> list[Job]:
        """Somebody asks for the series of a study that the settings admit, all or the best."""
        self._refuse_unless_running()
        jobs = []
        for series_id in self._filter.wanted(study_id):
            with contextlib.suppress(NotAdmitted, Missing):
                jobs.append(self._ask(series_id, force=force))
        return jobs

    def try_filter(self) -> list[dict[str, Any]]:
        """What the settings make of the last series that came."""
        return self._filter.try_on_last()

    def cancel(self, job_id: str, by: str) -> None:
        """End a job, and the inference process where it works on that job; by: who asks."""
        job = self.queue.cancel(job_id, by)
        for worker in self._workers:
            worker.interrupt(job)

    def ask_backfill(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """Somebody asks for older studies. Errors: see studies_wanted and Backfill.ask."""
        self._refuse_unless_running()
        self._backfill.ask(studies_wanted(self.orthanc, asked, self._find_limit))
        return self._backfill.show()

    def cancel_backfill(self) -> None:
        """Take up no more older series; NotAllowed where none is being taken up."""
        self._backfill.cancel()

    def show_pull(self) -> dict[str, Any]:
        """The last pull, what of it failed, and whom one may ask."""
        return self._pull.show_all()

    def ask_pull(self, asked: Mapping[str, Any], user: str) -> dict[str, Any] | None:
        """Somebody asks for studies of another server. Errors: see Pull.ask."""
        self._refuse_unless_running()
        count = self._pull.ask(asked)
        source = {str(way): asked[way] for way in Way if way in asked}
        self.journal.write("pull asked", {"User": user, **source, "Studies": count})
        return self._pull.show()

    def cancel_pull(self) -> None:
        """Ask for no more of them; NotAllowed where none is running."""
        self._pull.cancel()

    def deliver_again(self, job_id: str) -> list[dict[str, Any]]:
        """Send a job's result to today's destinations, now; returns all of its deliveries.

        UnknownJob where there is no such job, NoResult where it has none, NotAllowed where nobody
        could accept it any more, or somebody rejected it.
        """
        self._refuse_unless_running()
        with self._results.standing_still():
            self._send_again(self.queue.job(job_id))
        self.deliveries.end_rests()
        return self.deliveries.show_by_job([job_id])[job_id]

    def _send_again(self, job: Job) -> None:
        stand = [is_result_in(self.orthanc, one, job.study) for one in job.result_instances]
        if job.state is not State.SUCCESS or not stand or not all(stand):
            raise NoResult("the job has no result that could be sent")
        record = self._ledger.read_record(job.series)
        if record and record.result and record.result["Instance"] != job.rtstruct:
            raise NotAllowed("a newer outline took its place: send that of the series' last job")
        review = self._clearances.of(job.series, job.rtstruct).review
        if review and review.verdict is Verdict.REJECTED:
            raise NotAllowed("the outline was rejected: it is not sent before a person accepts it")
        self._results.send(job, self.orthanc.series(job.series), again=True)

    def activity(
        self, series_id: str, asked: Mapping[str, Any]
    ) -> tuple[Activity, list[dict[str, str]]]:
        """Somebody asks for a Y-90 activity, and perhaps to store it; needs no engine.

        Also returns what was stored. Errors: see activity_of_series and store_activity.
        """
        kinds = documents_asked(asked)
        with self._outline_gate:
            activity = activity_of_series(
                self.orthanc, self._ledger, self._clearances, self.settings, series_id, asked
            )
        if not kinds:
            return activity, []
        self._refuse_unless_running()
        return activity, store_activity(
            self.orthanc, self._ledger, self.settings, series_id, kinds, activity
        )

    def slices(self, series_id: str) -> dict[str, Any]:
        """A series' slices and its last job; Missing, or NotShown where they do not say where they
        lie."""
        stack = stack_of(self.orthanc, self._images_of(series_id))
        record = self._ledger.read_record(series_id)
        self.reviews.restore([series_id])
        return {
            "Job": record.job.as_json() if record else None,
            "Stack": stack.as_json(),
            "Comparisons": self.quality.of(series_id),
        }

    def outlines(self, series_id: str) -> list[dict[str, Any]]:
        """The outlines of a series in its study; errors as for slices."""
        with self._outline_gate:
            return outlines_of(self.orthanc, self._images_of(series_id))

    def outline(self, series_id: str, rtstruct: str, roi: str) -> str:
        """One of those outlines in pixels, as JSON; Missing or NotShown."""
        with self._outline_gate:
            return outline_text(self.orthanc, self._images_of(series_id), rtstruct, roi)

    def unsure(self, series_id: str) -> dict[str, Any]:
        """Where the networks were unsure of the result of the series' last job; Missing or
        NotOurs."""
        record = self._ledger.read_record(series_id)
        found = read_unsure(self.orthanc, series_id)
        if record is None or record.job.id != found["Job"]:
            raise Missing("there is no such resource")
        return found

    def _images_of(self, series_id: str) -> Series:
        return image_series(self.orthanc, self.orthanc.series(series_id))

    def review(self, series_id: str, asked: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Somebody accepts or rejects the result of the series' last job.

        Errors: see review_asked; Missing for an unknown series.
        """
        self._refuse_unless_running()
        series = self.orthanc.series(series_id)
        # Else its successor could be stored after this look at the last job, and before the word.
        with self._results.standing_still():
            record = self._ledger.read_record(series_id)
            job = record.job if record else None
            review = review_asked(job, asked, user)
            if not job or not is_result_in(self.orthanc, review.rtstruct, series.study):
                raise NoResult("the outline is no longer in Orthanc: segment the series again")
            self._results.decide(job, series, review)
        facts = {"User": user, "Series": series_id, "Job": job.id, "Rtstruct": review.rtstruct}
        self.journal.write("outline reviewed", facts | {"Verdict": str(review.verdict)})
        return review.as_json()

    def cuts(self, series_id: str) -> list[dict[str, Any]]:
        """How people cut a series' outlines into parts; Missing."""
        return self._parts.of(self.orthanc.series(series_id))

    def cut(self, series_id: str, asked: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Somebody cuts the result of the series' last job into parts. Errors: see Parts.store."""
        self._refuse_unless_running()
        stored = self._parts.store(self._images_of(series_id), asked, user)
        names = ("Series", "Job", "Instance", "Outline")
        self.journal.write("outline cut", {"User": user} | {one: stored[one] for one in names})
        return stored

    def _note_end(self, job: Job) -> None:
        self._ended.note(job)
        self._webhook.note(job)
        self.journal.write("job ended", job.facts_of_end())
        self.quality.job_ended(job)

    def _tell_of_quality(self, event: str, facts: Mapping[str, Any]) -> None:
        self.journal.write(event, facts)
        if event == WORSE:
            self._webhook.tell({"Event": event, **facts, "Time": text_of(datetime.now(UTC))})

    def _note_gone(self, series_id: str) -> None:
        self._clearances.forget(series_id)
        self.quality.forget(series_id)

    def _ask(self, series_id: str, *, force: bool) -> Job:
        found = self._intake.offer(series_id, Door.ASKED, force=force)
        return found.job if isinstance(found, Settled) else found

    def _states(self) -> dict[str, str]:
        threads = self._threads if self._started.is_set() else [self._starting, *self._threads]
        return {thread.name: thread.state for thread in threads}

    def _refuse_unless_running(self) -> None:
        if self._problems:
            raise NotRunning("no job can run until the settings are corrected; see /liver/status")

    def _try_to_start(self) -> None:
        try:
            self._start()
        finally:
            self._start_was_tried.set()

    def _start(self) -> None:
        """Take up what was kept and begin; repeated where Orthanc cannot tell yet."""
        end = end_of_log(self.orthanc)
        try:
            state = self._ledger.read_state(at_first=end)
            finished = [job.series for job in state.finished]
            self.deliveries.restore(finished)
            self.reviews.restore(finished)
            self._clearances.restore()
            self._results.restore(state.finished)
            self._backfill.restore()
            self._pull.restore()
            self._webhook.restore()
            self.quality.restore(state.finished)
        except StateUnreadable as error:
            self._problems.append(str(error))
        else:
            state.seq = place_to_begin(self.orthanc, state.seq, end)
            self.queue.restore(state)
            if not self._problems:
                self._transmitter.thread.start()
                self._backfill.thread.start()
                self._pull.thread.start()
                self._retention.thread.start()
                if self.settings.webhook:
                    self._webhook.thread.start()
                for worker in self._workers:
                    worker.thread.start()
                self.quality.thread.start()
                self._change_log.start(state.seq, end)
        for problem in self._problems:
            self.orthanc.log_error(f"no job runs until this is corrected: {problem}")
        self._started.set()

    def _stop(self) -> None:
        self.orthanc.close()
        for thread in (self._starting, *self._threads):
            thread.stop(_STOP_TIMEOUT_S)
        self._engines.close()
