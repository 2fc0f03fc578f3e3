"""A series without the structure sets in it: some systems give an RTSTRUCT its CT's own
SeriesInstanceUID, and Orthanc files both as one series, named by what came first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orthanc_liver.host.server.api import Missing, Orthanc, Series

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def images_of(orthanc: Orthanc, series_id: str) -> list[dict[str, Any]]:
    """What Orthanc's index tells of each instance that is no structure set."""
    listed = orthanc.get(f"/series/{series_id}/instances")
    return [one for one in listed if not _is_structure_set(orthanc, one)]


def image_series(orthanc: Orthanc, series: Series) -> Series:
    """The series as its images alone would be; the same where there are no others, or no images.

    The index is asked for all instances at once, which takes a while: whoever needs to know where
    the images lie finds that in it.
    """
    if len(series.instances) < 2:
        return series
    listed = images_of(orthanc, series.id)
    series = replace(series, images=tuple(listed))
    images = {one["ID"] for one in listed}
    instances = tuple(one for one in series.instances if one in images)
    others = tuple(one for one in series.instances if one not in images)
    if not instances or not others:
        return series
    of_image = orthanc.get(f"/instances/{instances[0]}/simplified-tags")
    texts = {name: value for name, value in of_image.items() if isinstance(value, str)}
    tags = {**series.tags, **texts}
    return replace(series, instances=instances, structure_sets=others, tags=tags)


def _is_structure_set(orthanc: Orthanc, listed: dict[str, Any]) -> bool:
    """Only what lies nowhere is asked for its class."""
    if "ImagePositionPatient" in listed["MainDicomTags"]:
        return False
    try:
        sop_class = orthanc.get_bytes(f"/instances/{listed['ID']}/content/0008-0016")
    except Missing:
        return False
    return sop_class.strip(b" \0") == _STRUCTURE_SET.encode()
