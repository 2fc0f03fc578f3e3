"""What DICOM says of one series, asked of Orthanc only where a rule wants to know it."""

from __future__ import annotations

import contextlib
from functools import cached_property

from orthanc_liver.host.filter_conditions import MAIN_TAGS, ORIENTATION, SLICES
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.sirt.roi_volume import cross

_ORIENTATIONS = ("sagittal", "coronal", "axial")  # by the axis of the patient that they cut
# Of the slices' normal along that axis; a gantry is tilted by 30 degrees at the most.
_LEAST_ALONG = 0.8


class SeriesTags:
    """The attributes of a series; those that its study and itself do not tell are of one image."""

    def __init__(self, orthanc: Orthanc, series: Series) -> None:
        self.series = series
        self._orthanc = orthanc

    def value(self, name: str) -> str:
        """By keyword, by number as 0018,1210, or by a name of ours; empty where it is missing."""
        if name == SLICES:
            return str(len(self.series.instances))
        if name == ORIENTATION:
            return self._orientation
        if name in MAIN_TAGS:
            return self._of_index.get(name, "")
        return self._of_first_image.get(name.lower(), "")

    @cached_property
    def _of_index(self) -> dict[str, str]:
        return {**self._orthanc.study_tags(self.series), **self.series.tags}

    @cached_property
    def _of_first_image(self) -> dict[str, str]:
        tags = self._orthanc.get(f"/instances/{self.series.instances[0]}/tags")
        found = {}
        for number, tag in tags.items():
            if isinstance(tag["Value"], str):
                found[number.lower()] = found[tag["Name"].lower()] = tag["Value"]
        return found

    @cached_property
    def _orientation(self) -> str:
        name = "ImageOrientationPatient"
        text = self.value(name) or self._of_first_image.get(name.lower(), "")
        with contextlib.suppress(ValueError):
            a, b, c, d, e, f = map(float, text.split("\\"))
            normal = cross((a, b, c), (d, e, f))
            along = [abs(part) for part in normal]
            if max(along) >= _LEAST_ALONG:
                return _ORIENTATIONS[along.index(max(along))]
            return "oblique"
        return ""
