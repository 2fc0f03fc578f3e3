"""What became of our results where Orthanc copied, anonymized, split or merged their study.

Orthanc gives a copy UIDs of its own. Where it anonymizes, references follow; where it modifies or
merges, a copied result goes on naming the slices of the original (1.10). Where it moves the slices
alone, the result stays behind, and nothing that arrives tells of it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from orthanc_liver import SOFTWARE
from orthanc_liver.engine.protocol import MODALITIES, Kind
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import mark_elsewhere, tell_of_record, unmark_superseded
from orthanc_liver.host.jobs.storing import is_result_in, may_be_ours
from orthanc_liver.host.server.api import Missing, Orthanc, Series

_MADE_BY_ORTHANC = {"AnonymizedFrom", "ModifiedFrom"}
_OUR_UIDS = "2.25."  # never a copy's


def is_outlined_copy(orthanc: Orthanc, series: Series) -> bool:
    """Whether Orthanc made the series as a copy, and our outline of these very slices with it.

    Copies of ours in its study that belong to other slices are marked.
    """
    notes = set(orthanc.get(f"/series/{series.id}/metadata"))
    if not notes & _MADE_BY_ORTHANC or tell_of_record(notes):
        return False
    return series.id in _outlined(orthanc, series.study)


def look_at_result(orthanc: Orthanc, series: Series) -> None:
    """Mark what a series holds where it is a copy of a result of ours without its slices."""
    if not may_be_ours(series.tags):
        return
    first = series.instances[0]
    tags = orthanc.get(f"/instances/{first}")["MainDicomTags"]
    if not tags["SOPInstanceUID"].startswith(_OUR_UIDS) and is_ours(orthanc, first):
        _outlined(orthanc, series.study)


def mark_left_behind(orthanc: Orthanc, job: Job) -> None:
    """Mark the result of a job whose series was deleted, unless it came again or went with it."""
    with contextlib.suppress(Missing):
        orthanc.series(job.series)
        return
    for instance in job.result_instances:
        if is_result_in(orthanc, instance, job.study):
            _mark(orthanc, instance, is_here=False)


def _outlined(orthanc: Orthanc, study: str) -> set[str]:
    """The study's series that an RTSTRUCT of ours was made of, without a slice left out; copies of
    ours are marked or not."""
    beside = orthanc.get(f"/studies/{study}/series")
    ids = {one["MainDicomTags"].get("SeriesInstanceUID"): one["ID"] for one in beside}

    @cache
    def slices(series_id: str) -> dict[str, str]:
        """How each image lies."""
        images = [one["MainDicomTags"] for one in orthanc.get(f"/series/{series_id}/instances")]
        return {one["SOPInstanceUID"]: _directions(one) for one in images}

    outlined = set()
    for modality, instance in _results(beside):
        if not is_ours(orthanc, instance):
            continue
        tags = orthanc.get(f"/instances/{instance}/simplified-tags")
        named = {ids[uid]: images for uid, images in _images_named(tags).items() if uid in ids}
        here = {one for one, images in named.items() if images <= slices(one).keys()}
        if modality == MODALITIES[Kind.RTSTRUCT] and not _holds_parts(tags):
            outlined |= {one for one in here if _are_whole(named[one], slices(one))}
        if not str(tags.get("SOPInstanceUID")).startswith(_OUR_UIDS):
            _mark(orthanc, instance, is_here=bool(here))
    return outlined


def _holds_parts(tags: dict[str, Any]) -> bool:
    """Whether it is what a person cut an outline into, and not the outline."""
    rois = tags.get("StructureSetROISequence")
    return isinstance(rois, list) and any(
        one.get("ROIGenerationAlgorithm") == "SEMIAUTOMATIC" for one in rois
    )


def _are_whole(named: set[str], lying: Mapping[str, str]) -> bool:
    """Whether no image is left out but such as lie across those named, as scout views do."""
    stack = {lying[uid] for uid in named}
    return all(uid in named or directions not in stack for uid, directions in lying.items())


def _directions(tags: Mapping[str, str]) -> str:
    """One stack's cosines are written alike but for their last digits."""
    text = tags.get("ImageOrientationPatient", "")
    numbers = re.findall(r"-?\d*\.?\d+(?:[eE][-+]?\d+)?", text)
    return " ".join(f"{round(float(one), 2) + 0:g}" for one in numbers)


def _results(beside: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Modality and Orthanc's id of what may be ours."""
    for series in beside:
        tags = series["MainDicomTags"]
        if may_be_ours(tags):
            for instance in series["Instances"]:
                yield tags["Modality"], instance


def is_ours(orthanc: Orthanc, instance: str) -> bool:
    """Whether we wrote it, or it is a copy of what we wrote: the copy keeps who made it."""
    try:
        return orthanc.get_bytes(f"/instances/{instance}/content/0008-0070").strip(b" \0") == (
            SOFTWARE.encode()
        )
    except Missing:
        return False


def _images_named(tags: dict[str, Any]) -> dict[str, set[str]]:
    """The UIDs of the instances that an object refers to, by series; where it names an instance
    without a series, that is one of these again."""
    found: dict[str, set[str]] = {}

    def look(item: dict[str, Any], series: str) -> None:
        for keyword, value in item.items():
            if isinstance(value, list):
                for nested in value:
                    look(nested, str(nested.get("SeriesInstanceUID") or series))
            elif keyword == "ReferencedSOPInstanceUID" and series and value:
                found.setdefault(series, set()).add(str(value))

    look(tags, "")
    return found


def _mark(orthanc: Orthanc, instance: str, *, is_here: bool) -> None:
    if is_here:
        unmark_superseded(orthanc, instance)  # its slices came after it
    else:
        mark_elsewhere(orthanc, instance)
        orthanc.log(f"instance {instance} is a result whose slices are not in its study: marked")
