"""How much memory a series will need, so that one that does not fit is refused before it is read.

The figures are upper bounds of what was measured; tests/plugin/dicom/test_memory.py holds them
to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from liver_unet.lungs import sampled_voxels
from liver_unet.volume import Volume
from orthanc_liver.engine.protocol import Kind
from orthanc_liver.liver_errors import SeriesRefused

_MIB = 1024 * 1024
# Python, the libraries and the loaded network.
_BASE_MIB = 900
# What is written beside the RTSTRUCT and grows with no CT: at most 50 pictures of 512 x 512, as
# arrays, objects and files, and a sheet's.
_OF_KIND_MIB: Mapping[Kind, int] = {Kind.SC: 200, Kind.PDF: 100}
# The images as they are read, the volume, and what is made of it; of 16-bit HU on a grid along the
# patient's axes. float32, or resampling point by point on another grid, takes this much more.
_BYTES_PER_VOXEL, _BYTES_MORE = 8, 2
# The largest cosine between an axis of such a grid and one of the patient's others.
_ALONG = 1e-3
# The network's input, the sums of its patches, and what interpolating takes.
_BYTES_PER_MODEL_VOXEL = 40
# What measuring the lungs takes, before the network computes.
_BYTES_PER_LUNG_VOXEL = 60


@dataclass(frozen=True)
class MemoryLimit:
    """What one job may take. instances: how many images are still to be expected in all; kinds: of
    objects that it writes."""

    limit_mib: int
    instances: int
    kinds: tuple[Kind, ...] = ()

    @property
    def _base_mib(self) -> int:
        return _BASE_MIB + sum(_OF_KIND_MIB.get(kind, 0) for kind in self.kinds)

    def needed_mib(self, rows: int, columns: int) -> float:
        """What all images of this size will take at most."""
        return self._base_mib + self.instances * rows * columns * _BYTES_PER_VOXEL / _MIB

    def check_images(self, rows: int, columns: int) -> None:
        """SeriesRefused where so many images of this size would not fit."""
        needed_mib = self.needed_mib(rows, columns)
        if needed_mib > self.limit_mib:
            raise SeriesRefused(
                f"{self.instances} images of {rows} x {columns} pixels would take about "
                f"{math.ceil(needed_mib)} MiB of memory, and MaximumMemoryMib allows "
                f"{self.limit_mib}; raise it, or send a series of fewer or smaller images."
            )

    def check_field(self, volume: Volume, model_spacing_mm: float) -> None:
        """SeriesRefused where the part of the patient that the volume spans would not fit."""
        grid = volume.grid
        extent_mm = np.abs(grid.affine[:3, :3]) @ (np.array(grid.shape) - 1.0)
        model_voxels = float(np.prod(extent_mm / model_spacing_mm + 1))
        at_work = max(
            model_voxels * _BYTES_PER_MODEL_VOXEL, sampled_voxels(grid) * _BYTES_PER_LUNG_VOXEL
        )
        needed_mib = (
            self._base_mib
            + math.prod(grid.shape) * _bytes_per_voxel(volume) / _MIB
            + at_work / _MIB
        )
        if needed_mib > self.limit_mib:
            x, y, z = extent_mm
            raise SeriesRefused(
                f"The images span {x:.4g} x {y:.4g} x {z:.4g} mm, which would take about "
                f"{needed_mib:.4g} MiB of memory at the network's {model_spacing_mm:g} mm, and "
                f"MaximumMemoryMib allows {self.limit_mib}; check PixelSpacing and the slice "
                "positions, or raise it."
            )


def _bytes_per_voxel(volume: Volume) -> int:
    cosines = np.sort(np.abs(volume.grid.affine[:3, :3] / volume.grid.spacing_mm), axis=0)
    is_along = cosines[:2].max() < _ALONG
    return _BYTES_PER_VOXEL + _BYTES_MORE * ((volume.hu.dtype != np.int16) + (not is_along))
