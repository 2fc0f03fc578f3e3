"""The whole story with a network that needs no weights: which objects one job comes to."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from orthanc_liver.dicom import result_objects
from orthanc_liver.dicom.result_objects import BUILDERS, Made, Objects, Source
from orthanc_liver.dicom.roi_choice import RoiChoice
from orthanc_liver.engine.protocol import LOOK_HERE, MODALITIES, STAGES, JobSettings, Kind
from orthanc_liver.evaluation.outlines import read_contour
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.judges import dciodvfy_errors
from tests.support.threshold_engine import on_cpu, with_liver

CREATED = datetime(2024, 2, 29, 23, 58, 7, tzinfo=UTC)


def segmented(*kinds: Kind, unsure: bool = False, look_here: bool = False) -> Segmentation:
    settings = JobSettings(minimum_slices=10, roi_name="Leber", kinds=kinds, look_here=look_here)
    return segment_series(
        [to_bytes(one) for one in write_ct_series(with_liver(unsure=unsure))],
        on_cpu(),
        settings,
        created=CREATED,
        progress=lambda stage, fraction: None,
    )


def written_by(found: Segmentation) -> list[tuple[Kind, bytes]]:
    return [(kind, one) for kind, several in found.objects.items() for one in several]


def test_every_kind_has_a_builder_and_all_of_a_job_bear_one_time_model_and_name() -> None:
    assert set(BUILDERS) == set(Kind)
    found = segmented(*Kind)
    assert list(found.objects) == list(Kind)
    # There is no second look without a coarse network.
    assert set(found.report["seconds"]) == set(STAGES) - {"look again"}
    assert "reason" in found.report["lungs"]  # a body without any
    for kind, content in written_by(found):
        written = pydicom.dcmread(BytesIO(content))
        assert written.Modality == MODALITIES[kind]
        prefix = "StructureSet" if kind is Kind.RTSTRUCT else "Content"
        assert written[f"{prefix}Date"].value == "20240229"
        assert written[f"{prefix}Time"].value == "235807"
        assert b"Leber" in content
        assert (b"b" * 64) in content


def test_only_what_is_asked_for_is_written_and_the_rtstruct_in_any_case() -> None:
    assert list(segmented().objects) == ["RTSTRUCT"]
    assert list(segmented(Kind.SR).objects) == ["RTSTRUCT", "SEG", "SR"]


def test_where_to_look_is_an_roi_and_a_segment_of_its_own(tmp_path: Path) -> None:
    found = segmented(*Kind, unsure=True, look_here=True)
    [told] = found.report["look_at"]
    assert told["ml"] > 50
    for kind, content in written_by(found):
        (tmp_path / kind).write_bytes(content)
        assert dciodvfy_errors(tmp_path / kind) == []
    here = read_contour(tmp_path / Kind.RTSTRUCT, RoiChoice((LOOK_HERE,)), found.series)
    ml = np.count_nonzero(here.mask) * found.series.volume.grid.voxel_ml
    assert ml == pytest.approx(told["ml"], rel=0.2)
    x_mm = found.series.volume.grid.to_mm(np.argwhere(here.mask).astype(float))[:, 0]
    assert x_mm.mean() < 70  # 40 mm to the right of the middle of 50 columns of 4.4 mm
    segment = read_contour(tmp_path / Kind.SEG, RoiChoice((LOOK_HERE,)), found.series)
    np.testing.assert_array_equal(segment.mask, here.mask)
    assert found.liver is not None
    for kind in (Kind.RTSTRUCT, Kind.SEG):
        liver = read_contour(tmp_path / kind, RoiChoice(("Leber",)), found.series)
        np.testing.assert_array_equal(liver.mask, found.liver.mask_on_ct())


@pytest.mark.parametrize(("unsure", "look_here"), [(True, False), (False, True)])
def test_without_the_setting_or_a_doubt_there_is_one_roi(unsure: bool, look_here: bool) -> None:
    found = segmented(Kind.SEG, unsure=unsure, look_here=look_here)
    assert bool(found.unsure) is unsure
    assert LOOK_HERE.encode() not in b"".join(one for _, one in written_by(found))


def failing(source: Source, made: Made) -> Objects:
    raise AttributeError("the name of Secret^Patient")


def test_what_cannot_be_written_is_a_warning_beside_the_rtstruct(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.SEG: failing})
    found = segmented(*Kind)
    assert list(found.objects) == ["RTSTRUCT", "SC", "PDF"]
    assert found.preview_png
    assert found.report["warnings"][-2:] == [
        "The SEG could not be written (AttributeError).",
        "The SR could not be written without the SEG.",
    ]
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.SR: failing})
    found = segmented(*Kind)
    assert list(found.objects) == ["RTSTRUCT", "SEG", "SC", "PDF"]
    assert found.report["warnings"][-1] == "The SR could not be written (AttributeError)."


def test_without_an_rtstruct_there_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_objects, "BUILDERS", {**BUILDERS, Kind.RTSTRUCT: failing})
    with pytest.raises(AttributeError):
        segmented(*Kind)
