"""One case: a liver missed counts, a tilted CT is measured, a full GPU costs nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from liver_unet.nifti import write_nifti
from liver_unet.volume import Volume
from orthanc_liver.dicom.roi_choice import OutlineRefused
from orthanc_liver.evaluation.case_list import ListedCase
from orthanc_liver.evaluation.html_report import table
from orthanc_liver.evaluation.measure import measure_case
from orthanc_liver.sirt.inputs import ActivityRefused
from tests.support.case_writer import write_ct_folder, write_rtstruct
from tests.support.phantom import oriented, small_abdomen
from tests.support.threshold_engine import (
    TroubledSegmenter,
    on_cpu,
    on_troubled_gpu,
    with_liver,
)

BOTH = {"network": "network", "atlas": "other"}
DISTANCES = ("mda_mm", "hd95_mm", "surface_dice_2mm")


def case(folder: Path, volume: Volume, liver: np.ndarray, other: np.ndarray) -> ListedCase:
    """A case of three NIfTI files."""
    write_nifti(folder / "ct.nii", volume.hu.astype(np.int16), volume.grid)
    paths = [folder / "reference.nii", folder / "other.nii"]
    for path, mask in zip(paths, (liver, other), strict=True):
        write_nifti(path, mask.astype(np.uint8), volume.grid)
    return ListedCase("one", folder / "ct.nii", paths[0], other=paths[1])


def dark_liver() -> tuple[Volume, np.ndarray]:
    """A CT whose liver the threshold network does not know for one."""
    volume = with_liver()
    liver = volume.hu == 110
    return Volume(np.where(liver, np.int16(30), volume.hu), volume.grid), liver


def test_a_liver_that_the_network_misses_counts(tmp_path: Path) -> None:
    volume, liver = dark_liver()
    shifted = np.roll(liver, 2, axis=2)
    one = case(tmp_path, volume, liver, shifted)
    found = measure_case(one, on_cpu(), tmp_path / "out")
    missed, other = found["network"], found["other"]
    assert (missed["dsc"], missed["rv"], missed["liver_ml"]) == (0, 0, 0)
    assert missed["difference_ml"] == -found["reference_ml"]
    assert all(missed[name] is None for name in DISTANCES)
    assert other["dsc"] == pytest.approx((liver & shifted).sum() / liver.sum())
    assert other["mda_mm"] > 0
    assert found["warnings"] == ["The network found no liver: nothing that could be one was seen."]
    assert (tmp_path / "out" / "overlay.png").stat().st_size > 0


def test_a_liver_that_the_other_misses_counts_as_well(tmp_path: Path) -> None:
    volume = with_liver()
    liver = volume.hu == 110
    found = measure_case(case(tmp_path, volume, liver, liver & False), on_cpu(), tmp_path / "out")
    assert found["other"]["dsc"] == 0
    assert found["other"]["mda_mm"] is None
    assert found["network"]["dsc"] > 0.8
    other = tmp_path / "other.nii"
    assert found["warnings"] == [f"The other contour: {other} outlines no voxel of its CT."]


def test_a_reference_that_is_no_liver_is_refused(tmp_path: Path) -> None:
    volume = with_liver()
    liver = volume.hu == 110
    few, all_but_air = liver & False, np.ones_like(liver)
    few[11, 20, 30:32] = True
    for number, (mask, sentence) in enumerate(
        ((few, f"outlines {2 * volume.grid.voxel_ml:.2f} mL"), (all_but_air, "100 % of the image"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(OutlineRefused, match=rf"reference\.nii .*{sentence}.* no liver"):
            measure_case(case(folder, volume, mask, liver), None, folder)


def test_what_was_taken_and_what_was_left_out_is_told(tmp_path: Path) -> None:
    phantom = small_abdomen()
    slices = write_ct_folder(tmp_path / "ct", phantom, "told")
    path = tmp_path / "ct" / "rs.dcm"  # a folder that is read as both
    write_rtstruct(path, slices, phantom.liver, "Leber")
    dataset = pydicom.dcmread(path)
    [outlined] = dataset.ROIContourSequence
    short = copy.deepcopy(outlined.ContourSequence[0])
    short.ContourData, short.NumberOfContourPoints = short.ContourData[:3], 1
    outlined.ContourSequence.append(short)
    dataset.save_as(path)
    write_nifti(tmp_path / "other.nii", phantom.liver.astype(np.uint8), phantom.volume.grid)
    one = ListedCase("one", tmp_path / "ct", tmp_path / "ct", roi=("Liver", "Leber"))
    found = measure_case(replace(one, other=tmp_path / "other.nii"), None, tmp_path / "out")
    assert found["other"]["dsc"] == 1
    assert (found["reference_outline"], found["other_outline"]) == ("ROI 'Leber'", "the mask")
    assert found["warnings"] == ["The reference: 1 contours of one or two points were left out."]


def test_a_tilted_ct_is_measured_but_for_distances(tmp_path: Path) -> None:
    phantom = oriented(small_abdomen(), "tilted")
    shifted = np.roll(phantom.liver, 3, axis=1)
    one = case(tmp_path, phantom.volume, phantom.liver, shifted)
    found = measure_case(one, None, tmp_path / "out")
    both = (phantom.liver & shifted).sum()
    assert found["other"]["dsc"] == pytest.approx(both / phantom.liver.sum())
    assert found["other"]["rv"] == 1
    true_ml = phantom.liver.sum() * phantom.volume.grid.voxel_ml
    assert found["reference_ml"] == pytest.approx(true_ml, rel=1e-4)
    assert all(found["other"][name] is None for name in DISTANCES)
    lean, tilted = found["warnings"]
    assert "lean by 17 degrees" in lean
    assert tilted == "The CT is tilted: distances were not measured."


def test_a_gpu_without_room_leaves_the_case_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TroubledSegmenter, "trouble", "out of memory")
    full = on_troubled_gpu()
    volume = with_liver()
    one = case(tmp_path, volume, volume.hu == 110, volume.hu == 110)
    found = measure_case(one, full, tmp_path / "out")
    assert found["network"]["dsc"] > 0.8
    assert any("computed on the CPU" in warning for warning in found["warnings"])


def test_a_volume_found_that_contradicts_the_patient_is_a_bad_result_not_a_bad_case(
    tmp_path: Path,
) -> None:
    volume = with_liver()
    liver = volume.hu == 110
    part = liver & (np.arange(50) > 35)
    one = case(tmp_path, volume, liver, part)
    larger_ml = part.sum() * volume.grid.voxel_ml + 50
    patient = {"tumour_ml": larger_ml, "height_m": 1.75, "weight_kg": 70.0, "origin": "assumed"}
    found = measure_case(ListedCase(**(vars(one) | patient)), None, tmp_path / "out")
    assert found["other"]["ra_resin"] is None
    assert 0 < found["other"]["dsc"] < 0.6
    with pytest.raises(ActivityRefused):
        measure_case(
            ListedCase(**(vars(one) | patient | {"tumour_ml": 3000.0})), None, tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("header", "years"),
    [
        ({"PatientAge": "058Y"}, 58),
        ({"PatientAge": "030M", "PatientBirthDate": "19000101"}, 2.5),
        ({"PatientBirthDate": "19601224", "StudyDate": "20250103"}, 64.03),
        ({"PatientBirthDate": "", "StudyDate": "20250103"}, None),
        ({"PatientAge": "old"}, None),
    ],
)
def test_the_age_is_as_the_header_tells_it(
    header: dict[str, str], years: float | None, tmp_path: Path
) -> None:
    phantom = small_abdomen()
    write_ct_folder(tmp_path / "ct", phantom, "age")
    for path in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        with pydicom.config.disable_value_validation():
            for name, text in header.items():
                setattr(dataset, name, text)
        dataset.save_as(path)
    write_nifti(tmp_path / "liver.nii", phantom.liver.astype(np.uint8), phantom.volume.grid)
    one = ListedCase("one", tmp_path / "ct", tmp_path / "liver.nii", other=tmp_path / "liver.nii")
    assert measure_case(one, None, tmp_path / "out")["age_years"] == pytest.approx(years, abs=0.01)


def figures(dsc: float, mda_mm: float | None) -> dict[str, float | None]:
    """A result with this DSC and MDA."""
    volume_ml = 1500.0 * (dsc > 0)
    fields = ("surface_dice_2mm", "hd95_mm", "ra_resin", "difference_resin_mbq")
    others = ("difference_ml", "difference_percent", "ra_glass", "difference_glass_mbq")
    return {
        "liver_ml": volume_ml,
        "dsc": dsc,
        "mda_mm": mda_mm,
        "rv": volume_ml / 1500,
        **dict.fromkeys(fields),
        **dict.fromkeys(others, 0.0),
    }


def test_means_with_and_without_the_livers_missed() -> None:
    results = [
        {"network": figures(0.9, 2.0), "other": figures(0.8, 3.0)},
        {"network": figures(0.96, 1.0), "other": figures(0.7, 4.0)},
        {"network": figures(0.0, None), "other": figures(0.6, 5.0)},
    ]
    rows = {row.title: row for row in table(results, BOTH)}
    assert rows["DSC"].count == 3
    assert [cell.split(" ")[0] for cell in rows["DSC"].cells] == ["0.620", "0.700"]
    without = rows["DSC, without livers missed"]
    assert without.count == 2
    assert [cell.split(" ")[0] for cell in without.cells] == ["0.930", "0.750"]
    assert rows["MDA, mm"].count == 2
    assert [cell.split(" ")[0] for cell in rows["MDA, mm"].cells] == ["1.50", "3.50"]
    assert "MDA, mm, without livers missed" not in rows


def test_without_a_liver_missed_there_is_one_row_a_metric() -> None:
    rows = table([{"network": figures(0.9, 2.0), "other": figures(0.8, 3.0)}], BOTH)
    assert not [row for row in rows if "without" in row.title]
