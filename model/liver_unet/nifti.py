"""NIfTI files to and from our vocabulary: (slice, row, column) arrays and LPS millimetres."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from liver_unet.volume import Grid

# NIfTI stores (column, row, slice) in RAS millimetres.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSE_AXES = np.eye(4)[[2, 1, 0, 3]]
# The header's codes for metres, millimetres, micrometres; many writers say 0 and mean mm.
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_VOXEL_MM = (0.05, 50.0)
# A qform cannot hold the shear of a gantry tilt, up to 30 degrees, so an axis of it may point that
# much elsewhere and be that much longer or shorter than the sform's.
_SAME_DIRECTION = np.cos(np.deg2rad(45))
_SAME_LENGTH = 1.25
_CHUNK = 1 << 20


def read_nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Return the array (slice, row, column), scaled by the header, and its grid.

    Raises nibabel's ImageFileError for what is not a sound 3D NIfTI image in one certain place.
    """
    try:
        image = nib.load(path)
        if not isinstance(image, nib.nifti1.Nifti1Pair) or len(image.shape) != 3:
            raise ImageFileError("it has another format or number of dimensions")
        _verify_check_sums(image)
        affine = _affine_mm(image)
        array = np.asarray(image.dataobj, dtype=np.float32)
        array = np.ascontiguousarray(array.transpose(2, 1, 0))
        z, y, x = array.shape
        return array, Grid((z, y, x), _RAS_TO_LPS @ affine @ _REVERSE_AXES)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        why = " ".join(str(error).split())
        raise ImageFileError(f"{path} cannot be read as a 3D NIfTI image: {why}") from error


def _verify_check_sums(image: nib.nifti1.Nifti1Pair) -> None:
    """Read compressed files to their end, where gzip compares; nibabel stops before it."""
    for part in image.file_map.values():
        name = str(part.filename)
        if name.lower().endswith(".gz"):
            with gzip.open(name) as file:
                while file.read(_CHUNK):
                    pass


def _affine_mm(image: nib.nifti1.Nifti1Pair) -> NDArray[np.float64]:
    """The header's one word on where the voxels are, in mm."""
    sform, qform = (image.get_sform(coded=True)[0], image.get_qform(coded=True)[0])
    if sform is None and qform is None:
        raise ImageFileError(
            "its header says nowhere how its voxels lie (neither sform nor qform); convert it "
            "again from its source"
        )
    if sform is not None and qform is not None:
        _check_agreement(sform, qform)
    unit = int(image.header["xyzt_units"]) % 8
    affine = np.array(qform if sform is None else sform, dtype=np.float64)
    affine[:3] *= _UNIT_MM.get(unit, np.nan)
    sizes_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (_VOXEL_MM[0] <= sizes_mm.min() and sizes_mm.max() <= _VOXEL_MM[1]):
        raise ImageFileError(
            f"its voxels would measure {' x '.join(f'{size:.4g}' for size in sizes_mm)} mm; check "
            "the unit and the sizes in its header"
        )
    return affine


def _check_agreement(sform: NDArray[np.float64], qform: NDArray[np.float64]) -> None:
    lengths, others = (np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (sform[:3, :3] * qform[:3, :3]).sum(axis=0) / (lengths * others)
        ratios = np.maximum(lengths / others, others / lengths)
    if not (cosines.min() >= _SAME_DIRECTION and ratios.max() <= _SAME_LENGTH):
        raise ImageFileError(
            "its sform and its qform contradict each other in how the voxels lie; correct the "
            "header, or convert the image again from its source"
        )


def write_nifti(path: Path, array: NDArray[np.uint8] | NDArray[np.int16], grid: Grid) -> None:
    """Write the array with its affine as the sform, which can hold a shear."""
    affine = _RAS_TO_LPS @ grid.affine @ _REVERSE_AXES
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
