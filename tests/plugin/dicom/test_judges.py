"""What dciodvfy, plastimatch, dcmrtstruct2nii and pydicomrt make of our RTSTRUCT.

The bar: Dice >= 0.995 and volume within 0.5 % of our mask, in every orientation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from liver_unet.metrics import dice
from liver_unet.volume import Grid
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from tests.support import judges
from tests.support.ct_writer import to_bytes as ct_to_bytes
from tests.support.ct_writer import write_ct_series
from tests.support.phantom import Orientation, Phantom, abdomen, oriented
from tests.support.real_data import real_ct

_PROVENANCE = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
_POSITIONS = ("HFS", "FFS", "HFP", "FFP")


@dataclass(frozen=True, eq=False)
class Case:
    """A CT on disk, a mask on its grid, and the RTSTRUCT made from it."""

    ct_folder: Path
    slices: list[pydicom.FileDataset]
    grid: Grid
    mask: NDArray[np.bool_]
    rtstruct: Path


def _case(files: list[bytes], probability: NDArray[np.float32], folder: Path) -> Case:
    """probability: on the grid that read_ct_series makes of the files."""
    series = read_ct_series(files)
    slices = _in_order(series, files)
    ct_folder = folder / "ct"
    ct_folder.mkdir()
    for number, file in enumerate(files):
        (ct_folder / f"{number:04}.dcm").write_bytes(file)
    contours = trace_contours(probability, series.volume.grid)
    check_contours(contours, probability > 0.5, series.volume.grid)
    dataset = build_rtstruct(series, contours, _PROVENANCE, RoiStyle(), datetime(2025, 3, 4))
    rtstruct = folder / "rtstruct.dcm"
    rtstruct.write_bytes(to_bytes(dataset))
    return Case(ct_folder, slices, series.volume.grid, probability > 0.5, rtstruct)


def _in_order(series: CtSeries, files: list[bytes]) -> list[pydicom.FileDataset]:
    by_uid = {}
    for file in files:
        image = pydicom.dcmread(BytesIO(file), stop_before_pixels=True)
        by_uid[str(image.SOPInstanceUID)] = image
    return [by_uid[uid] for uid in series.sop_instance_uids]


def _blob(grid: Grid) -> NDArray[np.float32]:
    """A smooth liver-sized shape, lopsided, with a hole, an island in the hole and one outside."""
    middle = grid.to_mm((np.array(grid.shape) - 1) / 2)
    slices, rows, columns = np.ogrid[tuple(slice(n) for n in grid.shape)]
    x, y, z = (
        a * slices + b * rows + c * columns + np.float32(start - centre)
        for (a, b, c, start), centre in zip(grid.affine.astype(np.float32)[:3], middle, strict=True)
    )
    body = 1 - (x / 92) ** 2 - (y / 71) ** 2 - ((z + 0.2 * x) / 66) ** 2 + x * y / 20000
    hole = (np.hypot(x + 25, y - 14) - 17) / 60
    island = (6 - np.hypot(x + 22, y - 12)) / 60
    other = (11 - np.sqrt((x - 20) ** 2 + (y + 88) ** 2 + z**2)) / 60
    level = np.maximum(np.maximum(np.minimum(body, hole), np.minimum(body, island)), other)
    return np.asarray(1 / (1 + np.exp(-9 * level)), dtype=np.float32)


def _agree(judged: NDArray[np.bool_], ours: NDArray[np.bool_]) -> None:
    volume_ratio = judged.sum() / ours.sum()
    dsc = dice(judged, ours)
    assert dsc >= 0.995, f"DSC {dsc:.4f}, volume ratio {volume_ratio:.4f}"
    assert abs(volume_ratio - 1) <= 0.005


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return abdomen((30, 110, 140), (10, 2.9, 2.8))


def _phantom_case(
    phantom: Phantom, orientation: Orientation, folder: Path, *, blob: bool = False
) -> Case:
    stored = oriented(phantom, orientation)
    position = orientation if orientation in _POSITIONS else "HFS"
    slices = write_ct_series(stored.volume, patient_position=position)
    files = [ct_to_bytes(image) for image in slices]
    grid = read_ct_series(files).volume.grid
    if blob:
        return _case(files, _blob(grid), folder)
    in_order = _in_order(read_ct_series(files), files)
    number = {str(image.SOPInstanceUID): index for index, image in enumerate(slices)}
    liver = stored.liver[[number[str(image.SOPInstanceUID)] for image in in_order]]
    return _case(files, liver.astype(np.float32), folder)


def _every_judge_agrees(case: Case, tmp_path: Path) -> None:
    assert judges.dciodvfy_errors(case.rtstruct) == []
    _agree(judges.even_odd_mask(pydicom.dcmread(case.rtstruct), case.slices), case.mask)
    _agree(
        judges.plastimatch_mask(case.rtstruct, case.ct_folder, case.grid, tmp_path / "p"), case.mask
    )
    _agree(
        judges.dcmrtstruct2nii_mask(case.rtstruct, case.ct_folder, case.grid, tmp_path / "d"),
        case.mask,
    )


@pytest.mark.parametrize(
    "orientation",
    ["HFS", "FFS", "HFP", "FFP", "oblique", "reversed", "sagittal", "coronal"],
)
def test_phantom_in_every_orientation(
    phantom: Phantom, orientation: Orientation, tmp_path: Path
) -> None:
    case = _phantom_case(phantom, orientation, tmp_path)
    _every_judge_agrees(case, tmp_path)


@pytest.mark.parametrize("blob", [False, True], ids=["liver", "with holes"])
def test_tilted_phantom(phantom: Phantom, blob: bool, tmp_path: Path) -> None:
    """Readers that stack slices upright cannot be asked about a gantry tilt."""
    case = _phantom_case(phantom, "tilted", tmp_path, blob=blob)
    assert judges.dciodvfy_errors(case.rtstruct) == []
    _agree(judges.even_odd_mask(pydicom.dcmread(case.rtstruct), case.slices), case.mask)


@pytest.mark.parametrize("name", ["cort_liver", "cptac_c3l_00189"])
def test_real_series(name: str, tmp_path: Path) -> None:
    """A smooth shape with a hole and islands on the grids of scanners."""
    folder = real_ct("dicom", name)
    files = [path.read_bytes() for path in sorted(folder.glob("*.dcm"))]
    case = _case(files, _blob(read_ct_series(files).volume.grid), tmp_path)
    _every_judge_agrees(case, tmp_path)


def test_pydicomrt_opens_it(phantom: Phantom, tmp_path: Path) -> None:
    case = _phantom_case(phantom, "FFS", tmp_path, blob=True)
    verdict = judges.pydicomrt_verdict(case.rtstruct, case.ct_folder)
    written = pydicom.dcmread(case.rtstruct).ROIContourSequence[0].ContourSequence
    assert verdict["problems"] == []
    assert verdict["belongs"] is True
    assert verdict["contours"] == {"Liver": len(written)}
    assert verdict["voxels"]["Liver"] == pytest.approx(case.mask.sum(), rel=0.15)
