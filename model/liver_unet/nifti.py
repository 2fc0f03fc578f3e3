"""NIfTI files to and from our vocabulary: (slice, row, column) arrays and LPS millimetres."""

from __future__ import annotations

import bz2
import gzip
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from liver_unet.volume import UPRIGHT_DEG, Grid

# NIfTI stores (column, row, slice) in RAS millimetres.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSE_AXES = np.eye(4)[[2, 1, 0, 3]]
# The header's codes for metres, millimetres, micrometres; many writers say 0 and mean mm.
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_VOXEL_MM = (0.05, 50.0)
# A qform cannot hold the shear of a gantry tilt, up to 30 degrees, so an axis of it may point that
# much elsewhere.
_SAME_DIRECTION = np.cos(np.deg2rad(45))
# Sizes are rounded to 0.01 mm or so.
_SAME_LENGTH = 0.01
_CHUNK = 1 << 20


def read_nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Return the array (slice, row, column), scaled by the header, and its grid.

    Raises nibabel's ImageFileError for what is not a sound 3D NIfTI image in one certain place.
    """
    try:
        image = _loaded(path)
        _verify_length(image)
        affine = _affine_mm(image)
        array = np.asarray(image.dataobj, dtype=np.float32)
        array = np.ascontiguousarray(array.transpose(2, 1, 0))
        z, y, x = array.shape
        return array, Grid((z, y, x), _RAS_TO_LPS @ affine @ _REVERSE_AXES)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        why = " ".join(str(error).split())
        raise ImageFileError(f"{path} cannot be read as a 3D NIfTI image: {why}") from error


def _loaded(path: Path) -> nib.nifti1.Nifti1Pair:
    image = nib.load(path)
    if not isinstance(image, nib.nifti1.Nifti1Pair) or len(image.shape) != 3:
        raise ImageFileError("it has another format or number of dimensions")
    if image.get_data_dtype().kind not in "iuf":
        raise ImageFileError("its voxels are colours or complex numbers; choose an image of HU")
    return image


def _verify_length(image: nib.nifti1.Nifti1Pair) -> None:
    """Compare the file's length with the header's number of voxels.

    Compressed files are read to their end, where gzip compares a check sum; nibabel stops before.
    """
    lengths = {kind: _length(str(part.filename)) for kind, part in image.file_map.items()}
    voxels = cast(ArrayProxy, image.dataobj)
    line_bytes = voxels.dtype.itemsize * image.shape[0]
    beyond = lengths["image"] - voxels.offset - line_bytes * int(np.prod(image.shape[1:]))
    if beyond >= line_bytes:
        raise ImageFileError(
            f"the file is {beyond} bytes longer than its header's number of "
            "voxels comes to: the header is wrong; convert it again from its source"
        )


def _length(name: str) -> int:
    """Unpacked, as nibabel unpacks it."""
    path = Path(name)
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            return _read_to_the_end(file)
    if path.suffix.lower() == ".bz2":
        with bz2.open(path) as file:
            return _read_to_the_end(file)
    return path.stat().st_size


def _read_to_the_end(file: BufferedIOBase) -> int:
    length = 0
    while part := file.read(_CHUNK):
        length += len(part)
    return length


def _affine_mm(image: nib.nifti1.Nifti1Pair) -> NDArray[np.float64]:
    """The header's one word on where the voxels are, in mm."""
    sform, qform = (image.get_sform(coded=True)[0], image.get_qform(coded=True)[0])
    if sform is None and qform is None:
        raise ImageFileError(
            "its header says nowhere how its voxels lie (neither sform nor qform); convert it "
            "again from its source"
        )
    if sform is not None:
        _check_sizes(sform, image.header["pixdim"][1:4], is_said=qform is not None)
    if sform is not None and qform is not None:
        _check_directions(sform, qform)
    affine = np.array(qform if sform is None else sform, dtype=np.float64)
    affine[:3] *= _unit_mm(image)
    sizes_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (_VOXEL_MM[0] <= sizes_mm.min() and sizes_mm.max() <= _VOXEL_MM[1]):
        raise ImageFileError(
            f"its voxels would measure {' x '.join(f'{size:.4g}' for size in sizes_mm)} mm; check "
            "the unit and the sizes in its header"
        )
    return affine


def _unit_mm(image: nib.nifti1.Nifti1Pair) -> float:
    return _UNIT_MM.get(int(image.header["xyzt_units"]) % 8, np.nan)


def _check_sizes(sform: NDArray[np.float64], pixdim: NDArray[np.float32], *, is_said: bool) -> None:
    """Compare the voxels' sizes; is_said: by the qform too, else three ones are what stands there
    where nobody wrote any."""
    if not is_said and (pixdim == 1).all():
        return
    axes = sform[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    # A tilt makes the way from slice to slice longer than the slices are apart.
    areas = [np.linalg.norm(np.cross(axes[:, k - 1], axes[:, k - 2])) for k in range(3)]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = abs(np.linalg.det(axes)) / np.array(areas)
        off = np.minimum(np.abs(lengths / pixdim - 1), np.abs(apart / pixdim - 1))
    if not off.max() <= _SAME_LENGTH:
        one, other = (" x ".join(f"{size:.4g}" for size in sizes) for sizes in (lengths, pixdim))
        raise ImageFileError(
            f"its sform ({one}) and its voxel sizes ({other}) contradict each other; correct the "
            "header, or convert the image again from its source"
        )


def _check_directions(sform: NDArray[np.float64], qform: NDArray[np.float64]) -> None:
    lengths, others = (np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (sform[:3, :3] * qform[:3, :3]).sum(axis=0) / (lengths * others)
    if not cosines.min() >= _SAME_DIRECTION:
        raise ImageFileError(
            "its sform and its qform contradict each other in how the voxels lie; correct the "
            "header, or convert the image again from its source"
        )


def doubts_about_place(path: Path) -> list[str]:
    """Warn where a file that read_nifti takes says two things of where it lies."""
    image = _loaded(path)
    z, y, x = image.shape[::-1]
    grids = [
        Grid((z, y, x), _RAS_TO_LPS @ form @ _REVERSE_AXES)
        for form in (image.get_sform(coded=True)[0], image.get_qform(coded=True)[0])
        if form is not None
    ]
    if len(grids) < 2 or grids[0].lean_deg > UPRIGHT_DEG:
        return []
    apart = float(np.linalg.norm(grids[0].corners_mm() - grids[1].corners_mm(), axis=1).max())
    if apart <= grids[0].spacing_mm.max():
        return []
    return [
        f"The header's sform and qform place the image up to {apart * _unit_mm(image):.4g} mm "
        "apart; the sform was taken: somebody may have drawn an outline where the qform has it."
    ]


def write_nifti(path: Path, array: NDArray[np.uint8] | NDArray[np.int16], grid: Grid) -> None:
    """Write the array with its affine as the sform, which can hold a shear."""
    affine = _RAS_TO_LPS @ grid.affine @ _REVERSE_AXES
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
