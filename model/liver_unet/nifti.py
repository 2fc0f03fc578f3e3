"""NIfTI files to and from our vocabulary: (slice, row, column) arrays and LPS millimetres."""

from __future__ import annotations

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


def read_nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Return the array (slice, row, column), scaled by the header, and its grid.

    Raises nibabel's ImageFileError for what is not a 3D NIfTI image.
    """
    try:
        image = nib.load(path)
        if not isinstance(image, nib.nifti1.Nifti1Pair) or len(image.shape) != 3:
            raise ImageFileError("it has another format or number of dimensions")
        array = np.asarray(image.dataobj, dtype=np.float32)
        array = np.ascontiguousarray(array.transpose(2, 1, 0))
        z, y, x = array.shape
        return array, Grid((z, y, x), _RAS_TO_LPS @ image.affine @ _REVERSE_AXES)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ImageFileError(f"{path} cannot be read as a 3D NIfTI image: {error}") from error


def write_nifti(path: Path, array: NDArray[np.uint8] | NDArray[np.int16], grid: Grid) -> None:
    """Write the array with its affine as the sform, which can hold a shear."""
    affine = _RAS_TO_LPS @ grid.affine @ _REVERSE_AXES
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
