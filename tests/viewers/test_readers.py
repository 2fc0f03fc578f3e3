"""What eight programs read from our RTSTRUCT, SEG and SR: the name, the place, the volume.

The bar is 0.5 % of our volume. What a program adds or leaves out by itself is allowed by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.dicom.segmentation import build_segmentation
from orthanc_liver.dicom.structured_report import build_report
from tests.support import readers
from tests.support.ct_writer import to_bytes as ct_to_bytes
from tests.support.ct_writer import write_ct_series
from tests.support.phantom import abdomen

# Pixels are square as on every scanner: rt-utils exchanges their sides.
SPACING_MM = (6.5, 1.9, 1.9)
VOXEL_ML = float(np.prod(SPACING_MM)) / 1000
STYLE = RoiStyle(name="Liver", colour=(0, 200, 83))
CLOSE = 0.005


@dataclass(frozen=True, eq=False)
class Study:
    """A folder with the CT and what a job stores of it, and the mask that all of it tells of."""

    folder: Path
    mask: NDArray[np.bool_]

    @property
    def ml(self) -> float:
        return float(self.mask.sum()) * VOXEL_ML


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    phantom = abdomen((44, 160, 200), SPACING_MM)
    files = [ct_to_bytes(one) for one in write_ct_series(phantom.volume)]
    (folder / "ct").mkdir()
    for number, file in enumerate(files):
        (folder / "ct" / f"{number:04}.dcm").write_bytes(file)
    series, mask = read_ct_series(files), phantom.liver
    made_by, now = Provenance("1.2.3", "liver-unet", "0123456789abcdef" * 4), datetime(2025, 3, 4)
    contours = trace_contours(mask.astype(np.float32), series.volume.grid)
    seg = build_segmentation(series, mask, made_by, STYLE, now)
    ml = float(mask.sum()) * VOXEL_ML
    for name, written in (
        ("rtstruct", build_rtstruct(series, contours, made_by, STYLE, now)),
        ("seg", seg),
        ("sr", build_report(series, seg, ml, None, made_by, STYLE, now)),
    ):
        (folder / f"{name}.dcm").write_bytes(to_bytes(written))
    return Study(folder, mask)


def test_pydicom_seg_reads_the_same_voxels(study: Study, tmp_path: Path) -> None:
    told = readers.ask("pydicom_seg", study.folder, tmp_path)
    assert told.name == "Liver"
    assert told.mask is not None
    np.testing.assert_array_equal(told.mask, study.mask)


@pytest.mark.parametrize("reader", ["rt_utils", "platipy", "dicomrttool"])
def test_the_same_voxels_and_no_more_than_a_rim_of_one(
    reader: str, study: Study, tmp_path: Path
) -> None:
    """They round points to voxels and then count the border in: 4 to 5 % here, all of it theirs."""
    told = readers.ask(reader, study.folder, tmp_path)
    in_plane = np.ones((1, 3, 3), dtype=bool)
    widest = ndimage.binary_dilation(study.mask, in_plane)
    narrowest = ndimage.binary_erosion(study.mask, in_plane)
    assert told.name in ("Liver", "liver")  # DicomRTTool asks for small letters
    assert told.mask is not None
    assert not (told.mask & ~widest).any()
    assert not (narrowest & ~told.mask).any()
    assert 1 - CLOSE <= told.mask.sum() / study.mask.sum() <= 1.06


def test_dicompyler_counts_half_of_the_first_and_the_last_slice(
    study: Study, tmp_path: Path
) -> None:
    told = readers.ask("dicompyler_core", study.folder, tmp_path)
    in_slices = study.mask.sum(axis=(1, 2))
    ends = in_slices[np.flatnonzero(in_slices)[[0, -1]]].sum()
    assert told.name == "Liver"
    assert told.ml == pytest.approx(study.ml - ends * VOXEL_ML / 2, rel=CLOSE)


def test_dcmqi_reads_the_segment(study: Study, tmp_path: Path) -> None:
    [segment] = readers.dcmqi_segments(study.folder / "seg.dcm", tmp_path)
    image = SimpleITK.ReadImage(str(tmp_path / "1.nrrd"))
    counted = int((SimpleITK.GetArrayFromImage(image) > 0).sum())
    assert counted * float(np.prod(image.GetSpacing())) / 1000 == pytest.approx(study.ml, rel=1e-6)
    assert segment["SegmentLabel"] == "Liver"
    assert segment["recommendedDisplayRGBValue"] == pytest.approx(STYLE.colour, abs=1)


def test_dcmqi_reads_the_report_and_finds_the_segment(study: Study, tmp_path: Path) -> None:
    report = readers.dcmqi_measurements(study.folder / "sr.dcm", tmp_path)
    [group] = report["Measurements"]
    [volume] = group["measurementItems"]
    seg = pydicom.dcmread(study.folder / "seg.dcm")
    assert volume["quantity"]["CodeMeaning"] == "Volume"
    assert float(volume["value"]) == pytest.approx(study.ml, rel=1e-6)
    assert group["segmentationSOPInstanceUID"] == seg.SOPInstanceUID
    assert group["TrackingUniqueIdentifier"] == seg.SegmentSequence[0].TrackingUID


def test_dcmtk_reads_the_report(study: Study) -> None:
    read = readers.dsrdump_volume_ml(study.folder / "sr.dcm")
    assert read == pytest.approx(study.ml, rel=1e-6)
