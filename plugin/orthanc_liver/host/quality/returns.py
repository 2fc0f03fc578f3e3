"""Which outlines of a series that we segmented came from a physician, and not from us.

Ours are known by what wrote them: results and what came of an acceptance by their identity, all
else, copies of them too, by Manufacturer. What another program outlined by itself and nobody
approved is no physician's either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orthanc_liver.engine.protocol import LOOK_HERE, Kind, Outcome
from orthanc_liver.host.activity.roi_of_series import (
    Roi,
    items_in,
    rois_of,
    rtstructs_beside,
    text_in,
)
from orthanc_liver.host.intake.copies import is_ours
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.source import is_source, stored_md5
from orthanc_liver.host.quality.comparison import APPROVED, Returned
from orthanc_liver.host.quality.shadow import Shadow
from orthanc_liver.host.review.approval import find_approved
from orthanc_liver.host.server.api import Missing, Orthanc, Series
from orthanc_liver.host.server.image_series import image_series

KINDS = (Kind.RTSTRUCT, Kind.SEG)
_LIVER = "liver"
_LIVER_CODES = ("10200004", "T-62000")  # SNOMED CT, and what it was before
_BY_A_PROGRAM = "AUTOMATIC"
_MOST_CHARS = 64


@dataclass(frozen=True)
class Found:
    """An outline that came back, and the job whose outline it is to be compared with; is_shadow:
    the second model's in its place, perhaps with that of the first."""

    job: Job
    series: Series
    returned: Returned
    is_shadow: bool = False


@dataclass(frozen=True)
class _Drawn:
    """What an RTSTRUCT or a SEG says of its liver; series_uids: that it says it was drawn on."""

    roi: str
    frame: str
    series_uids: tuple[str, ...]
    approval: str
    drawn_at: str
    generation: str

    @property
    def is_a_persons(self) -> bool:
        return self.generation != _BY_A_PROGRAM or self.approval == APPROVED


