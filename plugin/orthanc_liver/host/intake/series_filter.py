"""Which series are segmented by themselves, and may be when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from orthanc_liver.host.filter_pattern import is_found
from orthanc_liver.host.server.api import Series
from orthanc_liver.host.settings import Settings


def why_not(series: Series, study_tags: Mapping[str, str], settings: Settings) -> str | None:
    """One sentence where the settings do not admit the series of a study, else None.

    Names tags and what the settings ask of them, never the tags' values.
    """
    if series.tags.get("Modality", "") != settings.modality:
        return f"the series is not of modality {settings.modality}"
    if len(series.instances) < settings.minimum_slices:
        return (
            f"the series has {len(series.instances)} instances, "
            f"fewer than MinimumSlices, {settings.minimum_slices}"
        )
    tags = {**study_tags, **series.tags}
    for tag, pattern in settings.filter.items():
        if not is_found(pattern, tags.get(tag, "")):
            return f"{tag} of the series does not match the filter {pattern!r}"
    return None
