"""The cuts of a series, found by the note on each RTSTRUCT of parts in its study."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.records import mark_superseded, read_cut, unmark_superseded, write_cut
from orthanc_liver.host.jobs.storing import is_result_in
from orthanc_liver.host.review.cut import StoredCut, what_stands
from orthanc_liver.host.server.api import Missing, Orthanc


@dataclass(frozen=True)
class FoundCut:
    """instance, uid: of the parts' RTSTRUCT, in Orthanc and in DICOM."""

    instance: str
    uid: str
    cut: StoredCut


def cuts_of(orthanc: Orthanc, series_id: str, study: str) -> list[FoundCut]:
    """The oldest first."""
    found = []
    for one in orthanc.get(f"/studies/{study}/series"):
        if one["MainDicomTags"].get("Modality") != "RTSTRUCT":
            continue
        for instance in one["Instances"]:
            # Any client may have written the note, or deleted what bears it.
            with contextlib.suppress(Missing, NotOurs):
                cut = read_cut(orthanc, instance)
                if cut.series == series_id:
                    tags = orthanc.get(f"/instances/{instance}")["MainDicomTags"]
                    found.append(FoundCut(instance, tags["SOPInstanceUID"], cut))
    return sorted(found, key=lambda one: one.cut.time)


def standing_cuts(orthanc: Orthanc, series_id: str, study: str, outline: str) -> list[str]:
    """The instances of parts of this outline that nothing took the place of; outline: its UID."""
    return [
        one.instance
        for one in cuts_of(orthanc, series_id, study)
        if (one.cut.outline, one.cut.superseded_by) == (outline, "")
        and is_result_in(orthanc, one.instance, study)
    ]


def settle_cuts(orthanc: Orthanc, series_id: str, study: str, outline: str) -> list[str]:
    """Mark what no longer stands, never deleting it: it is a person's work. Twice does no harm.

    outline: the UID of the result that stands. Returns the instances that were set aside now.
    """
    found = cuts_of(orthanc, series_id, study)
    standing = what_stands([(one.uid, one.cut) for one in found], outline)
    set_aside = []
    for one in found:
        by = standing[one.uid]
        if by == one.cut.superseded_by or not is_result_in(orthanc, one.instance, study):
            continue
        with contextlib.suppress(Missing):
            write_cut(orthanc, one.instance, replace(one.cut, superseded_by=by))
            if by:
                mark_superseded(orthanc, one.instance, by=by)
                set_aside.append(one.instance)
            else:
                unmark_superseded(orthanc, one.instance)
    return set_aside
