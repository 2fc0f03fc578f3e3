"""Compares what comes back with ours, one at a time and only while no job waits, in a process of
its own; keeps the comparisons on their series, and tells where outlines have become worse."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from orthanc_liver.engine.protocol import (
    Agreement,
    Compared,
    ComparisonOrder,
    Done,
    Instance,
    Kind,
    OtherOutline,
    Outcome,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable, GivesWay, NotCompared
from orthanc_liver.host.intake.copies import is_ours
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.one_order import process_for_one_order
from orthanc_liver.host.jobs.records import Ledger, QualityState
from orthanc_liver.host.quality.chart import Point
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits
from orthanc_liver.host.quality.model_chart import (
    ModelChart,
    agreement_of_models,
    charts_of,
    limits_now,
)
from orthanc_liver.host.quality.returns import KINDS, Found, Returns
from orthanc_liver.host.quality.shadow import Shadow
from orthanc_liver.host.server.api import BadFile, Missing, Orthanc, Series
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.waits import growing_wait_s
from orthanc_liver.host.settings import Settings

_IDLE_S = 60.0
_LOOK_S = 2.0
# It gives way to everything else on the machine.
_TIMEOUT_S = 1800.0
_ATTEMPTS = 3
_MOST_SERIES = 2000

# The event of which the webhook is told as well.
WORSE = "outlines have become worse"
_FACTS_OF_WORSE = ("Series", "Instance", "Job", "Sha256", "Dsc", "MeanDsc", "SlowDsc", "Rules")

Tell = Callable[[str, Mapping[str, Any]], None]


class QualityControl:
    """Shared by Orthanc's threads, the reader of the change log and the worker, who all only note.

    tell: what happened, and its facts, for the log and the webhook. first_sha256: of the model that
    computes, empty as long as it is not known.
    """

    def __init__(
        self,
        orthanc: Orthanc,
        ledger: Ledger,
        queue: JobQueue,
        settings: Settings,
        tell: Tell,
        first_sha256: Callable[[], str],
    ) -> None:
        self._orthanc = orthanc
        self._ledger = ledger
        self._queue = queue
        self._settings = settings
        self._tell = tell
        self._first_sha256 = first_sha256
        self.shadow = Shadow(orthanc, queue, settings)
        self._returns = Returns(
            orthanc, ledger, settings.roi_name, timedelta(days=settings.retention_days), self.shadow
        )
        self._awaiting: dict[str, None] = {}  # series, a set in the order of arrival
        self._comparisons: dict[str, list[Comparison]] = {}  # by series, the oldest first
        self._limits: dict[str, ModelLimits] = {}
        self._failures: Counter[str] = Counter()  # by returned instance
        self._counted: Counter[str] = Counter()
        self._process: EngineProcess | None = None
        self._drawn: list[ModelChart] | None = None
        self._kept = QualityState([], [], [])
        self._lock = threading.RLock()
        self.thread = Background("quality", orthanc, self._turn, self._unblock)

    def restore(self, finished: Iterable[Job]) -> None:
        """Take up what was kept, and look again where a job ended last; StateUnreadable where what
        is kept is not ours."""
        state = self._kept = self._ledger.read_quality()
        with self._lock:
            self._limits = {one.model_sha256: one for one in state.limits}
            self._awaiting = dict.fromkeys([*state.awaiting, *(job.series for job in finished)])
            read = ((one, self._ledger.read_comparisons(one)) for one in state.series)
            self._comparisons = {series: found for series, found in read if found}
            self._drawn = None

    def arrived(self, series_id: str) -> None:
        """A series is complete; OrthancError where it cannot be noted that it is to be looked at.

        Whether it holds an outline of somebody's is seen later.
        """
        if self._may_hold_an_outline(self._orthanc.series(series_id)):
            with self._lock:
                self._awaiting[series_id] = None
                self._keep()
            self.thread.wake()

    def _may_hold_an_outline(self, series: Series) -> bool:
        """Our own results arrive as well; and some systems file a structure set in its CT."""
        match series.tags.get("Modality"):
            case Kind.RTSTRUCT | Kind.SEG:
                return not all(is_ours(self._orthanc, one) for one in series.instances)
            case self._settings.modality:
                return self._ledger.read_record(series.id) is not None
        return False

    def job_ended(self, job: Job) -> None:
        """Something may have come before it did."""
        if job.outcome is Outcome.SEGMENTED:
            with self._lock:
                self._awaiting[job.series] = None
            self.thread.wake()

    def forget(self, series_id: str) -> None:
        """It was deleted, and its comparisons with it."""
        with self._lock:
            self._awaiting.pop(series_id, None)
            self._comparisons.pop(series_id, None)
            self._drawn = None
            self._keep()

    def drop(self, series_id: str) -> int:
        """Its comparisons have been kept for long enough; returns how many there were, or raises
        OrthancError where they must stay."""
        with self._lock:
            count = len(self._ledger.read_comparisons(series_id))
            self._ledger.forget_comparisons(series_id)
            self.forget(series_id)
        return count

    def series(self) -> set[str]:
        """Of which series anything is kept."""
        with self._lock:
            return {*self._kept.series, *self._kept.awaiting, *self._comparisons, *self._awaiting}

    def of(self, series_id: str) -> list[dict[str, Any]]:
        """What is known of one series' outline, the newest first; nothing of the second model."""
        with self._lock:
            found = reversed(self._comparisons.get(series_id, []))
            return [one.as_json() for one in found if not one.is_shadow]

    def rows(self) -> list[dict[str, Any]]:
        """Every comparison, the oldest first; IsCase: whether it stands for its series; Rules: what
        it breaks."""
        every = sorted(self._every(), key=lambda one: (one.time, one.series))
        points = {id(case): point for one in self._charts() for case, point in one.told()}
        return [
            one.as_json()
            | {
                "IsCase": id(one) in points,
                "Rules": list(point.rules) if (point := points.get(id(one))) else [],
            }
            for one in every
        ]

    def charts(self) -> list[dict[str, Any]]:
        """Each model's chart, that of the newest case first, and last that of a second model which
        was compared with the first only."""
        charts = self._charts()
        told = {one.model_sha256 for one in charts}
        beside = [one for one in self._every() if one.is_of_two_models and one.agreement]
        named = {one.model_sha256: one.model_name for one in beside}
        bare = [ModelChart(named[each], each, (), None, ()) for each in named if each not in told]
        return [
            one.summary()
            | {
                "AgainstFirst": agreement_of_models(
                    each for each in beside if each.model_sha256 == one.model_sha256
                ),
                "WantsCases": self._settings.quality_first_cases,
                "Points": [_told(*pair) for pair in one.told()],
            }
            for one in [*reversed(charts), *bare]
        ]

    def summary(self) -> dict[str, Any] | None:
        """Of the chart of the newest case of the first model's."""
        charts = [one for one in self._charts() if not one.is_shadow]
        return charts[-1].summary() if charts else None

    def count(self) -> dict[str, int]:
        """How many outlines were compared, or could not be, since Orthanc started, and how many
        series are still to be looked at."""
        with self._lock:
            awaiting = {"Awaiting": len(self._awaiting)}
        return {name: self._counted[name] for name in ("Compared", "Refused")} | awaiting

    def _turn(self) -> float:
        self.shadow.refuse_the_first(self._first_sha256())
        with self._lock:
            series_id = next(iter(self._awaiting), None)
        if series_id is None:
            return _IDLE_S
        if self._queue.is_busy():
            return _LOOK_S
        try:
            found = next(self._found_by(series_id), None)
            if found:
                return self._take(found)
        except Missing:
            pass  # it is gone
        with self._lock:
            self._awaiting.pop(series_id, None)
            self._keep()
        return 0.0

    def _found_by(self, series_id: str) -> Iterator[Found]:
        series = self._orthanc.series(series_id)
        if series.tags.get("Modality") not in KINDS:
            yield from self._returns.on(series_id)
            return
        for one in self._orthanc.get(f"/studies/{series.study}/series"):
            if one["MainDicomTags"].get("Modality") == self._settings.modality:
                yield from self._returns.on(one["ID"])

    def _take(self, found: Found) -> float:
        """Compare one and keep what came of it; returns how long to wait before another attempt."""
        instance = found.returned.instance
        try:
            agreement, reason = self._compare(found), ""
        except (NotCompared, BadFile) as refusal:
            agreement, reason = None, str(refusal)
        except GivesWay:
            return _LOOK_S
        except EngineUnavailable as error:
            if found.is_shadow:
                if not self.thread.stopping:
                    self.shadow.give_up(str(error))
                return 0.0
            self._failures[""] += 1  # no outline is to blame
            return growing_wait_s(self._failures[""] - 1)
        except (EngineGone, Missing) as error:
            if self.thread.stopping:
                return 0.0
            self._failures[instance] += 1
            if self._failures[instance] < _ATTEMPTS:
                return growing_wait_s(self._failures[instance] - 1)
            agreement, reason = None, str(error)
        self._failures -= Counter({instance: _ATTEMPTS, "": self._failures[""]})
        self._note(found, agreement, reason)
        return 0.0

    def _compare(self, found: Found) -> Agreement:
        job, series = found.job, found.series
        settings = self._settings.for_engine()
        ours = self._outline(found)
        order = ComparisonOrder(job.id, len(series.instances), settings, found.returned.roi, ours)
        theirs = OtherOutline(job.id, self._orthanc.dicom_file(found.returned.instance))
        with process_for_one_order(self._settings.writer_command, _TIMEOUT_S) as process:
            self._hold(process)
            process.send(order)
            process.send(theirs)
            for instance in series.instances:
                process.send(Instance(job.id, self._orthanc.dicom_file(instance)))
            agreement = None
            while not isinstance(message := process.receive(), Done):
                agreement = message.agreement if isinstance(message, Compared) else agreement
        if agreement is None:
            raise NotCompared(message.reason or "the comparison gave no reason")
        return agreement

    def _outline(self, found: Found) -> bytes:
        if found.is_shadow:
            return self.shadow.outline(found.job, found.series, self._hold)
        return self._orthanc.dicom_file(found.job.rtstruct)

    def _hold(self, process: EngineProcess) -> None:
        with self._lock:
            self._process = process
        # Whoever stops us may have looked for it a moment before it was there.
        if self.thread.stopping:
            process.kill()

    def _unblock(self) -> None:
        with self._lock:
            process = self._process
        if process:
            process.kill()

    def _note(self, found: Found, agreement: Agreement | None, reason: str) -> None:
        job = found.job
        model = job.model or {}
        if found.is_shadow and (second := self.shadow.model):
            model = {"Name": second.name, "Sha256": second.sha256}
        one = Comparison(
            series=job.series,
            study=job.study,
            job=job.id,
            ours=job.rtstruct,
            model_name=model["Name"],
            model_sha256=model["Sha256"],
            grade="" if found.is_shadow else job.grade or "",
            returned=found.returned,
            time=datetime.now(UTC),
            agreement=agreement,
            reason=reason,
            is_shadow=found.is_shadow,
        )
        self._orthanc.series(job.series)  # Missing where it was deleted meanwhile
        with self._lock:
            kept = self._ledger.record_comparison(one)
            self._comparisons.pop(job.series, None)  # to be the last
            self._comparisons[job.series] = kept
            self._drawn = None
            if not one.is_shadow:
                self._counted["Compared" if agreement else "Refused"] += 1
            self._set_limits()
            self._keep()
        self._tell("second model compared" if one.is_shadow else "outline returned", facts_of(one))
        if not one.is_shadow:
            self._tell_what_became_worse(one)

    def _set_limits(self) -> None:
        for one in self._charts():
            if limits := limits_now(one, self._settings.quality_first_cases):
                self._limits[one.model_sha256] = limits
                self._drawn = None

    def _tell_what_became_worse(self, case: Comparison) -> None:
        for one in self._charts():
            if one.cases[-1] is case and one.rules:
                about = facts_of(case) | one.summary()
                facts = {name: about[name] for name in _FACTS_OF_WORSE}
                self._tell(WORSE, facts | {"Rules": ", ".join(one.rules)})

    def _every(self) -> list[Comparison]:
        with self._lock:
            return [one for found in self._comparisons.values() for one in found]

    def _charts(self) -> list[ModelChart]:
        """Kept until something changes, for the pages ask every other second."""
        with self._lock:
            if self._drawn is None:
                self._drawn = charts_of(self._every(), self._limits)
            return self._drawn

    def _keep(self) -> None:
        with self._lock:
            newest = list(self._comparisons)[-_MOST_SERIES:]
            state = QualityState(newest, list(self._awaiting), list(self._limits.values()))
            if state != self._kept:
                self._ledger.keep_quality(state)
                self._kept = state


def facts_of(one: Comparison) -> dict[str, Any]:
    """What the log tells of a comparison: never who drew it, nor why it could not be compared."""
    shown = one.as_json()
    names = ("Series", "Instance", "Job", "Sha256", "Dsc", "MdaMm", "Rv", "WorstSlice")
    return {name: shown[name] for name in names}


def _told(case: Comparison, point: Point | None) -> dict[str, Any]:
    """What the page tells of a case."""
    shown = case.as_json()
    names = ("Time", "Series", "Dsc", "MdaMm", "Rv", "WorstSlice", "WorstMl", "StoredBy", "Grade")
    slow = {"SlowDsc": round(point.slow_dsc, 4), "Rules": list(point.rules)} if point else {}
    return {name: shown[name] for name in names} | {"SlowDsc": None, "Rules": []} | slow
