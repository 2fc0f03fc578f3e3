"""Small CT series for tests of the host, which never looks at pixels."""

from __future__ import annotations

import numpy as np
import pydicom

from liver_unet.volume import Grid, Volume
from tests.support.ct_writer import write_ct_series


def small_ct(
    uid_seed: str, slices: int = 6, modality: str = "CT", description: str = "abdomen"
) -> list[pydicom.FileDataset]:
    """A series of its own patient, study and series."""
    affine = np.array([[0, 0, 1.5, -9], [0, 2, 0, -7], [3, 0, 0, 5], [0, 0, 0, 1]], float)
    shape = (slices, 4, 6)
    hu = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    series = write_ct_series(Volume(hu, Grid(shape, affine)), uid_seed=uid_seed)
    for dataset in series:
        dataset.PatientID = uid_seed[-64:]  # as long as DICOM allows
        dataset.PatientName = "Secret^Patient"
        dataset.Modality = modality
        dataset.SeriesDescription = description
    return series
