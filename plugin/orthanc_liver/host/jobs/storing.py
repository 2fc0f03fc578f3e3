"""Results go into the study of their CT, with the picture: all that was written, or nothing.

An object that could not be written is not among them, and the report has a warning of it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_liver import SOFTWARE
from orthanc_liver.engine.protocol import MODALITIES, Kind
from orthanc_liver.host.errors import StoredElsewhere
from orthanc_liver.host.jobs.records import unmark_made_again, write_preview, write_unsure
from orthanc_liver.host.server.api import BadFile, Missing, Orthanc, OrthancError, Series

_MEDIA_STORAGE_SOP_INSTANCE_UID = 3  # in group 2, which every DICOM file begins with
_GROUP_2_AT = 132
_LONG = (b"OB", b"UN")
# What differs each time that the same object is written.
_OF_THE_WRITING = {
    *(
        f"{what}{of}"
        for what in ("InstanceCreation", "Series", "Content", "StructureSet")
        for of in ("Date", "Time")
    ),
    *("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    *("ContributingEquipmentSequence", "DimensionOrganizationSequence", "DimensionIndexSequence"),
}


@dataclass(frozen=True)
class Pictures:
    """What is left on the series for the pages to show; unsure: contours, empty where none are."""

    preview_png: bytes = b""
    unsure: bytes = b""


def sop_instance_uid(name: str, content: bytes) -> str:
    """What a DICOM file says of itself before its dataset; StoredElsewhere where it is none."""
    at = _GROUP_2_AT
    try:
        while content[at : at + 2] == b"\2\0":
            element, vr, length = struct.unpack_from("<H2sH", content, at + 2)
            at += 8
            if vr in _LONG:
                [length] = struct.unpack_from("<I", content, at)
                at += 4
            [value] = struct.unpack_from(f"{length}s", content, at)
            if element == _MEDIA_STORAGE_SOP_INSTANCE_UID:
                return bytes(value).rstrip(b"\0 ").decode("ascii")
            at += length
    except (struct.error, UnicodeDecodeError):
        pass
    raise StoredElsewhere(f"the {name} is not a DICOM file")


def store_beside(
    orthanc: Orthanc,
    series: Series,
    objects: Sequence[tuple[str, bytes]],
    pictures: Pictures | None = None,
) -> list[dict[str, Any]]:
    """Store named DICOM files; return each one's name, Orthanc ids and SOP Instance UID.

    What lies there under such a UID stays and is not stored again; where it is not what was to be
    stored, "DiffersIn" names the attributes, pixels not compared.
    Raises StoredElsewhere, Missing where the CT was deleted meanwhile, or OrthancError; what was
    new in Orthanc is then gone again.
    """
    new: list[str] = []
    try:
        orthanc.series(series.id)
        kept = [_stored(orthanc, series, name, content, new) for name, content in objects]
        if pictures:
            _leave(orthanc, series, pictures)
        orthanc.series(series.id)
    except (StoredElsewhere, OrthancError):
        for instance in new:
            orthanc.delete(f"/instances/{instance}")
        raise
    return kept


def _stored(
    orthanc: Orthanc, series: Series, name: str, content: bytes, new: list[str]
) -> dict[str, Any]:
    uid = sop_instance_uid(name, content)
    kept: dict[str, Any] = {"Kind": str(name), "SopInstanceUid": uid}
    before = orthanc.instances_with(uid)
    ours = [one for one in before if is_result_in(orthanc, one, series.study)]
    if ours:
        # With OverwriteInstances it would be replaced, which drops the notes on it.
        instance, parent = ours[0], orthanc.get(f"/instances/{ours[0]}")["ParentSeries"]
        unmark_made_again(orthanc, instance)
        if differing := _differing(orthanc, instance, content):
            kept["DiffersIn"] = differing
            orthanc.log_error(
                f"instance {instance} stays, but is not the {name} that was written under its UID "
                f"now: it differs in {', '.join(differing)}"
            )
    else:
        stored: dict[str, Any] = orthanc.post("/instances", content)
        instance, parent = stored["ID"], stored["ParentSeries"]
        if stored["Status"] == "Success" and instance not in before:
            new.append(instance)
        if stored["ParentStudy"] != series.study:
            raise StoredElsewhere(f"the {name} does not belong to the study of its CT")
    return {**kept, "Instance": instance, "Series": parent}


def _differing(orthanc: Orthanc, instance: str, content: bytes) -> list[str]:
    """The keywords of attributes in which what lies there is not what was written now."""
    try:
        there = orthanc.attributes(orthanc.dicom_file(instance))
    except BadFile:
        return ["all: its file cannot be read"]
    ours = orthanc.attributes(content)
    return [
        name
        for name in sorted({*there, *ours} - _OF_THE_WRITING)
        if there.get(name) != ours.get(name)
    ]


def is_result_in(orthanc: Orthanc, instance: str, study: str) -> bool:
    """Whether it may be one of ours: whatever a note names, nothing else is deleted or sent."""
    try:
        series = orthanc.get(f"/instances/{instance}/series")
    except Missing:
        return False
    return may_be_ours(series["MainDicomTags"]) and bool(series["ParentStudy"] == study)


def may_be_ours(tags: Mapping[str, str]) -> bool:
    """Whether a series with these tags may hold results; pictures and documents are also many
    others', so of these the manufacturer decides."""
    modality = tags.get("Modality")
    if modality in (MODALITIES[Kind.SC], MODALITIES[Kind.PDF]):
        return tags.get("Manufacturer") == SOFTWARE
    return modality in MODALITIES.values()


def _leave(orthanc: Orthanc, series: Series, pictures: Pictures) -> None:
    try:
        if pictures.preview_png:
            write_preview(orthanc, series.id, pictures.preview_png)
        write_unsure(orthanc, series.id, pictures.unsure)
    except Missing:
        raise
    except OrthancError as error:
        # The result is stored: for want of a picture it is not worth doing all again.
        orthanc.log_error(f"no preview of series {series.id}: {error}")
