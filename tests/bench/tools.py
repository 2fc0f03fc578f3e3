"""Single stages, ours and the well-known tool's, on one series whose liver is already known."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cc3d
import fill_voids
import highdicom
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import read_ct_series
from tests.bench.child import tell

Work = Callable[[], object]


def read_ours(folder: Path) -> Work:
    return lambda: read_ct_series(p.read_bytes() for p in (folder / "dicom").iterdir())


def read_simpleitk(folder: Path) -> Work:
    names = [str(path) for path in sorted((folder / "dicom").iterdir())]
    return lambda: SimpleITK.ReadImage(names)


def read_highdicom(folder: Path) -> Work:
    return lambda: highdicom.get_volume_from_series(
        [pydicom.dcmread(BytesIO(p.read_bytes())) for p in (folder / "dicom").iterdir()],
        dtype=np.float32,
    )


def contours_ours(folder: Path) -> Work:
    """Traced in the liver's box as in a job, and rasterised again for the check."""
    whole, series = _mask(folder), read_ct_series(p.read_bytes() for p in _instances(folder))
    (z0, y0, x0), (z1, y1, x1) = (f(np.argwhere(whole), axis=0) for f in (np.min, np.max))
    box = (slice(z0, z1 + 1), slice(y0, y1 + 1), slice(x0, x1 + 1))
    mask, grid = whole[box], series.volume.grid.cropped(box)
    probability = mask.astype(np.float32)

    def work() -> None:
        contours = trace_contours(probability, grid, z0)
        check_contours(contours, mask, grid, z0)

    return work


def holes_ours(folder: Path) -> Work:
    mask = _mask(folder)
    return lambda: fill_voids.fill(mask)


def holes_scipy(folder: Path) -> Work:
    mask = _mask(folder)
    return lambda: ndimage.binary_fill_holes(mask)


def largest_ours(folder: Path) -> Work:
    mask = _mask(folder)
    return lambda: cc3d.largest_k(mask.view(np.uint8), k=1, connectivity=26)


def largest_scipy(folder: Path) -> Work:
    mask = _mask(folder)

    def work() -> NDArray[np.bool_]:
        labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        return np.asarray(labels == sizes.argmax())

    return work


def _mask(folder: Path) -> NDArray[np.bool_]:
    return np.asarray(np.load(folder / "reference.npy"))


def _instances(folder: Path) -> list[Path]:
    return sorted((folder / "dicom").iterdir())


WORKS = {
    work.__name__: work
    for work in (
        *(read_ours, read_simpleitk, read_highdicom, contours_ours),
        *(holes_ours, holes_scipy, largest_ours, largest_scipy),
    )
}


def main(name: str, folder: Path, runs: int) -> None:
    work = WORKS[name](folder)
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append({name: time.perf_counter() - began})
    tell(seconds)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
