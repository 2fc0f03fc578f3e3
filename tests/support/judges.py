"""Other people's programs, asked what they make of our RTSTRUCT.

dciodvfy and plastimatch come from the distribution's packages, dcmrtstruct2nii and pydicomrt each
from a virtual environment of its own below JUDGES_VENV (tests/support/judges/*.txt say what is in
them). A judge that is not there skips the test, except in CI, where it fails it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from liver_unet.volume import Grid
from tests.support.patience import patience_s

_TIMEOUT_S = 60
_VENVS = Path(os.environ.get("JUDGES_VENV") or Path(__file__).parents[2] / ".venv-judges")

_PYDICOMRT = """
import json, sys
from pydicom import dcmread
from pydicomrt.rs import (calc_image_series_affine_mapping, check_rtstruct_iod, get_contours,
                          is_rtstruct_matching_series, rtstruct_to_masks)
from pydicomrt.utils.image_series_loader import load_sorted_image_series
rtstruct, series = dcmread(sys.argv[1]), load_sorted_image_series(sys.argv[2])
rois = get_contours(rtstruct)
masks = rtstruct_to_masks(rtstruct, *calc_image_series_affine_mapping(series))
print("verdict:" + json.dumps({
    "problems": check_rtstruct_iod(rtstruct)["content"],
    "belongs": is_rtstruct_matching_series(rtstruct, series),
    "contours": {roi["name"]: sum(len(image["contours"]) for image in roi["dcm_contour"].values())
                 for roi in rois.values()},
    "voxels": {name: int(roi["mask_volume"].sum()) for name, roi in masks.items()},
}))
"""


def dciodvfy_errors(file: Path) -> list[str]:
    """Return dciodvfy's error lines."""
    judged = _run([program("dciodvfy"), str(file)])
    lines = (judged.stdout + judged.stderr).splitlines()
    known = ("RTStructureSet", "Segmentation", "ComprehensiveSR", "SCImage", "EncapsulatedPDF")
    assert any(kind in line for kind in known for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def plastimatch_mask(rtstruct: Path, ct_folder: Path, grid: Grid, work: Path) -> NDArray[np.bool_]:
    """Return the only ROI as plastimatch rasterises it, brought to grid."""
    command = [program("plastimatch"), "convert", "--input", str(rtstruct)]
    command += ["--referenced-ct", str(ct_folder), "--output-prefix", str(work)]
    succeed([*command, "--prefix-format", "mha"])
    return _brought_to(grid, _only(work, "*.mha"))


def dcmrtstruct2nii_mask(
    rtstruct: Path, ct_folder: Path, grid: Grid, work: Path
) -> NDArray[np.bool_]:
    """Return the only ROI as dcmrtstruct2nii rasterises it, brought to grid."""
    command = [in_venv("dcmrtstruct2nii", "dcmrtstruct2nii"), "convert", "-r", str(rtstruct)]
    succeed([*command, "-d", str(ct_folder), "-o", str(work), "-c", "false"])
    return _brought_to(grid, _only(work, "mask_*.nii.gz"))


def pydicomrt_verdict(rtstruct: Path, ct_folder: Path) -> dict[str, Any]:
    """Open the file with pydicomrt. It dilates: good for opening, not for volumes."""
    python = in_venv("pydicomrt", "python")
    output = succeed([python, "-c", _PYDICOMRT, str(rtstruct), str(ct_folder)])
    verdict = next(line for line in output.splitlines() if line.startswith("verdict:"))
    return dict(json.loads(verdict.removeprefix("verdict:")))


def even_odd_mask(
    rtstruct: pydicom.Dataset, slices: list[pydicom.FileDataset]
) -> NDArray[np.bool_]:
    """Rasterise on each contour's own instance, by scikit-image: right for tilted stacks too."""
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), dtype=bool)
    index = {image.SOPInstanceUID: number for number, image in enumerate(slices)}
    for contour in rtstruct.ROIContourSequence[0].ContourSequence:
        number = index[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        mask[number] ^= polygon_mask(_row_column(points, slices[number]), mask.shape[1:])
    return mask


def polygon_mask(row_column: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Rasterise one polygon by the even-odd rule, by scikit-image."""
    return np.asarray(polygon2mask(shape, row_column))  # type: ignore[no-untyped-call]


def _row_column(points: NDArray[np.float64], image: pydicom.Dataset) -> NDArray[np.float64]:
    along_row, down_column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    offset = points - np.array(image.ImagePositionPatient, dtype=float)
    assert np.abs(offset @ np.cross(along_row, down_column)).max() < 1e-3
    between_rows, between_columns = (float(mm) for mm in image.PixelSpacing)
    return np.column_stack(
        [offset @ down_column / between_rows, offset @ along_row / between_columns]
    )


def _brought_to(grid: Grid, image_file: Path) -> NDArray[np.bool_]:
    """Look up grid's voxel centres in a file whose voxels may run along other axes."""
    image: Any = SimpleITK.ReadImage(str(image_file))  # its methods have no types
    values = SimpleITK.GetArrayFromImage(image)
    to_mm = np.eye(4)
    to_mm[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    to_mm[:3, 3] = image.GetOrigin()
    to_theirs = (np.linalg.inv(to_mm) @ grid.affine).astype(np.float32)
    slices, rows, columns = np.ogrid[tuple(slice(n) for n in grid.shape)]
    inside, index = np.ones(grid.shape, dtype=bool), []
    for (per_slice, per_row, per_column, start), size in zip(
        to_theirs[:3], image.GetSize(), strict=True
    ):
        place = np.rint(per_slice * slices + (per_row * rows + (per_column * columns + start)))
        inside &= (place >= 0) & (place < size)
        index.append(place.astype(np.intp).clip(0, size - 1))
    x, y, z = index
    return np.asarray((values[z, y, x] > 0) & inside)


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def program(name: str) -> str:
    """Where a program of the distribution is; the test skips where it is not."""
    return shutil.which(name) or _absent(
        name, "install the packages plastimatch, dicom3tools and dcmtk"
    )


def in_venv(venv: str, program: str) -> str:
    """Where a program of a virtual environment is; the test skips where it is not."""
    path = _VENVS / venv / "bin" / program
    return str(path) if path.exists() else _absent(venv, "`make judges` installs it")


def _absent(judge: str, remedy: str) -> NoReturn:
    reason = f"the judge {judge} is not installed: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience_s(_TIMEOUT_S), check=False
    )


def succeed(command: list[str]) -> str:
    """Run a command that must succeed; what it prints."""
    done = _run(command)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout
