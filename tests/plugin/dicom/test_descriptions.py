"""What a result is called: after its CT, within DICOM's lengths, in letters that can be written."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest

from liver_unet.grade import Doubt, Grade
from orthanc_liver.dicom.descriptions import (
    can_be_written,
    series_description,
    structure_set_description,
    structure_set_label,
)
from orthanc_liver.dicom.result_objects import roi_style
from orthanc_liver.engine.protocol import JobSettings, Kind
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.threshold_engine import on_cpu, with_liver

CREATED = datetime(2024, 2, 29, 23, 58, 7, tzinfo=UTC)

ORIGIN = "Outlined by a machine."


def header_of(
    number: int | None = 3, description: str | bytes | list[str] | None = "PORTAL VENOUS"
) -> pydicom.Dataset:
    header = pydicom.Dataset()
    if number is not None:
        header.SeriesNumber = number
    if isinstance(description, bytes):
        element = pydicom.DataElement(0x0008103E, "LO", description, already_converted=True)
        header.add(element)
    elif description is not None:
        header.SeriesDescription = description
    return header


@pytest.mark.parametrize(
    ("header", "described", "label"),
    [
        (header_of(), "Liver auto: S3 PORTAL VENOUS", "Liver S3 PORTAL"),
        (header_of(None), "Liver auto: PORTAL VENOUS", "Liver PORTAL VEN"),
        (header_of(0, None), "Liver auto: S0", "Liver S0"),
        (header_of(None, ""), "Liver auto: CT", "Liver CT"),
        (header_of(7, "  Bauch  venös\n"), "Liver auto: S7 Bauch venös", "Liver S7 Bauch v"),
        (header_of(7, ["one", "two"]), "Liver auto: S7 one two", "Liver S7 one two"),
        (header_of(7, b"Le\xb3er"), "Liver auto: S7 Le?er", "Liver S7 Le?er"),
        (header_of(7, "x" * 64), "Liver auto: S7 " + "x" * 49, "Liver S7 xxxxxxx"),
        (header_of(2147483647), "Liver auto: S2147483647 PORTAL VENOUS", "Liver S214748364"),
    ],
    ids=str,
)
def test_series_and_label_name_the_ct(header: pydicom.Dataset, described: str, label: str) -> None:
    assert series_description("Liver auto: {source}", header) == described
    assert structure_set_label("Liver", header) == label
    assert len(described) <= 64
    assert len(label) <= 16


def test_the_words_around_the_ct_are_the_settings() -> None:
    long = header_of(3, "x" * 64)
    assert series_description("{source}, Leber", header_of()) == "S3 PORTAL VENOUS, Leber"
    assert series_description("{source}, Leber", long) == "S3 " + "x" * 54 + ", Leber"
    assert series_description("Leber", long) == "Leber"
    assert series_description("y" * 64 + "{source}", long) == "y" * 64
    assert structure_set_label("A liver with a long name", long) == "A liver wit S3 x"


def test_remarks_become_sentences_before_the_origin() -> None:
    told = structure_set_description(["liver touches the top", "Look at it."], ORIGIN)
    assert told == f"Liver touches the top. Look at it. {ORIGIN}"
    assert structure_set_description([], ORIGIN) == ORIGIN


def test_what_has_no_room_is_counted() -> None:
    told = structure_set_description(["a" * 500, "b" * 400, "c" * 300], ORIGIN)
    assert told == f"A{'a' * 499}. B{'b' * 399}. 1 more in the report. {ORIGIN}"
    told = structure_set_description(["a" * 2000, "b"], ORIGIN)
    assert told == f"2 remarks are in the report. {ORIGIN}"
    for length in range(980, 1030):
        assert len(structure_set_description(["d" * length, "e" * 40], ORIGIN)) <= 1024


@pytest.mark.parametrize(
    ("character_set", "text", "fits"),
    [
        ("ISO_IR 100", "venös", True),
        ("ISO_IR 100", "肝臓", False),
        ("ISO_IR 144", "Печень", True),
        (["", "ISO 2022 IR 87"], "肝臓", True),
        (["", "ISO 2022 IR 87"], "venös", False),
        ("ISO_IR 192", "肝臓", True),
        (None, "venös", False),
        (None, "venous", True),
        ("nonsense", "venös", False),
    ],
)
def test_letters_that_the_cts_character_set_has(
    character_set: str | list[str] | None, text: str, fits: bool
) -> None:
    header = pydicom.Dataset()
    if character_set:
        stated = pydicom.DataElement(0x00080005, "CS", character_set, already_converted=True)
        header.add(stated)
    assert can_be_written(["Liver", text], header) is fits


def segmented(description: str) -> Segmentation:
    slices = write_ct_series(with_liver())[11:]  # the liver is cut off below
    for one in slices:
        one.SpecificCharacterSet = "ISO_IR 100"
        one.SeriesNumber, one.SeriesDescription = 5, description
    return segment_series(
        [to_bytes(one) for one in slices],
        on_cpu(),
        JobSettings(minimum_slices=10, kinds=tuple(Kind)),
        created=CREATED,
        progress=lambda stage, fraction: None,
    )


def test_all_results_of_a_ct_are_named_alike_and_the_rtstruct_bears_the_warnings() -> None:
    found = segmented("VENÖS")
    written = {kind: pydicom.dcmread(BytesIO(one)) for kind, [one, *_] in found.objects.items()}
    assert {one.SeriesDescription for one in written.values()} == {"Liver auto: S5 VENÖS"}
    rtstruct = written[Kind.RTSTRUCT]
    assert rtstruct.SpecificCharacterSet == "ISO_IR 100"
    assert rtstruct.StructureSetLabel == "Liver S5 VENÖS"
    assert rtstruct.StructureSetName == "Liver auto: S5 VENÖS"
    assert str(rtstruct.SeriesNumber).startswith("5")
    warnings = found.report["warnings"]
    assert warnings
    for one in warnings:
        assert one[1:].rstrip(".") in rtstruct.StructureSetDescription


def test_another_description_of_the_ct_is_another_result() -> None:
    uids = [
        pydicom.dcmread(BytesIO(segmented(one).objects[Kind.RTSTRUCT][0])).SOPInstanceUID
        for one in ("VENOUS", "ARTERIAL")
    ]
    assert uids[0] != uids[1]


def test_the_setting_reaches_the_style() -> None:
    series = segmented("VENOUS").series
    style = roi_style(JobSettings(series_description="Leber, {source}"), series, None)
    assert style.series_description == "Leber, S5 VENOUS"


def test_a_doubtful_outline_says_so_where_its_series_is_listed() -> None:
    series = segmented("VENOUS").series
    settings = JobSettings(series_description="Leber, {source}")
    for grade in Grade:
        style = roi_style(settings, series, Doubt(grade, {}, (), ()))
        told = style.series_description == "DOUBTFUL: Leber, S5 VENOUS"
        assert told == (grade is Grade.DOUBTFUL)
    long = JobSettings(series_description="L" * 64)
    style = roi_style(long, series, Doubt(Grade.DOUBTFUL, {}, (), ()))
    assert style.series_description == "DOUBTFUL: " + "L" * 54