class Returns:
    """Looks into Orthanc for them. roi_name: what a liver may be called beside Liver; longest: how
    long after the job they are compared, for figures are kept no longer; zero: always."""

    def __init__(
        self, orthanc: Orthanc, ledger: Ledger, roi_name: str, longest: timedelta, shadow: Shadow
    ) -> None:
        self._orthanc = orthanc
        self._ledger = ledger
        self._roi_name = roi_name
        self._longest = longest
        self._shadow = shadow

    def on(self, series_id: str) -> Iterator[Found]:
        """Those of a CT that were not compared yet, or not as they are now; Missing where the
        series is gone."""
        segmented = self._segmented(series_id)
        if segmented is None:
            return
        job, series = segmented
        compared = {one.key: one.returned.md5 for one in self._ledger.read_comparisons(series_id)}
        second = self._shadow.model
        shadow = second.sha256 if second and second.sha256 != (job.model or {})["Sha256"] else ""
        for kind, instance in self._candidates(series):
            if instance in job.result_instances:
                continue
            with contextlib.suppress(Missing):  # it was deleted meanwhile
                md5 = stored_md5(self._orthanc, instance)
                uid = self._text(instance, "0008-0018")
                by = [one for one in dict.fromkeys(["", shadow]) if compared.get((uid, one)) != md5]
                if not by or self._is_written_by_us(instance, series):
                    continue
                drawn = self._liver_in(kind, instance)
                if drawn and drawn.is_a_persons and self._is_drawn_on(drawn, series):
                    stored_by, origin = self._sender(instance)
                    about = (drawn.approval, drawn.drawn_at, stored_by, origin)
                    outline = Returned(instance, uid, md5, kind, drawn.roi, *about)
                    for one in by:
                        yield Found(job, series, outline, is_shadow=bool(one))
        first = self._of_the_first(job) if shadow else None
        if first and compared.get((first.sop_instance_uid, shadow)) != first.md5:
            yield Found(job, series, first, is_shadow=True)

    def _of_the_first(self, job: Job) -> Returned | None:
        """Our own outline, as the other one of a comparison."""
        instance = job.rtstruct
        livers = [one for one in rois_of(self._orthanc, instance) if one.name != LOOK_HERE]
        if not livers:
            return None
        md5, uid = stored_md5(self._orthanc, instance), self._text(instance, "0008-0018")
        return Returned(instance, uid, md5, Kind.RTSTRUCT, livers[0].name)

    def _segmented(self, series_id: str) -> tuple[Job, Series] | None:
        """The job whose outline stands, of the slices as they are now."""
        record = self._ledger.read_record(series_id)
        job = record.job if record else None
        if not job or job.outcome is not Outcome.SEGMENTED or not job.result or not job.model:
            return None
        if self._longest and job.completed and datetime.now(UTC) - job.completed > self._longest:
            return None
        series = image_series(self._orthanc, self._orthanc.series(series_id))
        stands = self._orthanc.has_instance(job.rtstruct)
        return (job, series) if stands and is_source(self._orthanc, job, series) else None

    def _candidates(self, series: Series) -> Iterator[tuple[Kind, str]]:
        for instance in rtstructs_beside(self._orthanc, series, None):
            yield Kind.RTSTRUCT, instance
        for one in self._orthanc.get(f"/studies/{series.study}/series"):
            if one["MainDicomTags"].get("Modality") == Kind.SEG:
                for instance in one["Instances"]:
                    yield Kind.SEG, instance

    def _is_written_by_us(self, instance: str, series: Series) -> bool:
        reviews = self._ledger.read_reviews(series.id)
        return is_ours(self._orthanc, instance) or instance in [
            find_approved(self._orthanc, one, series.study) for one in reviews
        ]

    def _liver_in(self, kind: Kind, instance: str) -> _Drawn | None:
        livers = self._rois(instance) if kind is Kind.RTSTRUCT else self._segments(instance)
        return min(livers, key=lambda one: one.roi != self._roi_name, default=None)

    def _rois(self, instance: str) -> list[_Drawn]:
        rois = [one for one in rois_of(self._orthanc, instance) if self._is_liver(one.name)]
        return [_of_roi(one) for one in rois]

    def _segments(self, instance: str) -> list[_Drawn]:
        tags = self._orthanc.get(f"/instances/{instance}/simplified-tags")
        referenced = items_in(tags, "ReferencedSeriesSequence")
        return [
            _Drawn(
                roi=text_in(one, "SegmentLabel"),
                frame=text_in(tags, "FrameOfReferenceUID"),
                series_uids=tuple(text_in(each, "SeriesInstanceUID") for each in referenced),
                approval="",
                drawn_at=text_in(tags, "ContentDate") + text_in(tags, "ContentTime"),
                generation=text_in(one, "SegmentAlgorithmType"),
            )
            for one in items_in(tags, "SegmentSequence")
            if self._is_liver(text_in(one, "SegmentLabel")) or _is_coded_liver(one)
        ]

    def _is_liver(self, name: str) -> bool:
        return name.casefold() in (_LIVER, self._roi_name.casefold())

    def _is_drawn_on(self, drawn: _Drawn, series: Series) -> bool:
        if drawn.series_uids:
            uid = series.tags.get("SeriesInstanceUID")
            return uid in drawn.series_uids and drawn.frame == self._frame(series)
        # A phase of the same study has the same frame, and another liver in it.
        study = self._orthanc.get(f"/studies/{series.study}")
        others = [one for one in study["Series"] if one != series.id]
        return drawn.frame == self._frame(series) and not any(map(self._ledger.read_record, others))

    def _frame(self, series: Series) -> str:
        return self._text(series.instances[0], "0020-0052")

    def _sender(self, instance: str) -> tuple[str, str]:
        """The user or the AE title, and the way on which it came, as far as Orthanc knows."""
        path = f"/instances/{instance}/metadata"
        there = set(self._orthanc.get(path))

        def read(name: str) -> str:
            if name not in there:
                return ""
            try:
                text = self._orthanc.get_bytes(f"{path}/{name}").decode(errors="replace")
            except Missing:
                return ""
            return "".join(filter(str.isprintable, text)).strip()[:_MOST_CHARS]

        return read("HttpUsername") or read("RemoteAET"), read("Origin")

    def _text(self, instance: str, tag: str) -> str:
        """One attribute; empty where it is not there."""
        try:
            value = self._orthanc.get_bytes(f"/instances/{instance}/content/{tag}")
        except Missing:
            return ""
        return value.strip(b" \0").decode(errors="replace")


def _of_roi(roi: Roi) -> _Drawn:
    return _Drawn(roi.name, roi.frame, roi.series, roi.approval, roi.drawn_at, roi.generation)


def _is_coded_liver(segment: dict[str, Any]) -> bool:
    types = items_in(segment, "SegmentedPropertyTypeCodeSequence")
    return any(text_in(one, "CodeValue") in _LIVER_CODES for one in types)
