"""A person cuts the outline of a series into parts, stored as an RTSTRUCT of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.engine.protocol import Cut, Outcome, PartsOrder
from orthanc_liver.host.activity.documents import made_by, written_documents
from orthanc_liver.host.errors import CutAskedBadly, NoResult, NotAllowed
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Ledger, unmark_superseded, write_cut
from orthanc_liver.host.jobs.results import Results
from orthanc_liver.host.jobs.source import is_source
from orthanc_liver.host.jobs.storing import is_result_in, store_beside
from orthanc_liver.host.review.approval import find_approved
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.review.cut import StoredCut, cut_asked
from orthanc_liver.host.review.cuts import cuts_of
from orthanc_liver.host.review.review import Verdict
from orthanc_liver.host.review.reviews import NOT_THE_OUTLINE, person_asking
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings

_MAY_HOLD = {"Rtstruct", "Plane", "Lassos", "By"}


@dataclass(frozen=True)
class _Liver:
    """job: whose result it is; instance: that result, or its accepted copy."""

    job: Job
    instance: str


class Parts:
    """Cuts, stores and lists. Needs no engine but the document process."""

    def __init__(
        self,
        orthanc: Orthanc,
        ledger: Ledger,
        clearances: Clearances,
        results: Results,
        settings: Settings,
    ) -> None:
        self._orthanc = orthanc
        self._ledger = ledger
        self._clearances = clearances
        self._results = results
        self._settings = settings

    def of(self, series: Series) -> list[dict[str, Any]]:
        """Every cut of a series that is stored, newest first, with what was clicked."""
        found = reversed(cuts_of(self._orthanc, series.id, series.study))
        return [_shown(one.instance, one.uid, one.cut) for one in found]

    def store(self, series: Series, asked: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Cut as a request's body asks; returns what of() tells of it, with its job.

        CutAskedBadly or ReviewRefused for a body that makes no sense, or a cut that leaves no
        parts; NoResult, NotAllowed where no such outline stands; NothingStored, Busy, OrthancError.
        """
        if set(asked) - _MAY_HOLD:
            raise CutAskedBadly(f"the body holds nothing but: {', '.join(sorted(_MAY_HOLD))}")
        by, is_typed = person_asking(asked, user)
        cut = cut_asked(asked)
        liver = self._liver(series, asked.get("Rtstruct"))
        order = self._order(series, liver, cut, by)
        objects, done = written_documents(self._orthanc, series, self._settings, order)
        if done.outcome is Outcome.REFUSED:
            raise CutAskedBadly(done.reason)
        stored = StoredCut(
            series=series.id,
            outline=liver.job.rtstruct_uid,
            cut=cut,
            by=by,
            is_typed=is_typed,
            time=datetime.now(UTC),
            parts_ml=(done.report or {})["parts_ml"],
        )
        with self._results.standing_still():
            if self._liver(series, asked.get("Rtstruct")).instance != liver.instance:
                raise NotAllowed("the outline was accepted meanwhile: cut the accepted one")
            [kept] = store_beside(self._orthanc, series, objects)
            unmark_superseded(self._orthanc, kept["Instance"])  # it may have been cut so before
            write_cut(self._orthanc, kept["Instance"], stored)
            self._results.settle_parts(liver.job, series)
            self._results.send_parts(liver.job, series, kept["Instance"])
        shown = _shown(kept["Instance"], kept["SopInstanceUid"], stored)
        return {"Job": liver.job.id, **shown}

    def _liver(self, series: Series, asked: Any) -> _Liver:
        record = self._ledger.read_record(series.id)
        job = record.job if record else None
        if job is None or not job.result or not is_source(self._orthanc, job, series):
            raise NoResult("there is no outline of the series as it is now: segment it (again)")
        if not is_result_in(self._orthanc, job.rtstruct, series.study):
            raise NoResult("the outline is no longer in Orthanc: segment the series again")
        review = self._clearances.of(series.id, job.rtstruct).review
        if review and review.verdict is Verdict.REJECTED:
            raise NotAllowed("the outline was rejected: it is not cut before a person accepts it")
        approved = find_approved(self._orthanc, review, series.study)
        if not isinstance(asked, str) or asked not in (job.rtstruct, approved):
            raise NotAllowed(f"{NOT_THE_OUTLINE}, or of its accepted copy")
        return _Liver(job, approved or job.rtstruct)

    def _order(self, series: Series, liver: _Liver, cut: Cut, by: str) -> PartsOrder:
        return PartsOrder(
            liver.job.id,
            len(series.instances),
            self._settings.for_engine(),
            *made_by(liver.job),
            cut=cut,
            by=by,
            rtstruct=self._orthanc.dicom_file(liver.instance),
        )


def _shown(instance: str, uid: str, cut: StoredCut) -> dict[str, Any]:
    return {"Instance": instance, "SopInstanceUid": uid, **cut.as_json()}
