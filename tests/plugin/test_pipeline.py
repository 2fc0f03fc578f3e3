"""The whole story with a network that needs no weights: which objects one job comes to."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest

from orthanc_liver.dicom import result_objects
from orthanc_liver.dicom.result_objects import BUILDERS, Made, Source
from orthanc_liver.engine.protocol import STAGES, JobSettings, Kind
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.threshold_engine import on_cpu, with_liver

CREATED = datetime(2024, 2, 29, 23, 58, 7, tzinfo=UTC)


def segmented(*kinds: Kind) -> Segmentation:
    settings = JobSettings(minimum_slices=10, roi_name="Leber", kinds=kinds)
    return segment_series(
        [to_bytes(one) for one in write_ct_series(with_liver())],
        on_cpu(),
        settings,
        created=CREATED,
        progress=lambda stage, fraction: None,
    )


def test_every_kind_has_a_builder_and_all_of_a_job_bear_one_time_model_and_name() -> None:
    assert set(BUILDERS) == set(Kind)
    found = segmented(*Kind)
    assert list(found.objects) == list(Kind)
    assert set(found.report["seconds"]) == set(STAGES)
    assert "reason" in found.report["lungs"]  # a body without any
    for kind, content in found.objects.items():
        written = pydicom.dcmread(BytesIO(content))
        assert written.Modality == kind
        prefix = "StructureSet" if kind is Kind.RTSTRUCT else "Content"
        assert written[f"{prefix}Date"].value == "20240229"
        assert written[f"{prefix}Time"].value == "235807"
        assert b"Leber" in content
        assert (b"b" * 64) in content


def test_only_what_is_asked_for_is_written_and_the_rtstruct_in_any_case() -> None:
    assert list(segmented().objects) == ["RTSTRUCT"]
    assert list(segmented(Kind.SR).objects) == ["RTSTRUCT", "SEG", "SR"]


def failing(source: Source, made: Made) -> pydicom.Dataset:
    raise AttributeError("the name of Secret^Patient")


def test_what_cannot_be_written_is_a_warning_beside_the_rtstruct(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.SEG: failing})
    found = segmented(*Kind)
    assert list(found.objects) == ["RTSTRUCT"]
    assert found.preview_png
    assert found.report["warnings"][-2:] == [
        "The SEG could not be written (AttributeError).",
        "The SR could not be written without the SEG.",
    ]
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.SR: failing})
    found = segmented(*Kind)
    assert list(found.objects) == ["RTSTRUCT", "SEG"]
    assert found.report["warnings"][-1] == "The SR could not be written (AttributeError)."


def test_without_an_rtstruct_there_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.RTSTRUCT: failing})
    with pytest.raises(AttributeError):
        segmented(*Kind)
